"""Exponential integrators: the linear part exactly, the denoiser D interpolated in lam.

With h = lam_t - lam_s and k = 1 + eta^2 the family of :class:`sdelab.Reverse` has the exact solution

    x_t = (sigma_t/sigma_s) e^{-eta^2 h} x_s + alpha_t int_0^h k e^{-k(h-u)} D(lam_s + u) du
          + sigma_t sqrt(1 - e^{-2 eta^2 h}) z

so a solver is a rule for interpolating D. One node: eta = 0 is DDIM, eta = 1 the DDPM posterior step. Driven by a
Brownian path, the clock is c = e^{2 eta^2 lam}: the last term is sigma_t [W(c_t) - W(c_s)]/sqrt(c_t).

For the ODE the noise eps = (x - alpha D)/sigma may be interpolated instead, and then k = -1 plays the same part:

    x_t = (alpha_t/alpha_s) x_s + sigma_t int_0^h k e^{-k(h-u)} eps(lam_s + u) du
"""

import math
from collections.abc import Iterable, Sequence

from .linear import Entry, Linear, Point, Stage, Step, decay, noisy
from .row import Row


def moments(z: float, count: int) -> list[float]:
    """m_n = int_0^1 z e^{-z(1-r)} r^n dr for n < count: m_n = 1 - (n/z) m_{n-1}, or a series if z < 1."""
    if z > 1:
        m = [-math.expm1(-z)]
        for n in range(1, count):
            m.append(1 - n / z * m[-1])
        return m
    m = []
    for n in range(count):  # z sum_j (-z)^j n!/(n+j+1)!
        term = total = z / (n + 1)
        j = 1
        while abs(term) > 1e-18 * abs(total):
            term *= -z / (n + j + 1)
            total += term
            j += 1
        m.append(total)
    return m


def through(nodes: Iterable[float], moments: Iterable[float]) -> list[float]:
    """Weights of a rule through ``nodes`` that takes r^n to the n-th moment: sum_j w_j r_j^n = m_n.

    A Vandermonde system, solved by the algorithm of Björck & Pereyra (1970), to which its bad condition does no harm.
    """
    r, w = list(nodes), list(moments)
    n = len(r)
    for k in range(n - 1):
        for i in range(n - 1, k, -1):
            w[i] -= r[k] * w[i - 1]
    for k in range(n - 2, -1, -1):
        for i in range(k + 1, n):
            w[i] /= r[i] - r[i - k - 1]
        for i in range(k, n - 1):
            w[i] -= w[i + 1]
    return w


def weights(h: float, k: float, nodes: Sequence[float]) -> list[float]:
    """Weights w_j with int_0^h k e^{-k(h-u)} D(u) du = sum_j w_j D(u_j), exact for polynomials through ``nodes``.

    nodes: u_j = lam_j - lam_s (0 is the present, negative the past, h the end of the step). h may be infinite with
    one node, whose weight is then 1.
    """
    if len(nodes) == 1:
        return [-math.expm1(-k * h)]
    return through([u / h for u in nodes], moments(k * h, len(nodes)))


def eps_at(p: Point) -> tuple[float, float]:
    """(p, q) of eps = p x + q D."""
    return 1 / p.sigma, -p.alpha / p.sigma


