"""SolverRace: the same starts, one solver and one budget of network calls at a time, and all errors over calls."""

import itertools
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from .. import grids, orders, race, solvers
from .._checks import named
from ..distributions import GaussianMixture
from ..metrics import sliced_wasserstein
from ..process import Process
from ..solve import NFE, sample
from .choices import LawAndProcess, laws_of, processes_of, sized
from .packing import quantise
from .player import bundle, menu

BUDGETS = (4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50)
SHOWN = ("euler", "ddim", "plms", "dpmpp_2m", "unipc", "deis_3", "edm_heun", "dpm_fast")
GRIDS = {
    "logsnr": {"ja": "λ で等間隔", "en": "equal in λ"},
    "karras": {"ja": "Karras", "en": "Karras"},
    "uniform": {"ja": "t で等間隔", "en": "equal in t"},
    "beta": {"ja": "Beta", "en": "Beta"},
}
REACH = 1.5  # points are stored as far out as this many half widths
WIDEST = 30.0  # larger errors are stored as this
FINE = 200  # steps of the exact solution
WORDS = {
    "samples": {
        "ja": "終点: 解法（点）と厳密な解（線の先）",
        "en": "end points: solver (dots), exact (ends of the lines)",
    },
    "errors": {
        "ja": "厳密な解からの誤差（平均二乗平方根）",
        "en": "error against the exact solution (root mean square)",
    },
    "calls": {"ja": "呼び出し回数", "en": "network calls"},
    "error": {"ja": "誤差", "en": "error"},
    "rank": {"ja": "順位", "en": "rank"},
    "spent": {"ja": "使った回数", "en": "calls spent"},
    "order": {"ja": "測った次数", "en": "order measured"},
    "law": {"ja": "分布からの距離（厳密な標本 = 1）", "en": "distance from the law (an exact sample = 1)"},
    "short": {"ja": "この回数では一歩も進めない", "en": "too few calls for a step"},
    "time": {"ja": "呼び出し回数の上限", "en": "budget of network calls"},
    "hint": {
        "ja": "キー操作: ← → で回数を変える、スペースで再生・停止、Home・End で両端",
        "en": "Keys: ← → change the budget, Space plays and pauses, Home and End jump to the ends",
    },
}


@lru_cache(maxsize=128)
def order_of(key: str) -> float:
    """Measured order of a row, on Gaussian data under VP (sdelab.orders)."""
    return orders.ode_order(solvers.row(key))


