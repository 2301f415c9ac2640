"""The race: solvers x grids x budgets on one problem, as records, a table and a picture.

Deterministic rows are judged by the mean distance of their end points to the converged probability-flow ODE from the
same starts; stochastic ones by the sliced Wasserstein distance to fresh samples of the law, where there is one, with
the same distance between two exact samples as the floor.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
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


def markdown(records: Sequence[dict]) -> str:
    """A table: one line per solver, its error on its best grid at each budget; deterministic solvers first."""
    budgets = sorted({r["budget"] for r in records})
    lines = []
    for kind, title in (("ODE", "distance to the ODE"), ("law", "sliced Wasserstein distance to the law")):
        keys = dict.fromkeys(r["solver"] for r in records if r.get("kind") == kind)
        if not keys:
            continue
        found = {key: [best(records, key, b) for b in budgets] for key in keys}
        order = sorted(keys, key=lambda key: next((r["error"] for r in reversed(found[key]) if r), float("inf")))
        lines += [f"| {title} | " + " | ".join(map(str, budgets)) + " |", "| --- |" + " ---: |" * len(budgets)]
        for key in order:
            cells = (f"{r['error']:.1e} {r['grid']}" if r else "–" for r in found[key])
            lines.append(f"| {solvers.row(key).name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def picture(records: Sequence[dict], path: Path, most: int = 8) -> None:
    """Error against network calls, log–log: the solvers that are best at some budget, at most ``most`` of each kind."""
    plot.style()
    kinds = [k for k in ("ODE", "law") if any(r.get("kind") == k for r in records)]
    fig, axes = plot.figure(columns=len(kinds))
    for ax, kind in zip(axes if len(kinds) > 1 else [axes], kinds, strict=True):
        keys = dict.fromkeys(r["solver"] for r in records if r.get("kind") == kind)
        curves = {}
        for key in keys:
            points = [
                (r["nfe"], r["error"]) for b in sorted({r["budget"] for r in records}) if (r := best(records, key, b))
            ]
            curves[key] = sorted(dict(points).items())
        ranked = sorted(
            curves, key=lambda key: sum(torch.tensor(e).log().item() for _, e in curves[key]) / len(curves[key])
        )
        for key in ranked[:most]:
            ax.loglog(*zip(*curves[key], strict=True), marker="o", markersize=3, label=solvers.row(key).name)
        ax.set(xlabel="network calls", ylabel={"ODE": "distance to the ODE", "law": "sliced W2 to the law"}[kind])
        ax.legend(fontsize="x-small")
    fig.savefig(path, dpi=150)


def write(records: Sequence[dict], folder: Path, problem: str) -> list[Path]:
    """race.json, race.md and race.png in ``folder``; each appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    out = [folder / f"race.{ending}" for ending in ("json", "md", "png")]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = [Path(scratch) / path.name for path in out]
        made[0].write_text(json.dumps({"problem": problem, "records": list(records)}, indent=1) + "\n", "utf8")
        made[1].write_text(f"# {problem}\n\n{markdown(records)}", "utf8")
        picture(records, made[2])
        for new, path in zip(made, out, strict=True):
            os.replace(new, path)
    return out


def starts(process: Process, n: int, dim: int, seed: int) -> Tensor:
    """n starts x_T of the given dimension."""
    return noise.prior(process, (n, dim), seed=seed, dtype=torch.float64)