class ExpAdams(Linear):
    """Exponential Adams method of order p in lam, for every eta: predictor through the last p nodes, and, with
    ``corrector=True``, a corrector through the new one as well.

    The corrector reuses the evaluation at the predicted point that the next step needs anyway (PEC mode), so it
    costs no network call. Steps that start at lam = -inf (alpha = 0) use one node, which is exact there.
    With ``noise=True`` eps is interpolated instead of D (eta = 0 only).

    Order: p, p + 1 with the corrector (eta = 0). With noise the weak order is the smaller of that and 2: past nodes
    and the path's noise do not go together better, whatever their number. NFE: 1.
    Reference: the family of DPM-Solver++(2M, 3M) (Lu et al. 2022), SA-Solver (Xue et al. 2023) and UniPC (Zhao et al.
    2023), here with exact weights. An unknown order raises ``ValueError``.
    """

    def __init__(self, order: int = 2, corrector: bool = False, noise: bool = False):
        if order not in (1, 2, 3, 4):
            raise ValueError(f"order must be 1, 2, 3 or 4, not {order!r}")
        self.history, self.corrector, self.noise = order - 1, corrector, noise
        self.order, self.ode_only = order + corrector, noise or type(self).ode_only

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        """Weights of the predictor, of int_0^h k e^{-k(h-u)} (...) du."""
        return weights(h, k, nodes)

    def correction(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        """Weights of the corrector, whose first node is h."""
        return weights(h, k, nodes)

    def predict(self, step: Step, k: float) -> list[float]:
        return self.weights(step.h, k, [0.0, *(p.lam - step.s.lam for p in step.past)])

    def entry(self, step: Step) -> Entry:
        s, t, h = step.s, step.t, step.h
        if self.noise:
            k, scale, keep, value = -1.0, t.sigma, t.alpha / s.alpha, eps_at(s)
        else:
            k, scale, keep, value = 1 + step.e2, t.alpha, decay(s, t, step.e2), None
        predict = [scale * w for w in self.predict(step, k)]
        stage = Stage(s.t, value, keep, predict, **noisy(s, t, step.e2))
        if not self.corrector or step.last:
            return Entry((stage,))
        correct = self.correction(h, k, [h, 0.0, *(p.lam - s.lam for p in step.past)])
        return Entry((stage,), [scale * w for w in correct])


class ExpEuler(ExpAdams):
    """One node: DDIM at eta = 0, the DDPM posterior step at eta = 1, to rounding.

    Order: 1 (ODE and weak). NFE: 1. Reference: Song, Meng & Ermon (2021), eq. 12; Ho et al. (2020), eq. 6–7.
    """

    def __init__(self):
        super().__init__(order=1)


class DPMpp2M(ExpAdams):
    """DPM-Solver++(2M) with its published midpoint weights: D_s + (h/h_old)(D_s - D_old)/2 held constant over the step.

    In terms of moments: m_1 = int k e^{-k(h-u)} (u/h) du is replaced by m_0/2. With ``noise=True`` eps takes the place
    of D, which is DPM-Solver-2 as a multistep method.

    Order: 2. NFE: 1. Only eta = 0. Reference: Lu et al. (2022), DPM-Solver++, algorithm 2.
    """

    def __init__(self, noise: bool = False):
        super().__init__(order=2, noise=noise)

    def check(self, equation) -> None:
        super().check(equation)
        if equation.stochastic:
            raise ValueError("DPM++ 2M solves the ODE (eta = 0); ExpAdams(2) is the same family for every eta")

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        mass = -math.expm1(-k * h)
        if len(nodes) == 1:
            return [mass]
        ratio = 0.5 * h / -nodes[1]
        return [mass * (1 + ratio), -mass * ratio]


class DPMpp3M(ExpAdams):
    """DPM-Solver++(3M) as public codes have it: of order 2.

    With D(lam_s + u) = D + (u/h) D1 + (u/h)^2 D2 the exact weight of D2 is m_2 = int k e^{-k(h-u)} (u/h)^2 du. The
    finite difference D2 stands for h^2 D''/2, but is multiplied by the weight of h^2 D'', m_2/2: half the term is lost,
    an error of h^3 per step. ``ExpAdams(3)`` is the same rule with the whole m_2, of order 3. The first steps take one
    node and then the midpoint rule of 2M. With ``noise=True`` eps takes the place of D (DPM-Solver-3, multistep), and
    the slip is the same.

    Order: 2 (claimed: 3). NFE: 1. Only eta = 0. Reference: Lu et al. (2022), DPM-Solver++, by their code.
    """

    ode_only = True

    def __init__(self, noise: bool = False):
        super().__init__(order=3, noise=noise)
        self.order = 2

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        m = moments(k * h, len(nodes))
        published = [m, m, [m[0], m[0] / 2], [*m[:2], m[-1] / 2]][len(nodes)]
        return through([u / h for u in nodes], published)


_LU, _ZHAO = "Lu et al. (2022), exact weights", "Zhao et al. (2023), exact weights"
_HALF = "the finite difference D2 is h^2 D''/2 but is weighted as h^2 D''; exp_adams_3 is the rule without the slip"
_SAME, _LINE = "exact weights: the same numbers as", "diffusers DPMSolverMultistep, heun"
_COARSE = {"steps": (60, 120, 240)}  # before the errors of the first, lower-order steps show

ROWS = (
    Row("ddim", "DDIM", "exponential", ExpEuler, 1, 1, "Song, Meng & Ermon (2021), eq. 12",
        oracle="diffusers DDIMScheduler"),
    Row("ddpm", "DDPM", "exponential", ExpEuler, 1, 1, "Ho et al. (2020), eq. 6–7", True, 1.0,
        oracle="diffusers DDPMScheduler, fixed_small; k-diffusion sample_euler_ancestral"),
    Row("dpmpp_2m", "DPM++ 2M", "exponential", DPMpp2M, 2, 1, "Lu et al. (2022), DPM-Solver++, alg. 2",
        oracle="diffusers DPMSolverMultistep, k-diffusion sample_dpmpp_2m"),
    Row("dpmpp_3m", "DPM++ 3M", "exponential", DPMpp3M, 2, 1, "Lu et al. (2022), DPM-Solver++, their code", claimed=3,
        oracle="diffusers DPMSolverMultistep", note=_HALF),
    Row("dpm_solver_2m", "DPM-Solver 2M (noise prediction)", "exponential", lambda: DPMpp2M(True), 2, 1,
        "Lu et al. (2022), DPM-Solver, multistep", oracle="diffusers DPMSolverMultistep, algorithm_type dpmsolver"),
    Row("dpm_solver_3m", "DPM-Solver 3M (noise prediction)", "exponential", lambda: DPMpp3M(True), 2, 1,
        "Lu et al. (2022), DPM-Solver, multistep", claimed=3,
        oracle="diffusers DPMSolverMultistep, algorithm_type dpmsolver", note=_HALF.replace("exp_adams_3", "deis_3")),
    Row("exp_adams_2", "exponential Adams 2", "exponential", lambda: ExpAdams(2), 2, 1, _LU, oracle=_LINE),
    Row("exp_adams_3", "exponential Adams 3", "exponential", lambda: ExpAdams(3), 3, 1, _LU),
    Row("exp_adams_1c", "exponential Adams 1 + corrector", "exponential", lambda: ExpAdams(1, True), 2, 1, _ZHAO),
    Row("exp_adams_2c", "exponential Adams 2 + corrector", "exponential", lambda: ExpAdams(2, True), 3, 1, _ZHAO),
    Row("exp_adams_3c", "exponential Adams 3 + corrector", "exponential", lambda: ExpAdams(3, True), 4, 1, _ZHAO),
    Row("dpmpp_3m_corrected", "DPM++ 3M, corrected", "multistep", lambda: ExpAdams(3), 3, 1, _LU,
        note=f"{_SAME} exp_adams_3; dpmpp_3m is the rule of public codes, of order 2"),
    Row("res_multistep", "RES multistep", "multistep", ExpAdams, 2, 1, "Zhang, Song & Chen (2023), RES, multistep",
        oracle=_LINE, note=f"{_SAME} exp_adams_2"),
    Row("abnorsett_2m", "Adams–Bashforth–Nørsett 2", "multistep", ExpAdams, 2, 1, "Nørsett (1969)",
        oracle=_LINE, note=f"{_SAME} exp_adams_2"),
    Row("abnorsett_3m", "Adams–Bashforth–Nørsett 3", "multistep", lambda: ExpAdams(3), 3, 1, "Nørsett (1969)",
        note=f"{_SAME} exp_adams_3"),
    Row("abnorsett_4m", "Adams–Bashforth–Nørsett 4", "multistep", lambda: ExpAdams(4), 4, 1, "Nørsett (1969)",
        measure=_COARSE),
)  # fmt: skip
