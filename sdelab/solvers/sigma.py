"""Solvers in EDM's noise level r = sigma/alpha: with y = x/alpha the probability-flow ODE is dy/dr = eps.

    eps(x, t) = (x - alpha D)/sigma        y_t = y_s + int_{r_s}^{r_t} eps dr

so every Runge–Kutta tableau serves every process with alpha > 0, and on EDM's own clock (alpha = 1, sigma = t) these
are its samplers. Euler in r is DDIM. A step that starts where alpha = 0 is DDIM's, as in every linear solver.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from ..process import Process
from .linear import Entry, Linear, Point, Stage, Step, fold, one_node, points, points_at
from .row import Row
from .runge_kutta import Euler, Heun, RungeKutta


def slopes(nodes: Sequence[Point], t: Point, rows: Sequence[Sequence[float]]) -> tuple[Stage, ...]:
    """Stages of y_{i+1} = y_s + sum_j rows[i][j] eps_j, eps_j taken at the j-th node, the last y at t; s = nodes[0]."""
    alpha_s = nodes[0].alpha
    return fold([
        Stage(p.t, (1 / p.sigma, -p.alpha / p.sigma), q.alpha / alpha_s, [q.alpha * w for w in reversed(row)])
        for p, q, row in zip(nodes, [*nodes[1:], t], rows, strict=True)
    ])  # fmt: skip


class SigmaRK(Linear):
    """An explicit Runge–Kutta tableau in r = sigma/alpha: y_t = y_s + (r_t - r_s) sum_i b_i eps(y_i, r_i), at eta = 0.

    ``tableau`` is a class of :mod:`sdelab.solvers.runge_kutta` or an object with its A, b and order; Heun makes EDM's
    deterministic sampler, Euler its first-order one. Raises ``ValueError`` on an equation with noise.

    Order: the tableau's. NFE: its stages. Reference: Karras et al. (2022), alg. 1 with s(t) = 1, sigma(t) = t.
    """

    ode_only = True

    def __init__(self, tableau: type[RungeKutta] | RungeKutta = Heun):
        self.b = tableau.b
        self.nfe = max(i for i, weight in enumerate(self.b, 1) if weight)
        self.A = tuple(tableau.A[: self.nfe])
        self.order = tableau.order

    def inner(self, process: Process, knots: Sequence[Point]) -> list[list[Point]]:
        rows: list[list[Point]] = [[] for _ in knots[1:]]
        finite = [(row, s, t) for row, (s, t) in zip(rows, pairwise(knots), strict=True) if s.alpha]
        for c in (sum(a) for a in self.A[1:]):
            if c == 1:
                at = [t for _, _, t in finite]
            else:
                at = points_at(process, [-math.log(s.ratio + c * (t.ratio - s.ratio)) for _, s, t in finite])
            for (row, _, _), point in zip(finite, at, strict=True):
                row.append(point)
        return rows

    def entry(self, step: Step) -> Entry:
        dr = step.t.ratio - step.s.ratio
        rows = [[dr * a for a in row] for row in (*self.A[1:], self.b[: self.nfe])]
        return Entry(slopes([step.s, *step.inner], step.t, rows), remember=False)


class TwoStage(SigmaRK):
    """EDM's family of second-order methods: one inner node at the fraction a of the step in r.

    y' = y_s + a dr eps_s,      y_t = y_s + dr [(1 - 1/(2a)) eps_s + 1/(2a) eps(y', r_s + a dr)]

    a = 1 is Heun, 2/3 Ralston's method, 1/2 the midpoint rule. Raises ``ValueError`` unless 0 < a <= 1.

    Order: 2. NFE: 2. Reference: Karras et al. (2022), alg. 3 (appendix D.2), their alpha.
    """

    def __init__(self, a: float = 2 / 3):
        if not 0 < a <= 1:
            raise ValueError(f"the inner node lies inside the step: 0 < a <= 1, not {a}")
        self.A, self.b = ((), (float(a),)), (1 - 0.5 / a, 0.5 / a)
        self.order = self.nfe = 2


class DPM2(Linear):
    """The midpoint rule in r whose inner node is the geometric mean: r_m = sqrt(r_s r_t), the middle in lam.

    y_m = y_s + (r_m - r_s) eps_s,      y_t = y_s + (r_t - r_s) eps(y_m, r_m)

    It is of second order because r_m differs from the arithmetic mean by O(h^2) only. Raises ``ValueError`` on an
    equation with noise.

    Order: 2. NFE: 2. Reference: Karras et al. (2022), alg. 2 and Lu et al. (2022), DPM-Solver, alg. 1, as joined in
    k-diffusion ("DPM2").
    """

    order, nfe, nodes, ode_only = 2, 2, (0.5,), True

    def entry(self, step: Step) -> Entry:
        s, t, (m,) = step.s, step.t, step.inner
        rows = [[m.ratio - s.ratio], [0.0, t.ratio - s.ratio]]
        return Entry(slopes([s, m], t, rows), remember=False)


class HeunPP2(Linear):
    """Heun++: Euler looks two knots ahead, and the step takes a mean of the three slopes weighted by noise level.

    y_t = y_s + (r_t - r_s) [(1 - w_t - w_u) eps_s + w_t eps_t + w_u eps_u],   w_i = r_i/(3 r_0)

    with t, u the next two knots and r_0 the first of the run (where alpha > 0); at the last step there is no u, and
    w_t = r_t/(2 r_0). Published code ends at sigma = 0, so its last but one step is our last before denoising. The
    weights are not those of any quadrature rule: they fade to Euler's as r falls. Raises ``ValueError`` on an
    equation with noise.

    Order: 1. NFE: 3, one less at the last step. Reference: the samplers "Heun++ 2" of sd-webui and ComfyUI (2023).
    """

    order, nfe, ode_only = 1, 3, True

    def calls(self, steps: int) -> int:
        return 3 * steps - 1

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        knots = points(equation.process, times)
        r0 = next((p.ratio for p in knots if p.alpha), 1.0)
        entries = []
        for n, (s, t) in enumerate(pairwise(knots)):
            if not s.alpha:
                entries.append(Entry((one_node(s, t, 0.0),), remember=False))
                continue
            nodes = knots[n : n + 3]
            dr = [q.ratio - p.ratio for p, q in pairwise(nodes)]
            w = [p.ratio / (len(nodes) * r0) for p in nodes[1:]]
            rows = [dr[:i] for i in range(1, len(nodes))] + [[dr[0] * v for v in (1 - sum(w), *w)]]
            entries.append(Entry(slopes(nodes, t, rows), remember=False))
        return entries


_EDM = "Karras et al. (2022), alg. "

ROWS = (
    Row("edm_euler", "Euler (in sigma)", "sigma", lambda: SigmaRK(Euler), 1, 1, _EDM + "1 without lines 6–8",
        oracle="k-diffusion sample_euler; diffusers EulerDiscreteScheduler",
        note="k-diffusion's Euler; the same method as DDIM."),
    Row("edm_heun", "Heun (in sigma)", "sigma", SigmaRK, 2, 2, _EDM + "1",
        oracle="k-diffusion sample_heun; diffusers HeunDiscreteScheduler"),
    Row("edm_ralston", "EDM two-stage, alpha = 2/3", "sigma", TwoStage, 2, 2, _EDM + "3"),
    Row("edm_midpoint", "EDM two-stage, alpha = 1/2", "sigma", lambda: TwoStage(0.5), 2, 2, _EDM + "3",
        oracle="torchdiffeq midpoint", measure={"processes": ()},
        note="On Gaussian data its h^3 terms cancel and it measures 3; on others it is 2."),
    Row("dpm_2", "DPM2", "sigma", DPM2, 2, 2, _EDM + "2, Lu et al. (2022), DPM-Solver, alg. 1",
        oracle="k-diffusion sample_dpm_2; diffusers KDPM2DiscreteScheduler"),
    Row("heunpp2", "Heun++ 2", "sigma", HeunPP2, 1, 3, "sd-webui samplers scheduler (2023)", claimed=2,
        oracle="own loop", note="Its weights, proportional to the noise level, satisfy no order condition beyond the "
        "first."),
)  # fmt: skip
