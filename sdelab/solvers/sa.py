"""SA-Solver: stochastic Adams methods, predictor and corrector, with a noise level of their own for every time."""

from collections.abc import Callable, Sequence

import numpy as np

from .exponential import ExpAdams, moments, through, weights
from .linear import Entry, Linear, Stage, Step, decay, spread, ticks
from .row import Row


class SASolver(Linear):
    """Stochastic Adams solver: with e = eta tau(s), k = 1 + e^2, and P a polynomial through values of D, a step is

        x_t = (sigma_t/sigma_s) e^{-e^2 h} x_s + alpha_t int_0^h k e^{-k(h-u)} P(u) du
              + sigma_t sqrt(1 - e^{-2 e^2 h}) z

    predicted with P through the last ``predictor`` values, then corrected, with the same z, by P through ``corrector``
    values, the one at the predicted point among them (0: no corrector). The correction waits for the evaluation that
    the next step makes anyway (PEC); ``pece`` evaluates once more, at the corrected point. ``tau``: function of t that
    multiplies the equation's eta, or a constant; diffusers has 1 for t in [0.2, 0.8] and 0 elsewhere. The marginals are
    the same for every tau. ``exact=False``: rules with two values take k h/2 for the weight of the difference
    quotient, as in the authors' code and in diffusers, instead of its integral.

    Order: the smaller of predictor + 1 and corrector (predictor, without one) for tau = 0 or eta = 0, which is the ODE;
    weak: the smaller of that and 2. NFE: 1, or 2 for PECE. Driven by a path on the clock e^{2 eta^2 lam}.
    Reference: Xue et al. (2023), SA-Solver, alg. 1. Raises ``ValueError`` for other numbers of values.
    """

    def __init__(
        self,
        predictor: int = 2,
        corrector: int = 2,
        tau: Callable[[float], float] | float = 1.0,
        *,
        pece: bool = False,
        exact: bool = False,
    ):
        if predictor not in (1, 2, 3, 4) or corrector not in (0, 1, 2, 3, 4, 5):
            raise ValueError(f"predictor is 1 to 4 values and corrector 0 to 5, not {predictor!r} and {corrector!r}")
        if pece and not corrector:
            raise ValueError("PECE needs a corrector: give corrector=1 to 5, or pece=False")
        self.predictor, self.corrector, self.tau, self.pece, self.exact = predictor, corrector, tau, pece, exact
        self.history = max(predictor, corrector - 1) - 1
        order = min(predictor + 1, corrector) if corrector else predictor
        self.order = order if tau == 0 else min(order, 2)
        self.nfe = 1 + pece

    def weights(self, h: float, k: float, nodes: Sequence[float]) -> list[float]:
        if self.exact or len(nodes) != 2:
            return weights(h, k, nodes)
        return through(np.asarray(nodes) / h, [moments(k * h, 1)[0], k * h / 2])

    def entry(self, step: Step) -> Entry:
        s, t, h = step.s, step.t, step.h
        tau = self.tau(s.t) if callable(self.tau) else self.tau
        e2 = step.e2 * tau**2
        known = [0.0, *(p.lam - s.lam for p in step.past)]
        predict, correct = (
            [t.alpha * w for w in self.weights(h, 1 + e2, nodes)]
            for nodes in (known[: self.predictor], [h, *known][: self.corrector] or [h])
        )
        keep, z = decay(s, t, e2), (spread(s, t, e2),) if e2 else ()
        first = Stage(s.t, None, keep, predict, (ticks(s, t, step.e2),) if e2 else (), z)
        if self.pece:
            return Entry((first, Stage(t.t, None, keep, correct, (), z)))
        return Entry((first,), correct if self.corrector and not step.last else None)


class StochasticAdams(ExpAdams):
    """:class:`ExpAdams` under the weak order that it has with noise.

    Order: 1 with one value, 2 (weak) with more, a corrector's included. NFE: 1.
    Reference: Xue et al. (2023), SA-Solver, with exact weights and tau = 1.
    """

    def __init__(self, order: int = 2, corrector: bool = False):
        super().__init__(order, corrector)
        self.order = min(self.order, 2)


_PAPER, _SAME = "Xue et al. (2023), SA-Solver, alg. 1", "diffusers SASolverScheduler"
_FINE = {"weak_steps": (400, 800), "strong_steps": (128, 256, 512)}  # the orders are reached from above


def _row(key: str, name: str, make, order: int, nfe: int = 1, paper: str = _PAPER, **fields) -> Row:
    return Row(key, name, "exponential", make, order, nfe, paper, **fields)


def _noisy(key: str, name: str, make, nfe: int = 1, **fields) -> Row:
    return _row(key, name, make, 2, nfe, stochastic=True, strong=1.0, measure=_FINE, **fields)


ROWS = (
    _noisy("sa_solver", "SA-Solver", SASolver, oracle=_SAME),
    _noisy("sa_solver_3", "SA-Solver 3", lambda: SASolver(3, 3), oracle=_SAME),
    _noisy("sa_solver_pece", "SA-Solver PECE", lambda: SASolver(pece=True), 2),
    _row("sa_solver_ode", "SA-Solver, tau = 0", lambda: SASolver(2, 3, 0.0), 3, oracle=_SAME),
    _row("sa_solver_ode_3", "SA-Solver 3, tau = 0", lambda: SASolver(3, 4, 0.0), 4, oracle=_SAME),
    *(
        _noisy(f"stochastic_adams_{p}{'c' * c}", f"stochastic Adams {p}" + " + corrector" * c,
               lambda p=p, c=c: StochasticAdams(p, c), paper=f"{_PAPER}, exact weights",
               oracle="k-diffusion sample_dpmpp_2m_sde, heun" if (p, c) == (2, False) else "closed form",
               note="past values and the path's noise do not go together better than weak order 2")
        for p, c in ((2, False), (3, False), (1, True), (2, True), (3, True))
    ),
)  # fmt: skip
