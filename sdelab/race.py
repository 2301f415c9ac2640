"""The race: solvers x grids x budgets on one problem, as records, a table and a picture.

Deterministic rows are judged by the mean distance of their end points to the converged probability-flow ODE from the
same starts; stochastic ones by the sliced Wasserstein distance to fresh samples of the law, where there is one, with
the same distance between two exact samples as the floor.
"""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from matplotlib.ticker import NullLocator
from torch import Tensor
from tqdm import tqdm

from . import grids, metrics, noise, plot, solvers
from .process import Process
from .reverse import Reverse
from .solve import NFE, sample, solve
from .solvers.row import Row

BUDGETS = (5, 8, 10, 15, 20, 35, 50)


def converged(denoise, process: Process, x_T: Tensor, t_end: float, steps: int = 400) -> Tensor:
    """The probability-flow ODE from x_T at T to t_end: RK4 in log(sigma/alpha), far below any error of the race."""
    times = grids.logsnr(process, steps, t_end=t_end)
    return solve(Reverse(process, denoise, 0.0), solvers.row("deis_rhork_4").make(), x_T, times)


def run(
    denoise,
    process: Process,
    x_T: Tensor,
    *,
    law=None,
    rows: Sequence[Row] | None = None,
    grid_names: Sequence[str] = ("exponential", "karras", "uniform"),
    budgets: Iterable[int] = BUDGETS,
    seed: int = 0,
    progress: bool | None = None,
) -> list[dict]:
    """One record per (row, grid, budget): solver, grid, nfe (spent), error, and the reason where a run failed.

    x_T (n, ...): starts at t = T. All runs stop at the process's t_min, where sigma > 0. Stochastic rows take part if
    ``law`` (with ``at(process, t).sample``) is given; adaptive rows have no budget and stay away.
    """
    rows = [r for r in rows or solvers.table if not r.adaptive and (law is not None or not r.stochastic)]
    truth = converged(denoise, process, x_T, process.t_min) if any(not r.stochastic for r in rows) else None
    exact = None
    if law is not None:
        at_end = law.at(process, process.t_min)
        exact = at_end.sample(len(x_T), seed=seed + 1, dtype=x_T.dtype).to(x_T.device)
    jobs = [(r, g, b) for r in rows for g in grid_names for b in budgets]
    records = []
    for row, grid, budget in tqdm(jobs, desc="race", delay=1.0, disable=None if progress is None else not progress):
        counter, record = NFE(denoise), {"solver": row.key, "grid": grid, "budget": budget}
        try:
            x = sample(
                counter, process, x_T, solver=row.key, grid=grid, nfe=budget, seed=seed, final="stop", progress=False
            )
            if row.stochastic:
                assert exact is not None
                error = float(metrics.sliced_wasserstein(x, exact))
            else:
                assert truth is not None
                error = float((x - truth).flatten(1).norm(dim=1).mean())
            records.append(record | {"nfe": counter.count, "error": error, "kind": "law" if row.stochastic else "ODE"})
        except (ValueError, FloatingPointError) as failure:  # too few calls, alpha = 0 at the start, divergence
            records.append(record | {"nfe": counter.count, "error": None, "why": str(failure)})
    return records


def floor(law, process: Process, n: int, seed: int = 0) -> float:
    """Sliced Wasserstein distance between two exact samples of n: what a perfect stochastic sampler would show."""
    at_end = law.at(process, process.t_min)
    pair = (at_end.sample(n, seed=seed + k, dtype=torch.float64) for k in (1, 2))
    return float(metrics.sliced_wasserstein(*pair))


def best(records: Iterable[dict], solver: str, budget: int) -> dict | None:
    """The solver's record with the smallest error at that budget, over grids."""
    found = [r for r in records if (r["solver"], r["budget"]) == (solver, budget) and r["error"] is not None]
    return min(found, key=lambda r: r["error"]) if found else None


KINDS = {"ODE": "distance to the converged ODE", "law": "sliced Wasserstein distance to the law"}


def tables(records: Sequence[dict]) -> Iterator[tuple[str, list[int], dict[str, list[dict | None]]]]:
    """(kind, budgets, the best record of each solver at each budget), the solver best at the largest budget first."""
    budgets = sorted({r["budget"] for r in records})
    for kind in KINDS:
        keys = dict.fromkeys(r["solver"] for r in records if r.get("kind") == kind)
        found = {key: [best(records, key, b) for b in budgets] for key in keys}
        order = sorted(keys, key=lambda key: next((r["error"] for r in reversed(found[key]) if r), float("inf")))
        if order:
            yield kind, budgets, {key: found[key] for key in order}


