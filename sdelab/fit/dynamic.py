"""Grids from the model's own trajectories: by dynamic programming, where an error is a sum of one cost per step and the
best grid among fine times a shortest path; and by sharing the local error out evenly."""

import math
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor

from .. import _checks, noise
from ..grids import make
from ..process import Process, like
from ..reverse import Reverse
from ..solve import trajectory
from ..solvers import ExpAdams
from .ladder import ladder


def shortest(cost: Tensor, steps: int, discount: float = 1.0) -> list[int]:
    """The path 0 = i_0 < … < i_steps = M of least sum_k discount^k cost[i_k, i_{k+1}], cost (M + 1, M + 1)."""
    M = len(cost) - 1
    if not 1 <= steps <= M:
        raise ValueError(f"a path of {steps} steps needs at least as many fine ones, not {M}")
    cost = torch.where(torch.ones_like(cost).triu(1) > 0, cost, math.inf)
    value, turns = cost[:, M], []  # of the best way from i to M in one step, two steps, …
    for _ in range(steps - 1):
        value, turn = (cost + discount * value).min(1)
        turns.append(turn)
    path = [0]
    for turn in reversed(turns):
        path.append(int(turn[path[-1]]))
    return [*path, M]


def gits(
    denoise,
    process: Process,
    steps: SupportsIndex,
    x_T: Tensor,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    fine: int = 100,
    discount: float = 1.15,
) -> Tensor:
    """Times (steps + 1,) of least summed local error: cost[i, j] = mean |x_j - DDIM(x_i, t_i -> t_j)| along the fine
    ODE trajectories from x_T, weighed by discount^k in the k-th step.

    Knows no solver but DDIM. NFE: ``fine`` (times spaced evenly in lam). t_end = 0 is refused.
    Reference: after Chen et al. (2024), "On the trajectory regularity of ODE-based diffusion sampling" (GITS).
    """
    ts, alpha, sigma = _fine(process, steps, t_start, t_end, fine)
    xs, Ds = _along(Reverse(process, denoise, 0.0), x_T, ts)
    cost = torch.full((fine + 1, fine + 1), math.inf, dtype=torch.float64)
    for i in range(fine):
        for j in range(i + 1, fine + 1):
            keep = sigma[j] / sigma[i]
            ddim = keep * xs[i] + (alpha[j] - keep * alpha[i]) * Ds[i]
            cost[i, j] = (xs[j] - ddim).norm(dim=1).mean()
    return ts[shortest(cost, int(steps), discount)]


def equal_error(
    denoise,
    process: Process,
    steps: SupportsIndex,
    x_T: Tensor,
    *,
    order: int = 2,
    t_start: float | None = None,
    t_end: float | None = None,
    fine: int = 200,
) -> Tensor:
    """Times (steps + 1,) between which a method of that order makes equal local errors along the ODE from x_T.

    In x/sigma an exponential method of order p errs by e^lam |D^(p)| h^(p+1) in a step of length h in lam, and the
    linear part passes errors on as they are. So the steps take equal shares of the integral of

        (e^lam mean |D^(p)|)^(1/(p + 1))  d lam

    with derivatives by differences along trajectories at ``fine`` times spaced evenly in lam (NFE: twice as many). An
    adaptive solver does the same step by step; this grid knows the number of steps beforehand. t_end = 0 is refused.

    Reference: equidistribution of the local error, de Boor (1974).
    """
    if not (isinstance(order, int) and 1 <= order <= 4):
        raise ValueError(f"order must be 1, 2, 3 or 4, not {order!r}")
    ts, _, _ = _fine(process, steps, t_start, t_end, fine)
    _, Ds = _along(Reverse(process, denoise, 0.0), x_T, ts)
    lam = process.lam(ts)
    if not lam[0].isfinite():  # from alpha = 0: there the first step is exact, and any finite length will do
        lam[0] = 2 * lam[1] - lam[2]
    size = torch.stack(Ds).diff(n=order, dim=0).norm(dim=2).mean(1).cpu().double()
    middle = lam.unfold(0, order + 1, 1).mean(1)
    density = torch.from_numpy(np.interp(lam, middle, (middle.exp() * size) ** (1 / (order + 1))))
    density += 1e-3 * float(density.max()) or 1.0  # where D stands still a step may be long, but not endless
    share = torch.cat([lam.new_zeros(1), (0.5 * (density[1:] + density[:-1]) * lam.diff()).cumsum(0)])
    found = np.interp(torch.linspace(0, float(share[-1]), int(steps) + 1, dtype=torch.float64), share, lam)
    times = process.t_of_lam(torch.from_numpy(found))
    times[0], times[-1] = ts[0], ts[-1]
    return times


