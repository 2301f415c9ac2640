"""AMED: one inner node per step, whose place and weight are learned for the model at hand."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .. import _checks
from ..process import Process
from ..reverse import Reverse
from .linear import Entry, Linear, Point, Step, points, points_at
from .row import Row
from .sigma import DPM2, slopes


class AMED(Linear):
    """Approximate mean direction: the slope at one inner node, scaled, stands for its mean over the step.

    y_m = y_s + (r_m - r_s) eps_s,   y_t = y_s + c (r_t - r_s) eps(y_m, r_m),   r_m = r_s^{1-q} r_t^q,  r = sigma/alpha

    ``nodes`` and ``scales`` hold q and c of every step; :func:`fit_amed` learns them. Without them q = 1/2 and c = 1,
    which is DPM2. In the paper a small network gives q and c of each sample from features inside the model; here they
    are numbers of the step alone, so any denoiser will do. ``ValueError`` if a run has not as many steps as they have.

    Order: 2 without learning. NFE: 2. Reference: Zhou et al. (2024), AMED-Solver.
    """

    order, nfe, ode_only = 2, 2, True

    def __init__(self, nodes: Sequence[float] | None = None, scales: Sequence[float] | None = None):
        if (nodes is None) != (scales is None) or len(nodes or ()) != len(scales or ()):
            raise ValueError("give a node and a scale for every step, or neither")
        if any(not 0 < q < 1 for q in nodes or ()):
            raise ValueError(f"nodes are fractions of the steps in lam, inside (0, 1), not {nodes}")
        self.q, self.c = nodes, scales

    def inner(self, process: Process, knots: Sequence[Point]) -> list[list[Point]]:
        steps = len(knots) - 1
        if self.q is not None and len(self.q) != steps:
            raise ValueError(f"this AMED has learned {len(self.q)} steps, and the run has {steps} before denoising")
        finite = [n for n in range(steps) if knots[n].alpha]
        lams = [knots[n].lam + (self.q[n] if self.q else 0.5) * (knots[n + 1].lam - knots[n].lam) for n in finite]
        rows: list[list[Point]] = [[] for _ in range(steps)]
        for n, point in zip(finite, points_at(process, lams), strict=True):
            rows[n] = [point]
        return rows

    def entry(self, step: Step) -> Entry:
        s, t, (m,) = step.s, step.t, step.inner
        c = self.c[step.n] if self.c else 1.0
        return Entry(slopes([s, m], t, [[m.ratio - s.ratio], [0.0, c * (t.ratio - s.ratio)]]), remember=False)


def fit_amed(equation: Reverse, x: Tensor, times, fine: int = 16, trials: int = 24) -> AMED:
    """Learn an :class:`AMED` for these times on a calibration batch x (n, ...) of states at times[0].

    The teacher is DPM2 with ``fine`` steps in the place of one. Step after step, from where the student stands, q is
    found by golden-section search around the best of a few, and for each q the best c by least squares against the
    teacher's state; ``trials`` network calls a step. A last time of 0 is the denoising step and is left out.
    """
    if equation.stochastic:
        raise ValueError("AMED solves the ODE: use eta=0")
    _checks.state(x)
    ts = torch.as_tensor(times, dtype=torch.float64).tolist()
    knots = points(equation.process, ts if float(equation.process.var(ts[-1])) else ts[:-1])
    if len(knots) < 2 or not all(s.alpha and s.t > t.t for s, t in pairwise(knots)):
        raise ValueError("times must decrease, two of them before 0 at least, and start where alpha > 0")
    teacher, student = x, x
    nodes, scales = [], []
    for s, t in pairwise(knots):
        lams = torch.linspace(s.lam, t.lam, fine + 1, dtype=torch.float64)[1:-1].tolist()
        teacher = _run(equation, DPM2(), teacher, [s.t, *(p.t for p in points_at(equation.process, lams)), t.t])
        q, c = _best(equation, student, teacher, s, t, trials)
        student = _run(equation, AMED([q], [c]), student, [s.t, t.t])
        nodes.append(q)
        scales.append(c)
    return AMED(nodes, scales)


def _run(equation: Reverse, solver: Linear, x: Tensor, times: Sequence[float]) -> Tensor:
    memory = solver.start() | {"keep_states": True}
    for entry in solver.plan(equation, times):
        x = solver.step(equation, x, entry, memory, None)
    return x


def _best(equation: Reverse, x: Tensor, target: Tensor, s: Point, t: Point, trials: int) -> tuple[float, float]:
    """The (q, c) whose step from x comes closest to ``target``."""
    y, goal = x / s.alpha, target / t.alpha
    eps, change, dr = equation.eps(x, s.t), goal - y, t.ratio - s.ratio

    def fit(q: float) -> tuple[float, float]:
        (m,) = points_at(equation.process, [s.lam + q * (t.lam - s.lam)])
        slope = dr * equation.eps(m.alpha * (y + (m.ratio - s.ratio) * eps), m.t)
        c = float((change * slope).sum() / slope.square().sum())
        return float((change - c * slope).square().sum()), c

    grid = torch.linspace(0.0, 1.0, max(5, trials // 3) + 2, dtype=torch.float64).tolist()
    errors = [math.inf, *(fit(q)[0] for q in grid[1:-1]), math.inf]
    n = errors.index(min(errors))
    low, high, golden = grid[n - 1], grid[n + 1], (math.sqrt(5) - 1) / 2
    a, b = high - golden * (high - low), low + golden * (high - low)
    fa, fb = fit(a)[0], fit(b)[0]
    for _ in range(trials - len(grid) - 1):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - golden * (high - low)
            fa = fit(a)[0]
        else:
            low, a, fa = a, b, fb
            b = low + golden * (high - low)
            fb = fit(b)[0]
    q = a if fa < fb else b
    return q, fit(q)[1]


ROWS = (
    Row("amed", "AMED (unlearned)", "sigma", AMED, 2, 2, "Zhou et al. (2024), AMED-Solver",
        oracle="k-diffusion sample_dpm_2",
        note="DPM2 until fit_amed has learned a node and a scale for every step."),
)  # fmt: skip
