"""The stored measurements as tables that `decision` can compare: kind: problem: budget: choice: figures."""

import math
from collections.abc import Iterable

from . import RESULTS, by_grid, kept, laws

SOURCES = ("exact", "learned", "latent", "optimised", "adaptive")
KINDS = ("exact", "learned", "latent")
BUDGETS = ("5", "10", "20", "35")  # those that all three kinds have run at
GRIDS = by_grid.GRIDS
DERIVATIVES = ("ttm2", "exp_taylor_2")
Choice = tuple[str, str]  # a row's key and a grid
Table = dict[str, dict[str, dict[Choice, list[float]]]]  # problem: budget: choice: figures of the seeds


def read() -> dict:
    """The stored measurements."""
    return {name: kept(RESULTS / f"{name}.json", {}) for name in SOURCES}


def figures(rows: dict, which: int) -> dict[str, dict[Choice, list[float]]]:
    """budget: choice: figures of the seeds, of what `by_grid.merged` made; a choice that lacks one is left out."""
    out: dict[str, dict[Choice, list[float]]] = {}
    for key, grids in rows.items():
        for grid, budgets in grids.items():
            for budget, leaves in budgets.items():
                values = leaves[which]
                if key not in DERIVATIVES and all(v is not None and 0 < v < math.inf for v in values):
                    out.setdefault(budget, {})[key, grid] = values
    return out


def size(law) -> float:
    """What turns the norm of a difference into the root mean square of its coordinates, as told of the latents."""
    return math.sqrt(law.dim)


def end_points(made: dict) -> dict[str, Table]:
    """Errors against the converged ODE: kind: problem: budget: choice: [error]. Every network is a problem."""
    exact: dict[str, dict] = {}
    for name, told in made["exact"].items():
        if name != "setup":
            unit = size(laws.LAWS[name.partition(":")[0]]())
            exact[name] = {
                b: {c: [v / unit for v in values] for c, values in at.items()}
                for b, at in figures(told["rows"], 0).items()
            }
    learned: Table = {}
    for name, told in made["learned"].items():
        if name != "setup":
            unit = math.sqrt(2)
            for budget, choices in figures(told["rows"], 0).items():
                for choice, values in choices.items():
                    for n, value in enumerate(values):
                        learned.setdefault(f"{name} {n}", {}).setdefault(budget, {})[choice] = [value / unit]
    latent: Table = {"latent": {}}
    for key, grids in made["latent"]["rows"]["rows"].items():
        for grid, name in (("karras", "karras"), ("logsnr", "exponential"), ("beta", "beta")):
            for budget, told in grids.get(grid, {}).items():
                if told["error"] is not None and key not in DERIVATIVES and budget in BUDGETS:
                    latent["latent"].setdefault(budget, {})[key, name] = [told["error"]]
    return {"exact": exact, "learned": learned, "latent": latent}


def to_the_law(made: dict) -> dict[str, Table]:
    """Distances to the law, or Fréchet distances: kind: problem: budget: choice: [of each seed]."""
    out: dict[str, Table] = {"exact": {}, "learned": {}, "latent": {"latent": {}}}
    for kind, part, which in (("exact", "near", 0), ("learned", "rows", 1)):
        for name, told in made[kind].items():
            if part in told and "noisy" in told:
                both = figures(told[part], which), figures(told["noisy"], 0)
                out[kind][name] = {b: both[0].get(b, {}) | both[1].get(b, {}) for b in both[0] | both[1]}
    for key, budgets in made["latent"]["samplers"].items():
        for budget, reports in budgets.items():
            values = [report["frechet"] for report in reports]
            out["latent"]["latent"].setdefault(budget, {})[key, "karras"] = values
    return out


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values)


def geometric(values: Iterable[float]) -> float:
    return math.exp(mean(math.log(v) for v in values))


def three(value: float) -> float:
    return float(f"{value:.3g}")
