"""Times and weights of a linear solver, fitted together."""

from typing import SupportsIndex

import torch
from torch import Tensor

from .. import _checks
from ..process import Process
from ..reverse import Reverse
from ..solvers import Tuned
from .ladder import ladder
from .optimise import climb, optimise
from .shooting import Adjoint, check_ode, one_call, plan, reference


def typical(e: Tensor) -> float:
    """Mean of the norms of e (n, ...) without the largest tenth."""
    norms = e.flatten(1).norm(dim=1).sort().values
    return float(norms[: len(norms) - len(norms) // 10].mean())


def tune(
    denoise,
    process: Process,
    solver,
    steps: SupportsIndex,
    x_T: Tensor,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    times: Tensor | None = None,
    seed: SupportsIndex = 0,
    progress: bool = True,
) -> Tuned:
    """The linear ``solver`` with times *and* numbers fitted to the starts x_T: ``solve(ode, tuned, x_T, tuned.times)``.

    As :func:`sdelab.fit.optimise`, from whose times it goes on (found on the first 128 starts, unless ``times`` are
    given). Some four numbers a step can fit the starts instead of the model, so a quarter of them is held out, and the
    answer is the point of the descent that is best there (in all but its worst tenth: a start near a watershed changes
    sides at the slightest change, which says nothing of the weights). Give some hundred starts, a thousand above 20
    steps or in high dimension.
    ``ValueError`` if the solver is not linear with one call a step, or the denoiser not differentiable by torch.
    """
    check_ode(solver)
    rungs, ode = ladder(process, steps, t_start, t_end), Reverse(process, denoise, 0.0)
    x = _checks.state(x_T, "x_T").detach()
    if len(x) < 8:
        raise ValueError(f"{len(x)} starts are too few to fit some numbers per step: give some hundred")
    if not one_call(plan(ode, solver, rungs)):
        raise ValueError(
            f"{type(solver).__name__} cannot be tuned: it must be linear, call the denoiser once a step and combine "
            "values of D, as exponential Adams and its relatives do; sd.grids.optimise takes any ODE solver"
        )
    ends = {"t_start": t_start, "t_end": t_end, "seed": seed, "progress": progress}
    if times is None:
        times = optimise(denoise, process, solver, steps, x[:128], **ends)
    with torch.no_grad():
        truth = reference(ode, x, rungs.t_start, rungs.t_end)
    cut = len(x) - len(x) // 4
    fit, held = (Adjoint(ode, solver, x[part], truth[part], rungs) for part in (slice(cut), slice(cut, None)))

    def descent(start: Tensor):
        for theta, _ in fit.descend(start):
            yield theta, typical(held.error(theta))

    start = torch.cat([rungs.u(times), times.new_zeros(fit.P)])
    best = climb(descent, [start], seed, "tune", progress, restarts=0)
    flow = iter(fit.numbers(best).tolist())
    recipe = [(next(flow), [next(flow) for _ in range(width)]) for width in fit.widths]
    return Tuned(rungs.times(best[: fit.K]), recipe)
