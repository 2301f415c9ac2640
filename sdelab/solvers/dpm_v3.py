"""DPM-Solver-v3: what is interpolated is itself fitted to the model, by three statistics of lam.

With y = x/alpha the probability-flow ODE is dy/dlam = -l y - f, where f = (1 - l) y - D, for every function l(lam). The
method takes the l that makes f least sensitive to x, and then s and b for which f' = s f + b holds best. With
L = int_s l, S = int_s s and B = int_s e^{-S} b, all from lam_s, the solution is exactly

    y_t = e^{-L_t} [ y_s - int e^{L+S} (g + B) dlam ],       g = e^{-S} f - B

in which g hardly changes and is interpolated. l = 1, s = 0 is data prediction, l = 0, s = -1 noise prediction.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from .. import noise
from ..process import Process
from .exponential import through
from .linear import Entry, Linear, Point, Stage, Step, points_at
from .row import Row

Statistics = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""(1 - l, s, b) at an array of values of lam."""


@functools.cache
def quadrature(panels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(r, w, Q) on [0, 1]: Gauss–Legendre nodes and weights, 12 a panel, and (Q f)_i = int_0^{r_i} f by collocation."""
    z, w = np.polynomial.legendre.leggauss(12)
    P, degree = np.polynomial.legendre.legvander(z, 12), np.arange(1, 12)
    integrals = np.column_stack([(1 + z) / 2, (P[:, 2:] - P[:, :-2]) / (2 * (2 * degree + 1))])  # of P_0, P_1, …
    within, before = integrals @ np.linalg.inv(P[:, :-1]), np.tile(w / 2, (12, 1))
    r = (np.arange(panels)[:, None] + (1 + z) / 2).ravel()
    Q = np.kron(np.eye(panels), within) + np.kron(np.tri(panels, k=-1), before)
    return r / panels, np.tile(w / 2, panels) / panels, Q / panels


def gaussian(std: float = 0.5) -> Statistics:
    """The statistics of data N(m, std^2 I), whatever m: l = 1/(1 + std^2 e^{2 lam}), s = -2 (1 - l), b = 0."""
    if not 0 < std < math.inf:
        raise ValueError(f"std must be the positive standard deviation of the data, not {std!r}")

    def at(lam: np.ndarray):
        rest = 1 / (1 + np.exp(-2 * (lam + math.log(std))))
        return rest, -2 * rest, np.zeros_like(rest)

    return at


class Table:
    """Statistics at rising knots of lam, with cubic splines through log(1 - l), s and b, and the end values outside.

    1 - l, positive for every exact denoiser, falls like e^{2 lam} towards noise, and f is what is left of a difference
    with it: only its logarithm can be interpolated well enough.
    """

    def __init__(self, lam, rest, s, b):
        from scipy.interpolate import CubicSpline

        self.lam, self.rest, self.s, self.b = (np.asarray(c, float) for c in (lam, rest, s, b))
        self._spline = CubicSpline(self.lam, np.stack([np.log(np.maximum(self.rest, 1e-12)), self.s, self.b], 1))

    def __call__(self, lam: np.ndarray):
        rest, s, b = self._spline(np.clip(lam, self.lam[0], self.lam[-1])).T
        return np.exp(rest), s, b


def calibrate(
    denoise,
    process: Process,
    x0: Tensor,
    *,
    t_start: float | None = None,
    t_end: float | None = None,
    knots: SupportsIndex = 40,
    s_max: float = 0.0,
    seed: SupportsIndex = 0,
) -> Table:
    """Statistics of a model on a batch x0 (n, ...) of data or samples: three calls, two with a derivative, a knot.

    With f = (1 - l) x/alpha - D the derivative of f in x vanishes on average for l = 1 - alpha E tr(dD/dx)/d, taken by
    Hutchinson's estimator; s and b are the regression of f', along the ODE, on f. Averages run over the batch and the
    coordinates (the paper keeps one value for each coordinate). s is cut at ``s_max``: where f grows, over few and long
    steps, e^{S} would blow up what is taken from the past (the paper does not cut: ``math.inf``). Knots are equally
    spaced in lam; fewer than four raise ``ValueError``.
    """
    if int(knots) < 4:
        raise ValueError(f"knots must be at least 4, not {knots!r}")
    start = process.T if t_start is None else float(t_start)
    if not math.isfinite(float(process.lam(start))):
        start *= 1 - 1e-3
    end = process.t_min if t_end is None else float(t_end)
    low, high = float(process.lam(start)), float(process.lam(end))
    delta = 0.03 * (high - low) / int(knots)
    lam = np.linspace(low + delta, high - delta, int(knots))
    # the same noise at every knot, so that what is estimated is smooth in lam
    eps, v = (noise.normal(x0.shape, seed, j, dtype=x0.dtype, device=x0.device) for j in (0, 1))
    v = v.sign()

    def beside(x: Tensor, D: Tensor, here: Point, there: Point) -> tuple[float, Tensor]:
        """1 - l and f at a lam nearby, where the DDIM step leads."""
        y = there.sigma / here.sigma * x - there.alpha * math.expm1(here.lam - there.lam) * D
        D, moved = torch.func.jvp(lambda x: denoise(x, there.t), (y,), (v,))[:2]
        rest = there.alpha * float((v * moved).double().mean())
        return rest, rest / there.alpha * y.double() - D.double()

    rows = []
    for before, here, after in zip(
        *(points_at(process, (lam + d).tolist()) for d in (-delta, 0.0, delta)), strict=True
    ):
        x = process.perturb(x0, here.t, eps)
        D = denoise(x, here.t)
        (rest, f), (more, g) = (beside(x, D, here, there) for there in (before, after))
        value, slope = (f + g) / 2, (g - f) / (2 * delta)
        spread, mean, rise = float(value.var(correction=0)), float(value.mean()), float(slope.mean())
        s = float(((value - mean) * (slope - rise)).mean()) / spread if spread > 1e-12 * mean**2 else 0.0
        s = min(s, s_max)
        rows.append(((rest + more) / 2, s, rise - s * mean))
    return Table(lam, *np.array(rows).T)


class DPMSolverV3(Linear):
    """DPM-Solver-v3: multistep predictor and corrector through p values of g.

    ``statistics`` comes from :func:`calibrate`; without it, those of a Gaussian of standard deviation 1/2 are taken
    (EDM's sigma_data), with which the method is exact on such data at any number of steps. Integrals are taken by
    Gauss–Legendre quadrature. The corrector reuses the evaluation that the next step needs.

    Order: p. NFE: 1. Only eta = 0. Reference: Zheng et al. (2023), DPM-Solver-v3, eq. 8–12 and algorithms 1, 2; its
    statistics have one value per coordinate, these one for all. Raises ``ValueError`` for an order other than 1, 2, 3.
    """

    ode_only = True

    def __init__(self, order: int = 3, statistics: Statistics | None = None, corrector: bool = True):
        if order not in (1, 2, 3):
            raise ValueError(f"order must be 1, 2 or 3, not {order!r}")
        self.order, self.history, self.corrector = order, order - 1, corrector
        self.statistics = statistics or gaussian()
        self._shifts: list[tuple[float, float]] = []  # of the steps being planned

    def integrals(self, start: float, end: float):
        """From lam = start: the rule (r, w), e^{L+S} and B at its nodes; (S, B) and L at the end."""
        h = end - start
        r, w, Q = quadrature(math.ceil(abs(h)))
        rest, s, b = self.statistics(start + h * r)
        L, S = h * (r - Q @ rest), h * Q @ s
        source = h * np.exp(-S) * b
        return (r, w, np.exp(L + S), Q @ source), (h * float(w @ s), float(w @ source)), h * (1 - float(w @ rest))

    def entry(self, step: Step) -> Entry:
        s, t, h = step.s, step.t, step.h
        (r, w, E, B), new, L = self.integrals(s.lam, t.lam)
        known = [(0.0, 0.0, 0.0)]  # (node as a fraction of h, S, B) of the values at hand
        for p in step.past:
            known.append(((p.lam - s.lam) / h, *self.integrals(s.lam, p.lam)[1]))
        factor = -t.alpha * math.exp(-L) * h

        def rule(nodes) -> tuple[list[float], float]:
            """Weights of the values at the nodes, and what is added whatever they are."""
            weights = through([u for u, _, _ in nodes], [float(w @ (E * r**n)) for n in range(len(nodes))])
            rest = float(w @ (E * B)) - sum(a * b for a, (_, _, b) in zip(weights, nodes, strict=True))
            return [factor * a * math.exp(-S) for a, (_, S, _) in zip(weights, nodes, strict=True)], factor * rest

        weights, shift = rule(known)
        value = float(self.statistics(np.array([s.lam]))[0][0]) / s.alpha, -1.0
        stage = Stage(s.t, value, t.alpha / s.alpha * math.exp(-L), weights)
        correct = None
        if self.corrector and not step.last and self.order > 1:
            correct = rule([(1.0, *new), *known[: self.order - 1]])
        self._shifts.append((shift, correct[1] - shift if correct else 0.0))
        return Entry((stage,), correct and correct[0])

    def plan(self, equation, times):
        self._shifts.clear()
        out, late = [], 0.0  # late: what the last step's corrector adds to the constant part of its state
        shifts = iter(self._shifts)
        for entry in super().plan(equation, times):
            shift, correction = next(shifts) if entry.remember else (0.0, 0.0)
            out.append((entry, shift + entry.stages[0].keep * late))
            late = correction
        return out

    def step(self, equation, x: Tensor, entry: Any, memory, draw) -> Tensor:
        linear, shift = entry
        y = super().step(equation, x, linear, memory, draw)
        return y.add_(shift) if shift else y


_PAPER = "Zheng et al. (2023), DPM-Solver-v3, alg. 1–2"
_NOTE = "with the statistics of a Gaussian; sd.solvers.calibrate measures those of a model"
_STEPS = {"steps": (240, 480, 960)}  # cheaper than the usual ones, and far enough down the slope

ROWS = (
    Row("dpm_solver_v3", "DPM-Solver-v3", "multistep", DPMSolverV3, 3, 1, _PAPER, note=_NOTE, measure=_STEPS),
    Row("dpm_solver_v3_2", "DPM-Solver-v3, order 2", "multistep", lambda: DPMSolverV3(2), 2, 1, _PAPER, note=_NOTE,
        measure=_STEPS),
)  # fmt: skip