def ays(
    denoise,
    process: Process,
    steps: SupportsIndex,
    x_0: Tensor,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    fine: int = 200,
    seed: SupportsIndex = 0,
) -> Tensor:
    """Times (steps + 1,) of the least bound on KL(data || samples) for stochastic sampling with D held over each step:

        KL <= sum_i int_{lam_i}^{lam_{i+1}} e^{2 lam} E |D(x_lam, lam) - D(x_{lam_i}, lam_i)|^2 d lam

    over the forward process of the data x_0 (n, ...), by Girsanov: half of the squared difference of the drifts over
    g^2 = -2 sigma^2 dlam/dt. Expectations are over one forward path per row; the integral is a trapezium rule on
    ``fine`` times spaced evenly in lam; and as the bound is a sum over steps, the best subset of them is found exactly
    where the paper searches coordinate by coordinate. NFE: fine + 1. t_end = 0 is refused.

    Reference: Sabour, Fidler & Kreis (2024), "Align your steps", section 3 (its KL upper bound).
    """
    ts, alpha, sigma = _fine(process, steps, t_start, t_end, fine)
    x, at, D = _checks.state(x_0, "x_0"), 0.0, {}
    with torch.no_grad():
        for j in range(fine, -1, -1):  # forward in time, from data to noise
            a, std = process.transition(at, float(ts[j]))
            z = noise.normal(x.shape, seed, (noise.STEP, j), dtype=x.dtype, device=x.device)
            x = like(a, x) * x + like(std, x) * z
            D[j], at = denoise(x, float(ts[j])).flatten().double(), float(ts[j])
    rows = torch.stack([D[j] for j in range(fine + 1)])
    gram = rows @ rows.T / len(x)
    size = gram.diagonal()
    rate = (torch.tensor(alpha) / torch.tensor(sigma)) ** 2 * (size[:, None] + size - 2 * gram)  # [i, lam]
    step = process.lam(ts).diff()
    step[~step.isfinite()] = 0.0  # from alpha = 0 on every grid starts with the same held value
    cost = torch.zeros_like(rate)
    cost[:, 1:] = (0.5 * (rate[:, 1:] + rate[:, :-1]) * step).triu().cumsum(1)
    return ts[shortest(cost, int(steps))]


def _along(ode: Reverse, x_T: Tensor, ts: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """States (n, d) of the ODE from x_T at the times ts, and D there."""
    with torch.no_grad():
        xs = [x.flatten(1) for _, x in trajectory(ode, ExpAdams(2), _checks.state(x_T, "x_T"), ts, progress=False)]
        return xs, [ode.denoise(x.view_as(x_T), t).flatten(1) for t, x in zip(ts.tolist(), xs, strict=True)]


def _fine(process: Process, steps: SupportsIndex, t_start, t_end, fine: int) -> tuple[Tensor, list[float], list[float]]:
    """Fine times evenly spaced in lam, with alpha and sigma there."""
    rungs = ladder(process, steps, t_start, t_end)
    if rungs.zero:
        raise ValueError("the costs are of steps to a noise level above 0: give t_end > 0, and append 0 to denoise")
    ts = make("exponential", process, fine, t_start=rungs.t_start, t_end=rungs.t_end)
    return ts, process.alpha(ts).tolist(), process.sigma(ts).tolist()
