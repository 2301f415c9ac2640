"""Times optimised for the model at hand: the ones whose end-point error on a calibration batch is smallest.

A few unknowns (the steps) and many equations (the end-point error of every start against a fine reference): a
least-squares problem, solved by Levenberg–Marquardt from several well-known grids.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import SupportsIndex

import torch
from torch import Tensor
from tqdm import tqdm

from .. import _checks, noise
from ..process import Process
from ..reverse import Reverse
from .ladder import STARTS, ladder
from .shooting import check_ode, reference, shooting

HEAD, TAIL, RESTARTS = 4, 30, 2  # sweeps from every start, from the two best, and how often from the best perturbed
SWEEPS = len(STARTS) * (HEAD + 1) + (2 + RESTARTS) * (TAIL + 1)


def optimise(
    denoise,
    process: Process,
    solver,
    steps: SupportsIndex,
    x_T: Tensor,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    seed: SupportsIndex = 0,
    progress: bool = True,
) -> Tensor:
    """Times (steps + 1,) that minimise the mean of |x_solver - x_ODE| at t_end over the calibration starts x_T.

    x_T (n, ...): n = 128 is plenty for ten times, take some hundred from 20 on; draw them as for sampling, apart from
    the starts you will test on.
    t_end = 0 spends the last step on denoising, and optimises where it starts. seed: perturbed restarts, which leave
    local minima. A stochastic solver, or one that chooses its own steps, raises ``ValueError``.

    NFE: up to a hundred sweeps on x_T, and a reference of some hundred calls. A sweep is 1 + 2m runs of the solver
    (m = min(dimension, 8)) where the denoiser is differentiable by torch and the solver linear with one call a step,
    and ``steps`` runs otherwise; wrap the denoiser in ``torch.no_grad()`` to have the latter, which takes less memory.
    """
    check_ode(solver)
    rungs, ode = ladder(process, steps, t_start, t_end), Reverse(process, denoise, 0.0)
    x = _checks.state(x_T, "x_T").detach()
    with torch.no_grad():
        truth = reference(ode, x, rungs.t_start, rungs.t_end)
    descent = shooting(ode, solver, x, truth, rungs).descend
    return rungs.times(climb(descent, rungs.starts(), seed, "optimise", progress))


def climb(
    descent: Callable[[Tensor], Iterator[tuple[Tensor, float]]],
    starts: list[Tensor],
    seed: SupportsIndex,
    name: str,
    progress: bool,
    restarts: int = RESTARTS,
) -> Tensor:
    """The best point of several descents: a few sweeps from every start, on from the two best, from the best perturbed.

    ``descent(u)`` yields (u, score); the score need not fall (it may be taken on other starts than those fitted to).
    """
    best, least = starts[0], math.inf
    bar = tqdm(total=SWEEPS, desc=name, disable=None if progress else True, leave=False)

    def follow(u: Tensor, sweeps: int) -> tuple[Tensor, float]:
        nonlocal best, least
        own, since = math.inf, 0
        with contextlib.suppress(FloatingPointError):  # a start from which the solver diverges; others may not
            for n, (point, score) in enumerate(descent(u)):
                own, since = (score, 0) if score < 0.995 * own else (own, since + 1)
                u = point
                if score < least:
                    best, least = point, score
                bar.set_postfix(error=f"{least:.2e}")
                bar.update()
                if n == sweeps or since == 4:
                    break
        return u, own

    with bar:
        heads = [follow(u, HEAD) for u in starts]
        for u, _ in sorted(heads, key=lambda head: head[1])[:2]:
            follow(u, TAIL)
        for n in range(restarts):
            follow(best + 0.3 * noise.normal(best.shape, seed, n, dtype=best.dtype), TAIL)
    if least == math.inf:
        raise FloatingPointError("the solver diverges on every start grid: give more steps, or another range of times")
    return best
