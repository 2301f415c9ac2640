"""What `exact` and `learned` measure of every row, by grid: the error of the ODE's end, the distance to the law.

All runs end at t = 0, as `sd.sample` does by default. Rows that draw no noise share their starts, so that they differ
by the solver alone. Figures keep three digits.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

import sdelab as sd

F64 = torch.float64
GRIDS = ("karras", "exponential", "beta")  # those that all three kinds of model have run on
BUDGETS = (5, 8, 10, 20, 35)
STARTS, EXACT, DIRECTIONS = 1024, 2**18, 32  # starts a seed; size of the exact sample; directions in the plane
PATH_BUDGETS, PATH_FINE = (10, 20, 50), 200
NAMED = (  # what other tools have, too
    "ddim", "plms", "ipndm", "lms", "deis_3", "dpmpp_2m", "dpmpp_3m", "unipc", "dpmpp_2s", "dpm_solver_2", "dpm_fast",
    "res_multistep", "dpm_2", "edm_heun", "heunpp2", "gradient_estimation",
)  # fmt: skip
NAMED_NOISY = (
    "ddpm", "euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde",
    "sa_solver", "seeds_2", "er_sde_3", "edm_heun_churn", "restart",
)  # fmt: skip

Denoise = Callable[..., Tensor]


def deterministic() -> list:
    return [row for row in sd.solvers.table if not (row.stochastic or row.adaptive)]


def stochastic() -> list:
    return [row for row in sd.solvers.table if row.stochastic and not row.adaptive]


class Law:
    """Mean over directions of W_1 between the projections of a sample of STARTS points and those of a law.

    The law's quantiles at (i - 1/2)/n come from a large exact sample. ``floor`` is what an exact sample of n shows.
    """

    def __init__(self, law, n: int = STARTS):
        angles = torch.arange(DIRECTIONS, dtype=F64) * math.pi / DIRECTIONS
        self.theta = torch.stack([angles.cos(), angles.sin()])
        levels = (torch.arange(n, dtype=F64) + 0.5) / n
        sample = law.sample(EXACT, seed=1, dtype=F64)
        self.quantiles = torch.stack([(sample @ d).quantile(levels) for d in self.theta.T], 1)
        self.law, self.n = law, n

    def distance(self, x: Tensor) -> float:
        return float(((x.to(F64) @ self.theta).sort(0).values - self.quantiles).abs().mean())

    def floor(self, seed: int) -> float:
        return self.distance(self.law.sample(self.n, seed=100 + seed, dtype=F64))


def converged(denoise: Denoise, process, x_T: Tensor, steps: int) -> Tensor:
    """The end of the ODE, with the last step to t = 0 that all samplers share."""
    times = sd.grids.make("karras", process, steps, zero=True)
    return sd.solve(sd.Reverse(process, denoise, 0.0), sd.ExpAdams(3, corrector=True), x_T, times, progress=False)


def rms(x: Tensor) -> float:
    """Root of the mean squared norm of the rows."""
    return float(x.double().square().sum(1).mean().sqrt())


def digits(value: float) -> float | None:
    return float(f"{value:.3g}") if math.isfinite(value) else None


def runs(rows, denoise: Denoise, process, x_T: Tensor, grids, budgets, of: Callable[[Tensor], list], seed: int = 0):
    """{row: {grid: {budget: of(end)}}}; no entry where a row cannot run on so few calls."""
    found: dict[str, dict] = {}
    for row in rows:
        for grid in grids:
            for budget in budgets:
                try:
                    x = sd.sample(denoise, process, x_T, solver=row.key, grid=grid, nfe=budget, seed=seed,
                                  progress=False)  # fmt: skip
                    told = [digits(value) for value in of(x)]
                except (ValueError, FloatingPointError):
                    continue
                found.setdefault(row.key, {}).setdefault(grid, {})[str(budget)] = told
    return found


def on_a_path(denoise: Denoise, process, x_T: Tensor, seed: int) -> dict[str, list]:
    """How far the end at a budget is from that of PATH_FINE steps on the same Brownian path, for
    those of NAMED_NOISY that one drives.

    "fresh noise" is the same distance between two runs of one row with different noise: what no path holds together.
    """
    found, fresh = {}, []
    for row in map(sd.solvers.row, NAMED_NOISY):
        if row.strong is None:
            continue
        equation, solver = sd.Reverse(process, denoise, row.eta), row.make()
        fine = sd.grids.make("exponential", process, PATH_FINE + 1, zero=True)
        try:
            path = sd.path(equation, solver, x_T, fine, seed)
            truth = sd.solve(equation, row.make(), x_T, fine, brownian=path, progress=False)
            ends = []
            for budget in PATH_BUDGETS:
                made, steps = row.fit(budget - 1)
                times = sd.grids.make("exponential", process, steps + 1, zero=True)
                ends.append(digits(rms(sd.solve(equation, made, x_T, times, brownian=path, progress=False) - truth)))
        except (ValueError, FloatingPointError):
            continue
        found[row.key] = ends
    for seeds in ((0, 1), (2, 3), (4, 5)):
        one, two = (
            sd.sample(denoise, process, x_T, solver="dpmpp_2m_sde", grid="exponential", nfe=50, seed=s, progress=False)
            for s in seeds
        )
        fresh.append(rms(one - two))
    return found | {"fresh noise": [digits(sum(fresh) / len(fresh))]}


def merged(parts: list[dict], width: int) -> dict:
    """Leaves of several seeds, put beside each other: {row: {grid: {budget: [[of each seed] of each figure]}}}."""
    out: dict[str, dict] = {}
    for row, grids in parts[0].items():
        for grid, budgets in grids.items():
            for budget in budgets:
                leaves = [part.get(row, {}).get(grid, {}).get(budget, [None] * width) for part in parts]
                out.setdefault(row, {}).setdefault(grid, {})[budget] = [list(f) for f in zip(*leaves, strict=True)]
    return out
