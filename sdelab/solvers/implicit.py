"""Inversion by iteration, of samplers that no arithmetic undoes."""

from itertools import pairwise

import torch
from torch import Tensor

from .ancestral import single_step
from .exponential import ExpEuler
from .invertible import Reversible, combine, move
from .linear import Linear, points
from .row import Row


class Implicit(Reversible):
    """Any single-step ODE solver, its steps undone by iteration: z with step(z) = x.

    z <- z - tau [step(z) - x],   tau = <dz, dg>/<dg, dg> of the last two iterates (Barzilai–Borwein), one per sample

    from the naive inverse on, until |step(z) - x| <= tol (1 + |x|) everywhere. Over DDIM, the default, there is one
    solution if the denoiser is exact: D's Jacobian is alpha/sigma^2 times the covariance of x_0 given x, so the step is
    the gradient of a strictly convex function. Over other solvers long steps may fold, and have several or none.
    ``FloatingPointError`` if ``iterations`` are not enough.

    Order, NFE: the solver's; undoing a step calls it once per iteration, six to ten times over DDIM.
    Reference: Hong et al. (2024), On exact inversion of DPM-solvers, alg. 1, with this step length in place of a fixed
    one; Barzilai & Borwein (1988).
    """

    def __init__(self, solver: Linear | None = None, tol: float = 1e-12, iterations: int = 300):
        self.solver = single_step(solver or ExpEuler(), "inversion by iteration")
        self.order, self.nfe, self.in_time = self.solver.order, self.solver.nfe, self.solver.in_time
        self.tol, self.iterations = tol, iterations

    def plan(self, equation, times):
        knots = points(equation.process, times)
        return list(zip(self.solver.plan(equation, times), self.entries(knots), strict=True))

    def entries(self, knots):
        return [(t.t, move(t, s), s.sigma / t.sigma) for s, t in pairwise(knots)]

    def forth(self, equation, x, other, entry):
        return self.solver.step(equation, x, entry[0], self.solver.start() | {"keep_states": True}, None), None

    def back(self, equation, x, other, entry):
        end, naive, longest = entry[1]
        z = combine(x, equation.denoise(x, end), naive)
        g = self.forth(equation, z, None, entry)[0] - x
        tau = torch.ones_like(_dot(x, x))
        for _ in range(self.iterations):
            if bool((g.abs() <= self.tol * (1 + x.abs())).all()):
                return z, None
            dz = -tau * g
            z, old = z + dz, g
            g = self.forth(equation, z, None, entry)[0] - x
            dg = g - old
            tau = torch.where(_dot(dg, dg) > 0, _dot(dz, dg) / _dot(dg, dg), tau).clamp(0, longest)
        raise FloatingPointError(
            f"{self.iterations} iterations did not undo the step that ends at t = {end:.6g} "
            f"(still off by {float(g.abs().max()):.2g}): take more steps, or loosen tol"
        )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, shaped to multiply a state."""
    return (a * b).reshape(len(a), -1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


ROWS = (
    Row("dpmpp_inversion", "DPM-Solver++ inversion", "invertible", Implicit, 1, 1, "Hong et al. (2024), alg. 1",
        note="Samples as DDIM, which is DPM-Solver++ of order 1; Implicit takes other single-step solvers too."),
)  # fmt: skip
