"""Stochastic DPM-Solvers: exponential integrators with noise, under the names that image tools and diffusers use.

From s to t the family of :class:`sdelab.Reverse` is solved by interpolating D (DPM-Solver++) or the noise
eps = (x - alpha D)/sigma (DPM-Solver); with h = lam_t - lam_s and k = 1 + eta^2

    x_t = (sigma_t/sigma_s) e^{-eta^2 h} x_s + alpha_t int_0^h k e^{-k(h-u)} D du + sigma_t sqrt(1 - e^{-2 eta^2 h}) z
    x_t = (alpha_t/alpha_s) x_s - sigma_t int_0^h k e^{h-u} eps du + eta sigma_t sqrt(e^{2h} - 1) z

Every eta of the equation is served; at eta = 0 they are the ODE solvers of the same names. What k-diffusion calls eta
is eta^2 here for its 2M and 3M SDE samplers, and eta for its SDE sampler (:class:`DPMppSDE`).

A path drives them on the clock e^{2 eta^2 lam}. The eps form weighs the noise inside a step otherwise, and takes the
path's increment over the whole interval at its own scale: the strong order stays 1.

Weak orders are measured on linear-Gaussian data, where the law is its mean and its variance: no more is claimed.
"""

import math
from collections.abc import Sequence

from .exp_rk import ExpRK, midpoint
from .exponential import DPMpp2M, DPMpp3M, eps_at, weights
from .linear import Entry, Linear, Point, Stage, Step, spread, ticks
from .row import Row


def spread_eps(a: Point, b: Point, t: Point, e2: float) -> float:
    """Standard deviation at t of the noise that the eps form adds from a to b: eta alpha_t sqrt(r_a^2 - r_b^2)."""
    return t.alpha * b.ratio * math.sqrt(e2 * math.expm1(2 * (b.lam - a.lam)))


class DPMppSDE(ExpRK):
    """DPM++ SDE: D at s and at the inner node m, lam_m = lam_s + r h, and k-diffusion's ancestral dial of the noise.

        y   = kappa_m (sigma_m/sigma_s) x_s + alpha_m (1 - kappa_m e^{-rh}) D_s               + noise from s to m
        x_t = kappa_t (sigma_t/sigma_s) x_s + alpha_t (1 - kappa_t e^{-h}) [(1 - w) D_s + w D(y)] + noise from s to t

    with w = 1/(2r), and fresh noise of variance (1 - kappa^2) sigma^2 = min(1, eta^2 (1 - e^{-2h})) sigma^2. The family
    of :class:`sdelab.Reverse` has kappa = e^{-eta^2 h} instead: the same at eta = 0 and 1, and elsewhere to first order
    in h; ``ExpRK(midpoint(r))`` is this method with that kappa. The noise from s to t contains that from s to m, as on
    one Brownian path, whether a path is given or the two draws of a step come from a seed.

    Order: 2 (ODE and weak; weak 1 if the two draws were independent). NFE: 2.
    Reference: Lu et al. (2022), DPM-Solver++, alg. 1, with noise; Crowson (2022), k-diffusion's sample_dpmpp_sde.
    Raises ``ValueError`` for r outside (0, 1].
    """

    def __init__(self, r: float = 0.5):
        super().__init__(midpoint(r))

    def stages(self, s: Point, inner: Sequence[Point], t: Point, e2: float = 0.0) -> list[Stage]:
        stages = super().stages(s, inner, t, e2)
        return [_ancestral(stage, s, p, e2) for stage, p in zip(stages, [*inner, t], strict=True)] if e2 else stages


def _ancestral(stage: Stage, s: Point, p: Point, e2: float) -> Stage:
    """The stage from s to p, with the part min(1, eta^2 (1 - e^{-2h})) of sigma_p^2 renewed, not 1 - e^{-2 eta^2 h}."""
    h = p.lam - s.lam
    fresh = min(1.0, e2 * -math.expm1(-2 * h))
    log_kappa = 0.5 * math.log1p(-fresh) if fresh < 1 else -math.inf
    mass = math.expm1(log_kappa - h) / math.expm1(-(1 + e2) * h)
    noise = p.sigma * math.sqrt(fresh) / spread(s, p, e2)
    return stage._replace(
        keep=p.sigma / s.sigma * math.exp(log_kappa),
        weights=[mass * w for w in stage.weights],
        noise=[noise * c for c in stage.noise],
    )


class DPMpp2MSDE(DPMpp2M):
    """DPM-Solver++(2M) for every eta: D_s + (h/h_old)(D_s - D_old)/2 held constant over the step ("midpoint").

    ``heun``: the difference (h/h_old)(D_s - D_old) is weighed by 1 - (1 - e^{-kh})/(kh) instead, i.e. the line
    through D_s and D_old is integrated exactly, as by :class:`ExpAdams` (2).

    Order: 2 (ODE and weak). NFE: 1. Reference: Lu et al. (2022), DPM-Solver++, SDE-DPM-Solver++(2M).
    """

    def __init__(self, heun: bool = False):
        super().__init__()
        self.heun = heun

    def check(self, equation) -> None:
        Linear.check(self, equation)

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        return weights(h, k, nodes) if self.heun else super().weights(h, k, nodes)


