"""Solvers of :class:`KineticReverse`: gDDIM, exact where the data are one point, and the splitting sampler SSCS."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..solvers.classical import EulerMaruyama
from ..solvers.row import Row
from .process import Kinetic, apply, cholesky, matrix
from .reverse import KineticReverse

F64 = torch.float64
_X, _W = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(24))


def nodes(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [a, b] in log tau, where the laws near the data are smooth; (..., 24)."""
    la, lb = a.log()[..., None], b.log()[..., None]
    tau = (0.5 * (la + lb) + 0.5 * (lb - la) * _X).exp()
    return tau, 0.5 * (lb - la) * _W * tau


def turn(process: Kinetic, a: Tensor, b: Tensor) -> Tensor:
    """Angle by which the root R of C = R R' with R' = (A + Q C^{-1}/2) R turns against Cholesky's, from tau = a to b.

    With C = L L' and R = L O the rate is A_xv L_vv/L_xx - Q_xx L_vx/(2 L_xx^2 L_vv).
    """
    tau, weight = nodes(a, b)
    L = cholesky(process.cov(process.of_clock(tau)))
    xx, vx, vv = L[..., 0, 0], L[..., 1, 0], L[..., 1, 1]
    rate = process.A[0, 1] * vv / xx - 0.5 * process.Q[0, 0] * vx / (xx * xx * vv)
    return (weight * rate).sum(-1)


def bring(process: Kinetic, eta: float, r: Tensor, t: Tensor) -> Tensor:
    """Psi(t, r): carries u - mu D from clock r down to t while D stands still; shapes (...) give (..., 2, 2).

    eta = 0: R_t R_r^{-1}, R as in :func:`turn`. eta = 1: C_t Phi' C_r^{-1}, the posterior mean of u_t given u_r, x_0.
    """
    C_t, C_r = process.cov(process.of_clock(t)), process.cov(process.of_clock(r))
    if eta:
        return torch.linalg.solve(C_r, process.flow(r - t) @ C_t).mT
    angle = turn(process, r, t)
    cos, sin = angle.cos(), angle.sin()
    return cholesky(C_t) @ matrix((cos, sin), (-sin, cos)) @ torch.linalg.inv(cholesky(C_r))


def left_over(process: Kinetic, s: Tensor, t: Tensor) -> Tensor:
    """Covariance of u_t given u_s and x_0, t < s: Phi^{-1} Sigma C_s^{-1} Phi C_t, which has no cancellation."""
    flow, C_s, C_t = process.flow(s - t), process.cov(process.of_clock(s)), process.cov(process.of_clock(t))
    P = torch.linalg.solve(flow, process.added(s - t) @ torch.linalg.solve(C_s, flow @ C_t))
    return 0.5 * (P + P.mT)


def lagrange(at: Tensor, knots: Tensor) -> Tensor:
    """Values (len(knots), len(at)) of the Lagrange polynomials of ``knots``."""
    rows = []
    for j, knot in enumerate(knots):
        others = torch.cat([knots[:j], knots[j + 1 :]])
        rows.append(((at[None] - others[:, None]) / (knot - others)[:, None]).prod(0))
    return torch.stack(rows)


def _clocks(equation, solver, times) -> Tensor:
    if not isinstance(equation, KineticReverse):
        raise ValueError(f"{type(solver).__name__} needs a KineticReverse equation, not {type(equation).__name__}")
    if times[-1] <= 0 or times[0] < times[-1]:
        raise ValueError(
            f"kinetic solvers run down to a time above 0, not from {times[0]} to {times[-1]}: "
            "end at the process's t_min and take equation.denoise(u, t_min)"
        )
    return equation.process.clock(torch.tensor(times, dtype=F64))


class _Kinetic:
    """What the two share: the protocol of :mod:`sdelab.solve` for a solver without state between steps."""

    order, nfe = 1, 1
    ode_only = in_time = False

    def start(self):
        return {"past": []}