def remarks(records: Sequence[dict], floor: float | None) -> list[str]:
    """What a reader of the figures should know: the floor of the distances, and why there is a dash."""
    lost = [r for r in records if r["error"] is None and best(records, r["solver"], r["budget"]) is None]
    floors = [] if floor is None or not any(r.get("kind") == "law" for r in records) else [
        f"two exact samples are {floor:.1e} apart here: differences of that size mean nothing"
    ]  # fmt: skip
    return floors + [f"–: {why}" for why in dict.fromkeys(r["why"] for r in lost)]


def markdown(records: Sequence[dict], floor: float | None = None) -> str:
    """A table: one line per solver, its error and its best grid at each budget; deterministic solvers first."""
    lines = []
    for kind, budgets, found in tables(records):
        lines.append(f"| {KINDS[kind]}, by network calls | key | " + " | ".join(map(str, budgets)) + " |")
        lines.append("| --- | --- |" + " ---: |" * len(budgets))
        for key, cells in found.items():
            told = (f"{r['error']:.1e} {r['grid']}" if r else "–" for r in cells)
            lines.append(f"| {solvers.row(key).name} | `{key}` | " + " | ".join(told) + " |")
        lines.append("")
    return "\n".join(lines + [f"- {told}" for told in remarks(records, floor)]).rstrip() + "\n"


def text(records: Sequence[dict], problem: str, floor: float | None = None) -> str:
    """The same for a terminal of 80 columns: errors alone."""
    lines = [problem]
    for kind, budgets, found in tables(records):
        lines += ["", f"{KINDS[kind]}, by network calls, best of the grids"]
        lines.append(f"{'':22}" + "".join(f"{b:>8}" for b in budgets))
        for key, cells in found.items():
            lines.append(f"{key:22}" + "".join(f"{r['error']:8.1e}" if r else f"{'–':>8}" for r in cells))
    return "\n".join([*lines, "", *remarks(records, floor)]).rstrip() + "\n"


def picture(records: Sequence[dict], path: Path, floor: float | None = None, most: int = len(plot.COLOURS)) -> None:
    """Error against network calls, log–log: of each kind, the ``most`` solvers of least mean log-error."""
    plot.style()
    shown = list(tables(records))
    fig, axes = plot.figure(columns=len(shown), height=1.5 * plot.HEIGHT, squeeze=False)
    for ax, (kind, budgets, found) in zip(axes[0], shown, strict=True):
        curves = {key: sorted({r["nfe"]: r["error"] for r in cells if r}.items()) for key, cells in found.items()}
        ranked = sorted(
            curves, key=lambda key: sum(math.log(max(e, 1e-300)) for _, e in curves[key]) / len(curves[key])
        )
        for n, key in enumerate(ranked[:most]):  # equal curves lie on each other: the dashes show both
            style = {"marker": "osD^vPX"[n % 7], "linestyle": ("-", "--")[n % 2], "markersize": 3.5}
            ax.loglog(*zip(*curves[key], strict=True), label=solvers.row(key).name, **style)
        if kind == "law" and floor is not None:
            ax.axhline(floor, color="0.5", linestyle=":", label="two exact samples")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks(budgets, map(str, budgets))
        ax.set(
            xlabel="network calls", ylabel={"ODE": "distance to the ODE", "law": "sliced Wasserstein distance"}[kind]
        )
        ax.legend(fontsize="x-small", loc="upper center", bbox_to_anchor=(0.5, -0.15), handlelength=3.5)
    fig.savefig(path, dpi=150)


def write(records: Sequence[dict], folder: Path, problem: str, floor: float | None = None) -> list[Path]:
    """race.json, race.md and race.png in ``folder``; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    out = [folder / f"race.{ending}" for ending in ("json", "md", "png")]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = [Path(scratch) / path.name for path in out]
        told = {"problem": problem, "floor": floor, "records": list(records)}
        made[0].write_text(json.dumps(told, indent=1) + "\n", "utf8")
        made[1].write_text(f"# {problem}\n\n{markdown(records, floor)}", "utf8")
        picture(records, made[2], floor)
        for new, path in zip(made, out, strict=True):
            os.replace(new, path)
    return out


def starts(process: Process, n: int, dim: int, seed: int) -> Tensor:
    """n starts x_T of the given dimension."""
    return noise.prior(process, (n, dim), seed=seed, dtype=torch.float64)
