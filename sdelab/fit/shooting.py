"""End-point errors of a batch of starts as a function of the grid, and their derivatives.

Two ways to the derivatives. Differences: a run per unknown, for any solver and any denoiser. Adjoint: for linear
solvers with one call a step, whose end point depends on the times through the numbers of the plan and the times at
which D is evaluated; one run with those as leaves per sample, and a backward pass per direction, give every derivative
at once, those by the numbers themselves too (which is what :func:`sdelab.fit.tune` moves).
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .. import _checks, noise
from ..grids import make
from ..reverse import Reverse
from ..solve import solve
from ..solvers import ExpAdams
from .ladder import Ladder
from .least import descend, mean_norm


def reference(ode: Reverse, x: Tensor, t_start: float, t_end: float) -> Tensor:
    """The ODE's solution at t_end: steps are doubled until the answer moves by less than a millionth of itself."""
    process, coarse, tol = ode.process, None, 1e-6 if x.dtype == torch.float64 else 1e-5
    end = t_end or float(process.t_of_lam(process.lam(process.t_min) + math.log(100)))  # what is left is O(sigma^2)
    for steps in (128, 256, 512, 1024, 2048):
        times = make("exponential", process, steps, t_start=t_start, t_end=end)
        if t_end == 0:
            times = torch.cat([times, times.new_zeros(1)])
        fine = solve(ode, ExpAdams(3, corrector=True), x, times, progress=False)
        if coarse is not None and mean_norm(fine - coarse) < tol * mean_norm(fine):
            break
        coarse = fine
    return fine


def check_ode(solver) -> None:
    """Refuse solvers whose end point is not a function of the start and the times."""
    if getattr(solver, "noisy", False):
        raise ValueError(
            f"{type(solver).__name__} adds noise of its own, so its end point has no error against the ODE to minimise:"
            " optimise for an ODE solver, or take sd.grids.ays, which bounds the error of stochastic sampling"
        )
    if hasattr(solver, "rtol"):
        raise ValueError(f"{type(solver).__name__} chooses its own steps: there is no grid to optimise")


def shooting(ode: Reverse, solver, x: Tensor, truth: Tensor, rungs: Ladder) -> "Shooting":
    """By adjoint where solver and denoiser allow it, by differences otherwise."""
    with torch.enable_grad():
        D = ode.denoise(x.clone().requires_grad_(), rungs.t_start)  # all of x: a denoiser of classes has one per sample
    way = Adjoint if D.requires_grad and one_call(plan(ode, solver, rungs)) else Shooting
    return way(ode, solver, x, truth, rungs)


def plan(ode: Reverse, solver, rungs: Ladder, u: Tensor | None = None) -> Sequence:
    """The solver's plan on the grid u (the first start grid by default), checked for order."""
    times = _checks.monotone(rungs.times(rungs.starts()[0] if u is None else u), decreasing=True)
    return solver.plan(ode, times[: -1 if rungs.zero else None])


def one_call(entries: Sequence) -> bool:
    """Whether a plan is linear with one call of the denoiser per step, combining values of D itself."""
    stages = [getattr(entry, "stages", ()) for entry in entries]
    return all(
        len(s) == 1 and s[0].t is not None and s[0].value is None and not s[0].noise and e.correct is None
        for s, e in zip(stages, entries, strict=True)
    )


def numbers(entries: Sequence) -> list[float]:
    """All coefficients of such a plan in one row: of each step keep, then the weights."""
    return [c for e in entries for c in (e.stages[0].keep, *e.stages[0].weights)]


def unroll(denoise, times: Sequence[float], widths: Sequence[int], numbers: Sequence, x: Tensor, hook) -> Tensor:
    """Steps x <- keep x + sum_j w_j D_j, newest value first, with the given numbers; these may be tensors (n, 1, ...),
    one per sample, and are differentiable. ``widths``: how many w each step has. ``hook(D, x, t)`` sees each value."""
    flow, past = iter(numbers), []
    for t, width in zip(times, widths, strict=False):
        past = [hook(denoise(x, t), x, t), *past[: max(widths) - 1]]
        x, ahead = next(flow) * x, [next(flow) for _ in range(width)]
        for w, D in zip(ahead, past, strict=False):
            x = x + w * D
    return x


