"""Exponential integrators: the linear part exactly, the denoiser D interpolated in lam.

With h = lam_t - lam_s and k = 1 + eta^2 the family of :class:`sdelab.Reverse` has the exact solution

    x_t = (sigma_t/sigma_s) e^{-eta^2 h} x_s + alpha_t int_0^h k e^{-k(h-u)} D(lam_s + u) du
          + sigma_t sqrt(1 - e^{-2 eta^2 h}) z

so a solver is a rule for interpolating D. One node: eta = 0 is DDIM, eta = 1 the DDPM posterior step. Driven by a
Brownian path, the clock is c = e^{2 eta^2 lam}: the last term is sigma_t [W(c_t) - W(c_s)]/sqrt(c_t).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..reverse import Reverse


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


def _clock(e2: float, lam: float) -> float:
    """Brownian time e^{2 eta^2 lam} of the exponential solvers (capped where float64 would overflow)."""
    return math.exp(min(2 * e2 * lam, 700.0)) if e2 else 0.0


class Entry(NamedTuple):
    """One step from s to t: x_t = keep x_s + sum_j predict_j D_j + std z, z driven by W on ``clock``."""

    s: float
    keep: float
    predict: list[float]
    correct: list[float] | None
    std: float
    clock: tuple[float, float]


class ExpAdams:
    """Exponential Adams method of order p in lam, for every eta: predictor through the last p nodes, and, with
    ``corrector=True``, a corrector through the new one as well.

    The corrector reuses the evaluation at the predicted point that the next step needs anyway (PEC mode), so it
    costs no network call. Steps that start at lam = -inf (alpha = 0) use one node, which is exact there.

    Order: p, p + 1 with the corrector (eta = 0). With noise the weak order is the smaller of that and 2: past nodes
    and the path's noise do not go together better, whatever their number. NFE: 1.
    Reference: the family of DPM-Solver++(2M, 3M) (Lu et al. 2022), SA-Solver (Xue et al. 2023) and UniPC (Zhao et al.
    2023), here with exact weights.
    """

    ode_only = in_time = False
    nfe = 1

    def __init__(self, order: int = 2, corrector: bool = False):
        if order not in (1, 2, 3, 4):
            raise ValueError(f"order must be 1, 2, 3 or 4, not {order!r}")
        self.points, self.corrector = order, corrector
        self.order = order + corrector

    def start(self):
        return {"past": [], "base": None, "correct": None}

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        return weights(h, k, nodes)

    def plan(self, equation, times) -> list[Entry]:
        if not isinstance(equation, Reverse):
            raise ValueError(f"{type(self).__name__} needs a Reverse equation (denoiser and process), not any SDE")
        process, e2 = equation.process, equation.eta**2
        ts = torch.tensor(times, dtype=torch.float64)
        alpha, sigma, lam = (f(ts).tolist() for f in (process.alpha, process.sigma, process.lam))
        entries = []
        for n, s in enumerate(times[:-1]):
            h = lam[n + 1] - lam[n]
            past = [lam[j] - lam[n] for j in range(n, max(n - self.points, -1), -1) if math.isfinite(lam[j])]
            nodes = past if math.isfinite(h) else [0.0]
            predict = [alpha[n + 1] * w for w in self.weights(h, 1 + e2, nodes)]
            correct = None
            if self.corrector and math.isfinite(h) and n + 2 < len(times):
                correct = [alpha[n + 1] * w for w in weights(h, 1 + e2, [h, *nodes])]
            entries.append(Entry(
                s=s,
                keep=sigma[n + 1] / sigma[n] * math.exp(-e2 * h) if e2 else sigma[n + 1] / sigma[n],
                predict=predict,
                correct=correct,
                std=sigma[n + 1] * math.sqrt(-math.expm1(-2 * e2 * h)) if e2 else 0.0,
                clock=(_clock(e2, lam[n]), _clock(e2, lam[n + 1])),
            ))  # fmt: skip
        return entries

    def step(self, equation, x: Tensor, entry: Entry, memory, draw) -> Tensor:
        past = memory["past"]
        past.insert(0, equation.denoise(x, entry.s))
        if memory["correct"]:
            x = _combine(memory["base"], memory["correct"], past)
        del past[self.points :]
        x = x * entry.keep
        if entry.std:
            z, scale = draw(*entry.clock, x, entry.std)
            x = x.add_(z, alpha=scale)
        if self.corrector:  # what the corrector will start from: it needs one node more than the predictor
            memory["base"], memory["correct"] = x, entry.correct
            return _combine(x, entry.predict, past)
        return _combine(x, entry.predict, past, out=x)


def _combine(base: Tensor, ws: Sequence[float], Ds: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """base + sum_j w_j D_j; in place where the caller owns ``out``."""
    total = base.add(Ds[0], alpha=ws[0]) if out is None else out.add_(Ds[0], alpha=ws[0])
    for w, D in zip(ws[1:], Ds[1 : len(ws)], strict=True):
        total.add_(D, alpha=w)
    return total


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

    def plan(self, equation, times):
        if equation.stochastic:
            raise ValueError("DPM++ 2M solves the ODE (eta = 0); ExpAdams(2) is the same family for every eta")
        return super().plan(equation, times)

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        mass = -math.expm1(-k * h)
        if len(nodes) == 1:
            return [mass]
        ratio = 0.5 * h / -nodes[1]
        return [mass * (1 + ratio), -mass * ratio]
