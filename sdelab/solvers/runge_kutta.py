"""Explicit Runge–Kutta methods in t for any ODE: by tableau, in fixed steps or with step-size control."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..reverse import Reverse
from .linear import Entry, Linear, Stage, fold
from .row import Row


class Slopes:
    """An ODE whose drift stands where a Reverse has its denoiser, so that one engine steps both."""

    def __init__(self, ode):
        self.denoise = ode.drift


class Classical(Linear):
    """Base of the methods that are linear in x and in slopes k = f(y, t); on Reverse f = p y + q D."""

    ode_only = in_time = True

    def check(self, equation) -> None:
        """Any ODE will do."""

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        return super().step(equation if isinstance(equation, Reverse) else Slopes(equation), x, entry, memory, draw)


class RungeKutta(Classical):
    """Explicit Runge–Kutta by tableau: k_i = f(x + h sum_j A_ij k_j, s + c_i h), x + h sum_i b_i k_i.

    ``b_low`` is the embedded method whose difference estimates the error (for :class:`Adaptive`); stages that only it
    needs are left out of fixed steps. On :class:`Reverse` the slopes are linear in x and D, and the coefficients of a
    step are computed before the run.
    """

    A: Sequence[tuple[float, ...]] = ((),)
    b: tuple[float, ...] = (1.0,)
    b_low: tuple[float, ...] | None = None

    @property
    def nfe(self) -> int:  # type: ignore[override]
        return max(i for i, weight in enumerate(self.b, 1) if weight)

    @property
    def fsal(self) -> bool:
        """Whether the last slope is the first of the next step."""
        return self.b[-1] == 0 and tuple(self.A[-1]) == tuple(self.b[:-1])

    def plan(self, equation, times) -> list[Entry]:
        c = [sum(row) for row in self.A[: self.nfe]]
        inner = [s + r * (t - s) for s, t in pairwise(times) for r in c]
        rates = equation.prepare(inner) if isinstance(equation, Reverse) else [None] * len(inner)
        slopes = iter(zip(inner, rates, strict=True))
        return [Entry(fold(self.stages(t - s, [next(slopes) for _ in c])), remember=False) for s, t in pairwise(times)]

    def stages(self, h: float, slopes) -> list[Stage]:
        """The stages of a step of length h; slopes: (time, (p, q, _) or None) of each."""
        rows = [*self.A[1 : len(slopes)], self.b[: len(slopes)]]
        return [
            Stage(time, pq and pq[:2], 1.0, [h * a for a in reversed(row)])
            for row, (time, pq) in zip(rows, slopes, strict=True)
        ]

    def slopes(self, equation, x: Tensor, s: float, h: float, first: Tensor | None = None) -> list[Tensor]:
        """All k_i of one step, outside a plan; ``first``: k_1, if it is known."""
        times = [s + sum(row) * h for row in self.A]
        if isinstance(equation, Reverse):
            equation.prepare(times)
        ks = [equation.drift(x, s) if first is None else first]
        for row, t in zip(self.A[1:], times[1:], strict=True):
            ks.append(equation.drift(self.combine(x, ks, h, row), t))
        return ks

    def combine(self, x: Tensor, ks, h: float, weights) -> Tensor:
        total = None
        for w, k in zip(weights, ks, strict=False):
            if w:
                total = torch.add(x, k, alpha=h * w) if total is None else total.add_(k, alpha=h * w)
        return x if total is None else total


class Euler(RungeKutta):
    """x + h f. Order 1. NFE 1."""


class Heun(RungeKutta):
    """Explicit trapezium, with Euler embedded. Order 2. NFE 2. On EDM's clock this is EDM's deterministic sampler."""

    A, b, b_low, order = ((), (1.0,)), (0.5, 0.5), (1.0, 0.0), 2


class Midpoint(RungeKutta):
    """Explicit midpoint rule of Runge (1895). Order 2. NFE 2."""

    A, b, order = ((), (0.5,)), (0.0, 1.0), 2


class Ralston(RungeKutta):
    """The method of order 2 with the smallest bound of the error, Ralston (1962). Order 2. NFE 2."""

    A, b, order = ((), (2 / 3,)), (1 / 4, 3 / 4), 2


class RK3(RungeKutta):
    """Kutta's third-order method (1901). Order 3. NFE 3."""

    A, b, order = ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6), 3


class RK4(RungeKutta):
    """The classical method of Kutta (1901). Order 4. NFE 4."""

    A, b, order = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4


class Bosh3(RungeKutta):
    """Bogacki & Shampine (1989), 3(2). Order 3. NFE 3; its fourth slope, for the error, is the next step's first."""

    A = ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9))
    b, b_low, order = (2 / 9, 1 / 3, 4 / 9, 0.0), (7 / 24, 1 / 4, 1 / 3, 1 / 8), 3


class Dopri5(RungeKutta):
    """Dormand & Prince (1980), 5(4). Order 5. NFE 6; its seventh slope, for the error, is the next step's first."""

    A = (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    )
    b = (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0)
    b_low = (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40)
    order = 5


class Tsit5(RungeKutta):
    """Tsitouras (2011), 5(4). Order 5. NFE 6; its seventh slope, for the error, is the next step's first."""

    A = (
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774),
    )
    b = (*A[6], 0.0)
    b_low = tuple(
        w - e
        for w, e in zip(
            b,
            (-0.00178001105222577714, -0.0008164344596567469, 0.007880878010261995, -0.1447110071732629,
             0.5823571654525552, -0.45808210592918697, 1 / 66),
            strict=True,
        )
    )  # fmt: skip
    order = 5


# On Gaussian data the leading error of the midpoint rule is zero on EDM and the flow (x is a multiple of the root of a
# quadratic in t), and those of the order-5 pairs change sign there: no slope means anything.
_MIDPOINT = {"processes": ("vp", "cosine", "ve")}
_FIVE = {"processes": ("vp", "cosine", "ve"), "steps": (60, 90, 120, 180)}
_BOOK = "Hairer, Nørsett & Wanner (1993), II.1"

ROWS = (
    Row("euler", "Euler (in t)", "classical", Euler, 1, 1, "Euler (1768)", oracle="torchdiffeq euler"),
    Row("heun", "Heun", "classical", Heun, 2, 2, "Heun (1900); Karras et al. (2022), alg. 1",
        oracle="torchdiffeq heun2"),
    Row("midpoint", "Midpoint", "classical", Midpoint, 2, 2, f"Runge (1895); {_BOOK}", oracle="torchdiffeq midpoint",
        measure=_MIDPOINT),
    Row("ralston", "Ralston", "classical", Ralston, 2, 2, "Ralston (1962)"),
    Row("rk3", "RK3 (Kutta)", "classical", RK3, 3, 3, f"Kutta (1901); {_BOOK}"),
    Row("rk4", "RK4", "classical", RK4, 4, 4, "Kutta (1901)", oracle="torchdiffeq rk4_step_func",
        note="What torchdiffeq calls rk4 is Kutta's 3/8 rule."),
    Row("bosh3", "Bogacki–Shampine 3(2)", "classical", Bosh3, 3, 3, "Bogacki & Shampine (1989)", oracle="scipy RK23"),
    Row("dopri5", "Dormand–Prince 5(4)", "classical", Dopri5, 5, 6, "Dormand & Prince (1980)", oracle="scipy RK45",
        measure=_FIVE),
    Row("tsit5", "Tsitouras 5(4)", "classical", Tsit5, 5, 6, "Tsitouras (2011), table 1", measure=_FIVE),
)  # fmt: skip