class _GStep(NamedTuple):
    t: float
    keep: Tensor
    weights: list[Tensor]
    noise: Tensor | None


class GDDIM(_Kinetic):
    """Exponential integrator of kinetic diffusions: D is extrapolated, everything linear is exact.

    u_t = Psi u_s + sum_j w_j D_j + P^{1/2} z,  sum_j w_j = mu_t - Psi mu_s,  Psi as in :func:`bring`; D is a
    polynomial in lam = -log sigma_eff through the last ``points`` evaluations. Where the data are one point D is
    constant, and every step is exact: Psi is R_t R_s^{-1}, gDDIM's choice of K_t. At eta = 1 it samples the posterior
    of u_t given u_s and x_0 = D, the kinetic DDPM.

    Order: ``points`` at eta = 0; at eta = 1 weak 1 with one point and weak 2 with two. NFE: 1.
    Reference: Zhang, Tao & Chen (2023), "gDDIM", with K_t = R_t; here in x_0 instead of eps, R_t by quadrature.
    Raises ``ValueError`` for eta other than 0 and 1, whose Psi has no such form.
    """

    def __init__(self, points: int = 1):
        if points not in (1, 2, 3, 4):
            raise ValueError(f"points is the number of values of D that a step uses, 1 to 4, not {points}")
        self.points = self.order = points

    def plan(self, equation: KineticReverse, times) -> list[_GStep]:
        taus, p, eta = _clocks(equation, self, times), equation.process, equation.eta
        if eta not in (0.0, 1.0):
            raise ValueError(f"gDDIM has closed coefficients for eta = 0 and eta = 1, not {eta}")
        s, t = taus[:-1], taus[1:]
        keep, mu, lam = bring(p, eta, s, t), p.mean(p.of_clock(taus)), p.lam(p.of_clock(taus))
        whole = mu[1:] - (keep @ mu[:-1, :, None])[..., 0]
        noise = cholesky(left_over(p, s, t)) if eta else None
        if self.points > 1:  # w_j = int_t^s Psi(t, r) k(r) l_j(lam_r) dr, k = (1 + eta^2)/2 Q C^{-1} mu
            tau, weight = nodes(t, s)
            at = p.of_clock(tau)
            pull = 0.5 * (1 + eta**2) * p.Q @ torch.linalg.solve(p.cov(at), p.mean(at)[..., None])
            brought = weight[..., None] * (bring(p, eta, tau, t[:, None].expand_as(tau)) @ pull)[..., 0]
            lam_at = p.lam(at)
        entries = []
        for n in range(len(s)):
            used = lam[max(n + 1 - self.points, 0) : n + 1].flip(0)
            older = list(lagrange(lam_at[n], used) @ brought[n])[1:] if len(used) > 1 else []
            newest = whole[n] - torch.stack(older).sum(0) if older else whole[n]
            entries.append(_GStep(times[n], keep[n], [newest, *older], None if noise is None else noise[n]))
        return entries

    def step(self, equation, x, entry: _GStep, memory, draw):
        past = memory["past"]
        past.insert(0, equation.denoise(x, entry.t))
        del past[self.points :]
        u = apply(entry.keep, x)
        for w, D in zip(entry.weights, past, strict=True):
            u[:, 0].add_(D, alpha=float(w[0]))
            u[:, 1].add_(D, alpha=float(w[1]))
        if entry.noise is None:
            return u
        z, scale = draw(None, None, x, 1.0)
        return u + apply(scale * entry.noise, z)


class _SStep(NamedTuple):
    middle: float
    keep: Tensor
    noise: Tensor
    h: float


