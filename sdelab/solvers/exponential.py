"""Exponential integrators: the linear part exactly, the denoiser D interpolated in lam.

With h = lam_t - lam_s and k = 1 + eta^2 the family of :class:`sdelab.Reverse` has the exact solution

    x_t = (sigma_t/sigma_s) e^{-eta^2 h} x_s + alpha_t int_0^h k e^{-k(h-u)} D(lam_s + u) du
          + sigma_t sqrt(1 - e^{-2 eta^2 h}) z

so a solver is a rule for interpolating D. One node: eta = 0 is DDIM, eta = 1 the DDPM posterior step. Driven by a
Brownian path, the clock is c = e^{2 eta^2 lam}: the last term is sigma_t [W(c_t) - W(c_s)]/sqrt(c_t).
"""

import math
from collections.abc import Sequence

import numpy as np

from .linear import Entry, Linear, Stage, Step, decay, noisy
from .row import Row


def moments(z: float, count: int) -> list[float]:
    """m_n = int_0^1 z e^{-z(1-r)} r^n dr for n < count: m_n = 1 - (n/z) m_{n-1}, or a series for small z."""
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


def weights(h: float, k: float, nodes: Sequence[float]) -> list[float]:
    """Weights w_j with int_0^h k e^{-k(h-u)} D(u) du = sum_j w_j D(u_j), exact for polynomials through ``nodes``.

    nodes: u_j = lam_j - lam_s (0 is the present, negative the past, h the end of the step). h may be infinite with
    one node, whose weight is then 1.
    """
    if len(nodes) == 1:
        return [-math.expm1(-k * h)]
    vandermonde = np.vander(np.asarray(nodes) / h, increasing=True).T
    return np.linalg.solve(vandermonde, moments(k * h, len(nodes))).tolist()


class ExpAdams(Linear):
    """Exponential Adams method of order p in lam, for every eta: predictor through the last p nodes, and, with
    ``corrector=True``, a corrector through the new one as well.

    The corrector reuses the evaluation at the predicted point that the next step needs anyway (PEC mode), so it
    costs no network call. Steps that start at lam = -inf (alpha = 0) use one node, which is exact there.

    Order: p, p + 1 with the corrector (eta = 0). With noise the weak order is the smaller of that and 2: past nodes
    and the path's noise do not go together better, whatever their number. NFE: 1.
    Reference: the family of DPM-Solver++(2M, 3M) (Lu et al. 2022), SA-Solver (Xue et al. 2023) and UniPC (Zhao et al.
    2023), here with exact weights.
    """

    def __init__(self, order: int = 2, corrector: bool = False):
        if order not in (1, 2, 3, 4):
            raise ValueError(f"order must be 1, 2, 3 or 4, not {order!r}")
        self.history, self.corrector = order - 1, corrector
        self.order = order + corrector

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        return weights(h, k, nodes)

    def entry(self, step: Step) -> Entry:
        s, t, h, k = step.s, step.t, step.h, 1 + step.e2
        nodes = [0.0, *(p.lam - s.lam for p in step.past)]
        predict = [t.alpha * w for w in self.weights(h, k, nodes)]
        correct = [t.alpha * w for w in weights(h, k, [h, *nodes])] if self.corrector and not step.last else None
        stage = Stage(s.t, None, decay(s, t, step.e2), predict, **noisy(s, t, step.e2))
        return Entry((stage,), correct)


class ExpEuler(ExpAdams):
    """One node: DDIM at eta = 0, the DDPM posterior step at eta = 1, to rounding.

    Order: 1 (ODE and weak). NFE: 1. Reference: Song, Meng & Ermon (2021), eq. 12; Ho et al. (2020), eq. 6–7.
    """

    def __init__(self):
        super().__init__(order=1)


class DPMpp2M(ExpAdams):
    """DPM-Solver++(2M) with its published midpoint weights: D_s + (h/h_old)(D_s - D_old)/2 held constant over the step.

    Order: 2. NFE: 1. Only eta = 0. Reference: Lu et al. (2022), DPM-Solver++, algorithm 2.
    """

    def __init__(self):
        super().__init__(order=2)

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


_LU, _ZHAO = "Lu et al. (2022), exact weights", "Zhao et al. (2023), exact weights"

ROWS = (
    Row("ddim", "DDIM", "exponential", ExpEuler, 1, 1, "Song, Meng & Ermon (2021), eq. 12"),
    Row("ddpm", "DDPM", "exponential", ExpEuler, 1, 1, "Ho et al. (2020), eq. 6–7", True, 1.0),
    Row("dpmpp_2m", "DPM++ 2M", "exponential", DPMpp2M, 2, 1, "Lu et al. (2022), DPM-Solver++, alg. 2"),
    Row("exp_adams_2", "exponential Adams 2", "exponential", lambda: ExpAdams(2), 2, 1, _LU),
    Row("exp_adams_3", "exponential Adams 3", "exponential", lambda: ExpAdams(3), 3, 1, _LU),
    Row("exp_adams_1c", "exponential Adams 1 + corrector", "exponential", lambda: ExpAdams(1, True), 2, 1, _ZHAO),
    Row("exp_adams_2c", "exponential Adams 2 + corrector", "exponential", lambda: ExpAdams(2, True), 3, 1, _ZHAO),
    Row("exp_adams_3c", "exponential Adams 3 + corrector", "exponential", lambda: ExpAdams(3, True), 4, 1, _ZHAO),
)
