"""UniPC: a corrector that costs nothing, for one family of predictors and for any exponential solver."""

import math
from collections.abc import Sequence

from .exponential import DPMpp2M, ExpAdams, moments, through, weights
from .linear import Entry, Linear, Step, decay
from .row import Row


class UniPC(ExpAdams):
    """Predictor of order p and corrector (UniP-p and UniC-p) with the published function B(h), bh1 or bh2.

    The equations for the weights are those of the exact ones, and B(h) cancels in them, except where a single
    difference is left: there they are replaced by 1/2, so the weight of (D_j - D_s)/r_j is B/2 instead of m_1, with
    B = kh (bh1) or B = 1 - e^{-kh} = m_0 (bh2). This concerns UniP-2 and UniC-1 only; UniPC with varying coefficients
    solves these as well, and is :class:`ExpAdams` with its corrector. With ``noise=True`` eps takes the place of D.

    Order: p + 1. NFE: 1. Only eta = 0. Reference: Zhao et al. (2023), UniPC, algorithms 1, 2 and appendix F.
    Raises ``ValueError`` for an order other than 1, 2, 3, 4.
    """

    ode_only = True

    def __init__(self, order: int = 2, bh2: bool = True, noise: bool = False):
        super().__init__(order, corrector=True, noise=noise)
        self.bh2 = bh2

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        if len(nodes) != 2:
            return weights(h, k, nodes)
        m = moments(k * h, 1)
        return through([u / h for u in nodes], [*m, (m[0] if self.bh2 else k * h) / 2])

    correction = weights


class UniC(Linear):
    """UniC on any exponential solver: its step, then a corrector through D at the new point, here and before, when the
    next step evaluates there.

    The exact weights of order p + 1 replace the solver's own combination of D; its linear part and its noise stay.
    While a single-step solver has too little past for that order, its steps are left as they are.

    Order: p + 1 for solvers of order p (at eta = 0). NFE: the solver's. Reference: Zhao et al. (2023), UniPC, section
    3.2. A solver in t raises ``TypeError``; one that keeps other values than D, or has a corrector already,
    ``ValueError``.
    """

    def __init__(self, solver: Linear):
        if not isinstance(solver, Linear) or type(solver).entry is Linear.entry:
            raise TypeError(f"UniC corrects exponential solvers such as sd.ExpAdams(2), not {solver!r}")
        self.solver, self.nfe, self.nodes = solver, solver.nfe, solver.nodes
        self.order, self.history = solver.order + 1, max(solver.history, math.ceil(solver.order) - 1)
        self.ode_only, self.in_time = solver.ode_only, solver.in_time

    def check(self, equation) -> None:
        self.solver.check(equation)

    def inner(self, process, knots):
        return self.solver.inner(process, knots)

    def entry(self, step: Step) -> Entry:
        s, t, h, k = step.s, step.t, step.h, 1 + step.e2
        entry = self.solver.entry(step._replace(past=step.past[: self.solver.history]))
        name = type(self.solver).__name__
        first, last = entry.stages[0], entry.stages[-1]
        linear = math.isclose(last.keep, decay(s, t, step.e2), rel_tol=1e-9)
        if entry.correct or first.t != s.t or first.value is not None or not linear:
            raise ValueError(f"UniC needs a solver that interpolates D and has no corrector of its own, not {name}")
        nodes = [h, 0.0, *(p.lam - s.lam for p in step.past)]
        enough = len(nodes) > self.order - 1 or len(entry.stages) == 1
        correct = [t.alpha * w for w in weights(h, k, nodes)] if enough and not step.last else None
        return Entry(entry.stages, correct)


_PAPER, _TWIN = "Zhao et al. (2023), UniPC", "diffusers UniPCMultistep"


def _row(key, name, make, order, where="alg. 1–2", **fields) -> Row:
    fine = {"steps": (240, 480, 960)} | fields.pop(
        "measure", {}
    )  # cheaper than the usual ones, and far enough down the slope
    return Row(key, name, "exponential", make, order, 1, f"{_PAPER}, {where}", measure=fine, **fields)


ROWS = (
    _row("unipc", "UniPC (order 2, bh2)", UniPC, 3, oracle=_TWIN),
    *(_row(f"unipc_{p}_{'bh2' if bh2 else 'bh1'}", f"UniPC-{p} ({'bh2' if bh2 else 'bh1'})",
           lambda p=p, bh2=bh2: UniPC(p, bh2), p + 1, oracle=_TWIN)
      for p, bh2 in ((1, False), (1, True), (2, False), (3, False), (3, True))),
    *(_row(f"unipc_{p}_vary", f"UniPC-{p} (varying coefficients)", lambda p=p: ExpAdams(p, True), p + 1, "UniPC_v",
           note=f"exact weights: the same numbers as exp_adams_{p}c") for p in (1, 2, 3)),
    *(_row(f"unipc_{p}_noise", f"UniPC-{p} (bh2, noise prediction)", lambda p=p: UniPC(p, noise=True), p + 1,
           oracle=_TWIN) for p in (2, 3)),
    _row("unic_dpmpp_2m", "DPM++ 2M + UniC", lambda: UniC(DPMpp2M()), 3, "section 3.2", oracle=_TWIN + ", solver_p",
         note="the first correction has exact weights, where diffusers takes 1/2"),
)  # fmt: skip