class SSCS(_Kinetic):
    """Symmetric splitting of the reverse SDE of CLD: half an exact Langevin step, the score's kick, the other half.

    In the clock run backwards: A: dx = -v/M, dv = x - Gamma v/M, plus sqrt(2 Gamma) dw, exact; S: dv = 2 Gamma (s_v +
    v/M) by one explicit Euler step (``stages`` = 1, as published) or a midpoint step (2). The score is taken at the
    middle of the step, where a symmetric scheme has its time.

    Order: weak 1 as published, for S is not solved exactly; weak 2 with two stages. NFE: ``stages``.
    Reference: Dockhorn, Vahdat & Kreis (2022), algorithm 1 and appendix D.
    Raises ``ValueError`` where noise enters the position (PSLD), and for eta other than 1.
    """

    def __init__(self, stages: int = 1):
        if stages not in (1, 2):
            raise ValueError(f"the kick is taken in 1 or 2 stages, not {stages}")
        self.order = self.nfe = stages

    def plan(self, equation: KineticReverse, times) -> list[_SStep]:
        taus, p = _clocks(equation, self, times), equation.process
        if equation.eta != 1 or p.Q[0, 0] != 0:
            raise ValueError(
                f"SSCS splits CLD's reverse SDE: it needs eta = 1 and a CLD, not {equation.eta}, {p.name!r}"
            )
        h, mirror = taus[:-1] - taus[1:], torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=F64)  # A: x runs backwards
        keeps, noises = mirror * p.flow(0.5 * h), cholesky(mirror * p.added(0.5 * h))
        middles = p.of_clock(taus[1:] + 0.5 * h).tolist()
        return list(map(_SStep, middles, keeps, noises, h.tolist()))

    def step(self, equation, x, entry: _SStep, memory, draw):
        p, t = equation.process, entry.middle
        row = torch.linalg.inv(p.cov(t))[1].to(x)
        power = float(p.Q[1, 1])

        def kick(u: Tensor) -> Tensor:
            r = equation.residual(u, t)
            return power * (u[:, 1] / p.mass - row[0] * r[:, 0] - row[1] * r[:, 1])

        def half(u: Tensor) -> Tensor:
            z, scale = draw(None, None, u, 1.0)
            return apply(entry.keep, u) + apply(scale * entry.noise, z)

        u = half(x)
        push = kick(u)
        if self.nfe == 2:
            push = kick(torch.stack([u[:, 0], u[:, 1] + 0.5 * entry.h * push], 1))
        return half(torch.stack([u[:, 0], u[:, 1] + entry.h * push], 1))


def _gddim(points: int) -> Row:
    return Row(f"gddim_{points}" if points > 1 else "gddim", f"gDDIM {points}", "kinetic", lambda: GDDIM(points),
               points, 1, "Zhang, Tao & Chen (2023), gDDIM with K_t = R_t")  # fmt: skip


ROWS = (
    *map(_gddim, (1, 2, 3)),
    Row("gddim_sde", "gDDIM SDE", "kinetic", GDDIM, 1, 1, "Zhang, Tao & Chen (2023), gDDIM at lambda = 1",
        stochastic=True),
    Row("gddim_2_sde", "gDDIM 2 SDE", "kinetic", lambda: GDDIM(2), 2, 1,
        "Zhang, Tao & Chen (2023), multistep gDDIM at lambda = 1", stochastic=True),
    Row("sscs", "SSCS", "kinetic", SSCS, 1, 1, "Dockhorn, Vahdat & Kreis (2022), alg. 1", stochastic=True,
        note="The splitting is symmetric, but an explicit Euler step for the score's part leaves order 1."),
    Row("sscs_midpoint", "SSCS midpoint", "kinetic", lambda: SSCS(2), 2, 2, "Dockhorn, Vahdat & Kreis (2022), alg. 1",
        stochastic=True, note="SSCS with a midpoint step for the score's part."),
    Row("kinetic_em", "Euler–Maruyama (kinetic)", "kinetic", EulerMaruyama, 1, 1, "Maruyama (1955)", stochastic=True),
)  # fmt: skip
