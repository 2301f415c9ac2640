"""Adams–Bashforth methods in t for any ODE, on grids of any spacing."""

from itertools import pairwise

from ..reverse import Reverse
from .exponential import through
from .linear import Entry, Stage, scaled
from .row import Row
from .runge_kutta import RK3, RK4, Classical, Euler, Heun, RungeKutta

_STARTS = {2: Euler, 3: Heun, 4: RK3, 5: RK4}  # order k - 1 is enough: the start has k - 1 steps, whatever the grid


class AdamsBashforth(Classical):
    """The polynomial through the last k slopes f = a(x, t), integrated over the step: x + int_s^t P(r) dr.

    P(t_j) = f_j at t_0 = s, t_-1, …, t_-(k-1), so the weights follow the spacing of the grid; on equal steps they are
    the classical ones. On :class:`sdelab.Reverse` f = p x + q D. The first k - 1 steps are taken by a Runge–Kutta
    method, by default the one of order k - 1.

    Order: k. NFE: 1, and the starting method's in its k - 1 steps.
    Reference: Bashforth & Adams (1883); Hairer, Nørsett & Wanner (1993), III.1 and III.5 (variable steps).
    ``ValueError`` for an order other than 2, 3, 4 or 5.
    """

    def __init__(self, order: int = 4, start: RungeKutta | None = None):
        if order not in _STARTS:
            raise ValueError(f"order must be 2, 3, 4 or 5 (1 is Euler), not {order!r}")
        self.order, self.nfe, self.history = order, 1, order - 1
        self.starter = start or _STARTS[order]()

    def calls(self, steps: int) -> int:
        """Network calls of a run."""
        started = min(steps, self.order - 1)
        return started * self.starter.nfe + steps - started

    def plan(self, equation, times) -> list[Entry]:
        steps, c = list(pairwise(times)), [sum(row) for row in self.starter.A[: self.starter.nfe]]
        inner = [[s + r * (t - s) for r in (c if n < self.order - 1 else [0.0])] for n, (s, t) in enumerate(steps)]
        flat = [time for row in inner for time in row]
        rates = iter(equation.prepare(flat) if isinstance(equation, Reverse) else [None] * len(flat))
        slopes = [[(time, next(rates)) for time in row] for row in inner]
        return scaled([self.entry_at(times, n, slopes[n]) for n in range(len(steps))])

    def entry_at(self, times, n: int, slopes) -> Entry:
        """Step n; slopes: (time, (p, q, _) or None) of each."""
        s, h = times[n], times[n + 1] - times[n]
        if n < self.order - 1:
            return Entry(self.starter.stages(h, slopes))
        nodes = [(times[n - j] - s) / h for j in range(self.order)]
        weights = through(nodes, [1 / (j + 1) for j in range(self.order)])
        ((time, pq),) = slopes
        return Entry([Stage(time, pq and pq[:2], 1.0, [h * w for w in weights])])


# Orders 4 and 5 show from more steps than usual on; on the flow the leading error of order 4 changes sign nearby (the
# slope is still 4.2 at 640 steps).
_MEASURE = {4: {"processes": ("vp", "edm", "cosine", "ve"), "steps": (80, 160, 320)}, 5: {"steps": (160, 320, 640)}}

_START = "torchdiffeq starts with two steps of the 3/8 rule, and takes one point more a step from three on."

ROWS = tuple(
    Row(f"ab{k}", f"Adams–Bashforth {k}", "multistep", lambda k=k: AdamsBashforth(k), k, 1,
        "Bashforth & Adams (1883); Hairer, Nørsett & Wanner (1993), III.5", measure=_MEASURE.get(k, {}),
        oracle="torchdiffeq explicit_adams" if k > 2 else "closed form", note=_START if k > 2 else "")
    for k in _STARTS
)  # fmt: skip