def directions(e: Tensor, seed: int = 0, most: int = 8) -> Tensor:
    """Orthonormal directions (m, n, d) for every sample of e (n, d): all d, or e's own and random ones for the others.

    The random ones are scaled so that squares of projections have the right mean.
    """
    n, d = e.shape
    if d <= most:
        return torch.eye(d, dtype=e.dtype)[:, None].expand(d, n, d)
    z = noise.normal((n, d, most - 1), seed, dtype=e.dtype)
    Q = torch.linalg.qr(torch.cat([e[..., None], z], -1))[0]
    return torch.cat([Q[..., :1], Q[..., 1:] * math.sqrt((d - 1) / (most - 1))], -1).permute(2, 0, 1)


class Shooting:
    """End-point errors of the starts x against the truth, with derivatives by differences."""

    def __init__(self, ode: Reverse, solver, x: Tensor, truth: Tensor, rungs: Ladder):
        self.ode, self.solver, self.x, self.truth, self.rungs = ode, solver, x, truth, rungs
        self.K = rungs.unknowns
        self.exact = x.dtype == torch.float64

    def error(self, u: Tensor) -> Tensor:
        with torch.no_grad():
            x = solve(self.ode, self.solver, self.x, self.rungs.times(u), progress=False)
        return (x - self.truth).double().cpu()  # what follows is small algebra

    def frame(self, u: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        du = 1e-5 if self.exact else 1e-2  # root of the rounding, or so
        moved = [self.error(u + step) for step in du * torch.eye(len(u), dtype=u.dtype)]
        return torch.stack([(m - e) / du for m in moved]).flatten(2), e.flatten(1)

    def descend(self, theta: Tensor) -> Iterator[tuple[Tensor, float]]:
        reach = torch.full_like(theta, math.inf)
        reach[: self.K] = 1.0  # times move by a factor e at most
        return descend(self.error, self.frame, theta, reach)


class Adjoint(Shooting):
    """The same with exact derivatives, and with theta = (u, delta) allowed: delta is added to the solver's numbers."""

    def __init__(self, ode, solver, x, truth, rungs):
        super().__init__(ode, solver, x, truth, rungs)
        entries = plan(ode, solver, rungs)
        self.widths = [len(e.stages[0].weights) for e in entries]
        self.P = len(numbers(entries))

    def numbers(self, theta: Tensor) -> Tensor:
        own = theta.new_tensor(numbers(plan(self.ode, self.solver, self.rungs, theta[: self.K])))
        return own + theta[self.K :] if len(theta) > self.K else own

    def end(self, times: list[float], numbers: Sequence, hook=lambda D, x, t: D) -> Tensor:
        x = unroll(self.ode.denoise, times, self.widths, numbers, self.x, hook)
        return hook(self.ode.denoise(x, times[-2]), x, times[-2]) if self.rungs.zero else x

    def error(self, theta: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.end(self.rungs.times(theta[: self.K]).tolist(), self.numbers(theta).tolist())
        return (x - self.truth).double().cpu()  # what follows is small algebra

    @torch.enable_grad()
    def frame(self, theta: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        n, x, times = len(e), self.x, self.rungs.times(theta[: self.K])
        shape = (n,) + (1,) * (x.ndim - 1)
        w = self.numbers(theta).to(x)[:, None].repeat(1, n).requires_grad_()
        late = x.new_zeros(self.rungs.steps, n).requires_grad_()  # what is added to the time of each evaluation
        rows = iter(late)

        def hook(D, y, t):
            dt = t * (-1e-5 if self.exact else -1e-3)
            with torch.no_grad():
                slope = (self.ode.denoise(y, t + dt) - D) / dt
            return D + next(rows).view(shape) * slope

        end = self.end(times.tolist(), list(w.view(-1, *shape)), hook)
        Q = directions(e.flatten(1))
        G = [torch.autograd.grad(end, (w, late), q.reshape(x.shape).to(x), retain_graph=True) for q in Q]
        Gw, Gt = (torch.stack(g, -1).double().cpu() for g in zip(*G, strict=True))  # (P, n, m) and (steps, n, m)
        dw, dt = self._slopes(theta, times)
        Gu = torch.einsum("pu,pnm->unm", dw, Gw) + torch.einsum("tu,tnm->unm", dt, Gt)
        J = torch.cat([Gu, Gw]) if len(theta) > self.K else Gu
        return J, (Q * e.flatten(1)).sum(-1).T

    def _slopes(self, theta: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """d numbers/du (P, K) and d times/du (steps, K), by differences that call no denoiser."""
        du, here = 1e-6, self.numbers(theta)
        moved = [theta + step for step in du * torch.eye(self.K, len(theta), dtype=theta.dtype)]
        dw = torch.stack([(self.numbers(m) - here) / du for m in moved], 1)
        dt = torch.stack([(self.rungs.times(m[: self.K]) - times) / du for m in moved], 1)
        return dw, dt[:-1]