class SolverRace(LawAndProcess):
    """Deterministic solvers from the same starts: their end points beside the exact ones, and errors over calls.

    law, process, laws, processes: as in ReverseExplorer. grid: a name of ``sd.grids.table``; solver: a key of
    ``sd.solvers.table``, of a solver of the ODE on a fixed grid. solvers: keys whose errors are drawn, the chosen one
    with them. budgets: of network calls, the frames. points drawn, crowd of starts that errors are taken over. A page
    without a kernel has every law, process and solver of these arguments, on ``stored`` grids; a kernel computes any
    other grid and solver. precompute, lang: as in DensityExplorer. Raises ValueError.

    >>> sd.widgets.SolverRace(solver="unipc", grid="karras")
    """

    _esm = bundle("plane.mjs", "solver_race.mjs")

    def __init__(
        self,
        law: str = "ring",
        process: str = "vp",
        grid: str = "logsnr",
        solver: str = "ddim",
        *,
        laws: Iterable[str] | Mapping[str, GaussianMixture] = ("ring", "moons"),
        processes: Iterable[str] | Mapping[str, Process] = ("vp", "edm"),
        solvers: Iterable[str] = SHOWN,
        stored: Iterable[str] = ("logsnr", "karras"),
        budgets: Iterable[int] = BUDGETS,
        points: int = 100,
        crowd: int = 200,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        self._budgets = tuple(budgets)
        sized(points=(points, 1), crowd=(crowd, points))
        if len(self._budgets) < 2 or list(self._budgets) != sorted({*self._budgets}) or self._budgets[0] < 1:
            raise ValueError(f"budgets are at least two whole numbers, increasing: not {self._budgets!r}")
        self._laws, self._processes = laws_of(laws), processes_of(processes)
        self._shown, self._sizes = tuple(_key(key) for key in solvers), (points, crowd, seed)
        self._names = list(dict.fromkeys([*self._shown, _key(solver), *_others()]))
        named(grids.table, grid, "grid")
        stored = tuple(dict.fromkeys([*stored, grid]))
        if precompute == "menus":
            precompute = [
                {"law": a, "process": b, "grid": c, "solver": d}
                for a, b, c, d in itertools.product(
                    self._laws, self._processes, stored, dict.fromkeys([*self._shown, solver])
                )
            ]
        names = {key: _row(key).name for key in self._names}
        every = {name: GRIDS.get(name, {"ja": name, "en": name}) for name in dict.fromkeys([*GRIDS, *stored])}
        self._ends: dict[tuple[str, str], tuple[Tensor, ...]] = {}
        self._runs: dict[tuple[str, ...], tuple[Tensor, list[float], list[int], list[float]]] = {}
        super().__init__(
            title={"ja": "解法の競走", "en": "The race of the solvers"},
            controls=[
                *self._menus(),
                menu("grid", {"ja": "刻み", "en": "times"}, every),
                menu("solver", {"ja": "解法", "en": "solver"}, {k: {"ja": v, "en": v} for k, v in names.items()}),
            ],
            words=WORDS | {f"solver{n}": {"ja": names[key], "en": names[key]} for n, key in enumerate(self._names)},
            choice={"law": law, "process": process, "grid": grid, "solver": solver},
            precompute=precompute,
            frame=min(6, len(self._budgets) - 1) if frame is None else frame,
            lang=lang,
        )

    def ends(self, law: str, process: str) -> tuple[Tensor, ...]:
        """Starts x_T, exact ends, fresh draws of the law there, each (crowd, 2), and the distance of the last two."""
        if (law, process) not in self._ends:
            (_, crowd, seed), made = self._sizes, self._processes[process]
            start = self._laws[law].at(made, made.T).sample(crowd, seed=seed, dtype=torch.float64)
            exact = race.converged(self._laws[law].denoiser(made), made, start, made.t_min, FINE)
            fresh = self._laws[law].at(made, made.t_min).sample(crowd, seed=seed + 1, dtype=torch.float64)
            self._ends[law, process] = start, exact, fresh, sliced_wasserstein(exact, fresh)
        return self._ends[law, process]

    def runs(
        self, law: str, process: str, grid: str, solver: str
    ) -> tuple[Tensor, list[float], list[int], list[float]]:
        """Ends (F, crowd, 2), errors, calls spent (0: too few for a step), distances from the law, at every budget."""
        key = (law, process, grid, solver)
        if key not in self._runs:
            made, counter = self._processes[process], NFE(self._laws[law].denoiser(self._processes[process]))
            start, exact, fresh, floor = self.ends(law, process)
            ends, errors, spent, far = [], [], [], []
            for budget in self._budgets:
                counter.count = 0
                try:
                    x = sample(counter, made, start, solver=solver, grid=grid, nfe=budget, final="stop", progress=False)
                except (ValueError, FloatingPointError):
                    x, counter.count = start, 0
                ends.append(x)
                spent.append(counter.count)
                errors.append(min(float((x - exact).square().sum(1).mean().sqrt()), WIDEST))
                far.append(float(sliced_wasserstein(x, fresh) / floor))
            self._runs[key] = torch.stack(ends), errors, spent, far
        return self._runs[key]

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F of them, one for each budget.

        t (F,): the budgets; half (1,): half the width of the picture; exact (points, 2) and found (F, points, 2): ends
        in units of half; rows (S,): places in the menu of the solvers compared; chosen (1,): which of them is chosen;
        errors, spent (S, F): root mean square distance to the exact ends, and network calls (0: too few for a step);
        order (1,): the chosen solver's, measured; law (F,): its distance from the law, that of an exact sample being 1.
        """
        choice = self._checked(choice or self.choice)
        where, points = (choice["law"], choice["process"], choice["grid"]), self._sizes[0]
        keys = list(dict.fromkeys([*self._shown, choice["solver"]]))
        compared = [self.runs(*where, key) for key in keys]
        found, _, _, far = compared[keys.index(choice["solver"])]
        exact = self.ends(*where[:2])[1]
        half = 1.2 * float(exact.abs().max())
        return {
            "t": torch.tensor(self._budgets, dtype=torch.float64), "half": torch.tensor([half]),
            "exact": quantise(exact[:points] / half, -REACH, REACH, 1023),
            "found": quantise(found[:, :points] / half, -REACH, REACH, 1023, delta=(0,)),
            "rows": torch.tensor([float(self._names.index(key)) for key in keys]),
            "chosen": torch.tensor([float(keys.index(choice["solver"]))]),
            "errors": torch.tensor([errors for _, errors, _, _ in compared]),
            "spent": torch.tensor([[float(n) for n in spent] for _, _, spent, _ in compared]),
            "order": torch.tensor([order_of(choice["solver"])]), "law": torch.tensor(far).clamp_max(1e4),
        }  # fmt: skip

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """End points at three budgets, and errors over calls."""
        *planes, last = figure.subplots(1, 4)
        half, budgets = float(frames["half"][0]), [int(b) for b in frames["t"]]
        exact, mine = half * np.asarray(frames["exact"]), int(frames["chosen"][0])
        for axes, k in zip(planes, (1, len(budgets) // 2 - 1, len(budgets) - 1), strict=True):
            found = half * np.asarray(frames["found"][k])
            for a, b in zip(found, exact, strict=True):
                axes.plot(*np.stack([a, b]).T, color="#0072b2", lw=0.6)
            axes.scatter(*found.T, s=4, color="#c25700", linewidths=0, zorder=3)
            axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", title=f"{budgets[k]} calls")
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=8)
        for n, (errors, spent) in enumerate(zip(frames["errors"], frames["spent"], strict=True)):
            ran = [(int(c), float(e)) for c, e in zip(spent, errors, strict=True) if c]
            last.loglog(*zip(*ran, strict=True), color="#c25700" if n == mine else "0.7", lw=1.6 if n == mine else 0.8,
                        zorder=3 if n == mine else 2)  # fmt: skip
        last.set(title=_row(self.choice["solver"]).name, xlabel="calls")
        last.xaxis.set_minor_locator(NullLocator())
        last.set_xticks(marks := [n for n in (5, 10, 20, 50) if budgets[0] <= n <= budgets[-1]], map(str, marks))
        last.tick_params(labelsize=8, which="both")


def _row(key: str) -> solvers.Row:
    return solvers.row(key)


def _key(key: str) -> str:
    row = solvers.row(key)
    if row.stochastic or row.adaptive:
        raise ValueError(f"the race is between solvers of the ODE on fixed grids; {row.name} is not one")
    return key


def _others() -> list[str]:
    """Further solvers of the menu: those on fixed grids that need no preparation."""
    fits = ("classical", "exponential", "multistep", "sigma")
    special = ("dpm_solver_v3", "dpm_solver_v3_2", "amed", "picard", "ttm2", "exp_taylor_2")
    return [r.key for r in solvers.table
            if r.family in fits and not r.stochastic and not r.adaptive and r.key not in special]  # fmt: skip