class DPMpp3MSDE(DPMpp3M):
    """DPM-Solver++(3M) for every eta, as published: the parabola through three values of D with half its curvature.

    Its second step integrates the line through two values exactly.

    Order: 2 (ODE and weak). NFE: 1. Reference: Crowson (2023), k-diffusion's sample_dpmpp_3m_sde.
    """

    ode_only = False

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        return weights(h, k, nodes) if len(nodes) == 2 else super().weights(h, k, nodes)


class SDEDPMSolver(DPMpp2MSDE):
    """SDE-DPM-Solver: eps held constant over the step (order 1), or eps_s + (h/h_old)(eps_s - eps_old)/2 (2M).

    ``heun``: the line through eps_s and eps_old integrated exactly.

    Order: 1 or 2 (ODE and weak). NFE: 1.
    Reference: Lu et al. (2022), DPM-Solver++, SDE-DPM-Solver-1 and SDE-DPM-Solver-2M.
    Raises ``ValueError`` for other orders.
    """

    def __init__(self, order: int = 2, heun: bool = False):
        super().__init__(heun)
        if order not in (1, 2):
            raise ValueError(f"order must be 1 or 2, not {order!r}")
        self.order, self.history = order, order - 1

    def entry(self, step: Step) -> Entry:
        s, t, e2 = step.s, step.t, step.e2
        slopes = [(1 + e2) * t.sigma * w for w in self.predict(step, -1.0)]
        noise = {"draws": (ticks(s, t, e2),), "noise": (spread_eps(s, t, t, e2),)} if e2 else {}
        return Entry((Stage(s.t, eps_at(s), t.alpha / s.alpha, slopes, **noise),))


_2M, _SDE = "Lu et al. (2022), DPM-Solver++, SDE-DPM-Solver++(2M)", "Lu et al. (2022), DPM-Solver++, SDE-DPM-Solver"
_KD, _DIFFUSERS = "k-diffusion sample_dpmpp_", "diffusers DPMSolverMultistep, algorithm_type sde-dpmsolver"
_FINE = {"strong_steps": (128, 256, 512)}  # on fewer steps the error falls faster than it will


def _row(key: str, name: str, make, order: int, paper: str, oracle: str, nfe: int = 1, **fields) -> Row:
    return Row(key, name, "exponential", make, order, nfe, paper, True, 1.0, oracle=oracle, measure=_FINE, **fields)


ROWS = (
    _row("dpmpp_sde", "DPM++ SDE", DPMppSDE, 2, "Crowson (2022), k-diffusion; Lu et al. (2022), DPM-Solver++, alg. 1",
         f"{_KD}sde", 2, note="weak order 2 because both draws of a step are of one path; 1 if they were independent"),
    _row("dpmpp_2m_sde", "DPM++ 2M SDE", DPMpp2MSDE, 2, _2M, f"{_KD}2m_sde, midpoint; {_DIFFUSERS}++"),
    _row("dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun", lambda: DPMpp2MSDE(True), 2, _2M,
         f"{_KD}2m_sde, heun; {_DIFFUSERS}++", note="the weights are exact: the same numbers as stochastic_adams_2"),
    _row("dpmpp_3m_sde", "DPM++ 3M SDE", DPMpp3MSDE, 2, "Crowson (2023), k-diffusion", f"{_KD}3m_sde",
         claimed=3, note="the second difference enters with half its weight; with noise the whole of it reaches 2, too "
         "(stochastic_adams_3). The third order of diffusers' sde-dpmsolver++ has a sign wrong, and weak order 1"),
    _row("sde_dpm_solver_1", "SDE-DPM-Solver-1", lambda: SDEDPMSolver(1), 1, f"{_SDE}-1", _DIFFUSERS),
    _row("sde_dpm_solver_2m", "SDE-DPM-Solver 2M", SDEDPMSolver, 2, f"{_SDE}-2M", f"{_DIFFUSERS}, midpoint"),
    _row("sde_dpm_solver_2m_heun", "SDE-DPM-Solver 2M Heun", lambda: SDEDPMSolver(2, True), 2, f"{_SDE}-2M",
         f"{_DIFFUSERS}, heun"),
    _row("sde_dpm_solver_pp_2m", "SDE-DPM-Solver++ 2M", DPMpp2MSDE, 2, _2M, f"{_DIFFUSERS}++",
         note="the same solver as dpmpp_2m_sde, under the paper's name"),
    _row("sde_dpm_solver_pp_2m_heun", "SDE-DPM-Solver++ 2M Heun", lambda: DPMpp2MSDE(True), 2, _2M,
         f"{_DIFFUSERS}++, heun", note="the same solver as dpmpp_2m_sde_heun, under the paper's name"),
)  # fmt: skip
