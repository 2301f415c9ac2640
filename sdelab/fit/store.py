"""Optimised grids and tuned solvers as JSON files that know what they were fitted to."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import _checks, noise
from ..process import Process
from ..solvers import Tuned

FORMAT = "sdelab grid 1"


def save(path, grid, denoise, process: Process, solver, x_T: Tensor) -> None:
    """Write ``grid`` (times, or a :class:`sdelab.solvers.Tuned`) with what it was fitted to, all or nothing.

    The model is known by its answers to fixed questions (states like a row of x_T at eight of the times), not by its
    parameters: that covers guidance, conditioning, EMA weights and any callable, and lets another device agree.
    """
    recipe = getattr(grid, "recipe", None)
    times = _checks.monotone(getattr(grid, "times", grid), decreasing=True)
    shape = list(x_T.shape[1:])
    page = {
        "format": FORMAT,
        "times": times,
        "recipe": recipe,
        "solver": describe(solver),
        "process": {"name": process.name, "T": process.T, "values": schedule(process)},
        "model": {"shape": shape, "answers": answers(denoise, process, times, shape, x_T.dtype, x_T.device)},
    }
    path = Path(path)
    text = json.dumps(page, indent=1)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # readers see the old file or the new one, never a part
    except BaseException:
        os.unlink(temporary)
        raise


def load(path, denoise, process: Process, solver=None, *, dtype=torch.float64, device=None, rtol: float = 1e-3) -> Any:
    """The times saved at ``path`` (or the tuned solver), if this model, process and solver are those of the file.

    solver: the one that the times were optimised for; a tuned solver brings its own. rtol: how far the model's answers
    may be off, relative to the largest at that time; half precision needs more. A mismatch, or a file that is not
    whole, raises ``ValueError``.
    """
    try:
        page = json.loads(Path(path).read_text(encoding="utf-8"))
        form, times, recipe = page["format"], page["times"], page["recipe"]
        kept, shape, told = page["process"], page["model"]["shape"], page["model"]["answers"]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a whole grid file: optimise again, or copy it again") from error
    if form != FORMAT:
        raise ValueError(f"{path} has the format {form!r}; this version reads {FORMAT!r}: optimise again")
    values = torch.tensor(schedule(process))
    if kept["T"] != process.T or not torch.allclose(torch.tensor(kept["values"]), values, rtol=1e-6, atol=0):
        raise ValueError(f"{path} was made for another process ({kept['name']!r}, not this {process.name!r})")
    if recipe is None and solver is None:
        raise ValueError(f"{path} holds times for a solver: give the one you will run, {page['solver']}")
    if solver is not None and describe(solver) != page["solver"]:
        raise ValueError(f"{path} was made for the solver {page['solver']}, not {describe(solver)}")
    try:
        found = torch.tensor(answers(denoise, process, times, shape, dtype, device))
    except Exception as error:
        raise ValueError(f"this model does not take states of shape {shape}, for which {path} was made") from error
    was = torch.tensor(told)
    if not ((found - was).abs().amax(1) <= rtol * was.abs().amax(1)).all():
        raise ValueError(f"{path} was made for another model: its answers differ by more than {rtol:g}; optimise again")
    return torch.tensor(times, dtype=torch.float64) if recipe is None else Tuned(times, recipe)


def describe(solver) -> dict:
    """A solver by the name of its class and its plain settings."""
    plain = {k: v for k, v in sorted(vars(solver).items()) if isinstance(v, (bool, int, float, str, type(None)))}
    return {"class": type(solver).__name__, **plain}


def schedule(process: Process) -> list[float]:
    """alpha and sigma at nine times: what a process is to a solver."""
    t = torch.linspace(0, 1, 9, dtype=torch.float64) * process.T
    return [*process.alpha(t).tolist(), *process.sigma(t).tolist()]


def answers(denoise, process: Process, times: list[float], shape, dtype, device) -> list[list[float]]:
    """D at eight of the times, for two states of the size that x_t has, in four fixed directions: rows of eight."""
    rows = []
    for n in range(8):
        t = times[n * (len(times) - 2) // 7]
        z = noise.normal((6, *shape), seed=0, key=n, dtype=torch.float64)
        x = z[:2] * float((process.alpha(t) ** 2 + process.var(t)).sqrt())
        with torch.no_grad():
            D = denoise(x.to(device=device, dtype=dtype), t).double().cpu()
        rows.append((D.flatten(1) @ z[2:].flatten(1).T).flatten().tolist())
    return rows
