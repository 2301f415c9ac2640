"""Classical schemes in t: Euler–Maruyama, Milstein, explicit Runge–Kutta, and an adaptive controller.

They run on any SDE or ODE, the reverse diffusion included (with decreasing times, dt < 0).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..reverse import Reverse
from .linear import Entry, Linear, Stage, fold
from .row import Row


class _InTime:
    """A scheme whose steps need nothing but their two times."""

    ode_only, in_time = False, True

    def plan(self, equation, times):
        if isinstance(equation, Reverse):
            equation.prepare(times)
        return list(pairwise(times))

    def start(self):
        return {}


class EulerMaruyama(_InTime):
    """x + a dt + b dW.

    Order: strong 1/2 (1 with additive noise), weak 1. NFE: 1.
    Reference: Maruyama (1955); Kloeden & Platen (1992), 10.2.
    """

    order, nfe = 1, 1

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, t = entry
        new = torch.add(x, equation.drift(x, s), alpha=t - s)
        if not equation.stochastic:
            return new
        z, scale = draw(s, t, x, math.sqrt(abs(t - s)))
        b = equation.diffusion(x, s)
        return new.add_(b * z, alpha=scale) if torch.is_tensor(b) else new.add_(z, alpha=scale * b)


class Milstein(_InTime):
    """Euler–Maruyama + 1/2 b b' (dW^2 - |dt|) for diagonal noise, b' by forward-mode differentiation.

    Order: strong 1, weak 1. NFE: 1. With additive noise b' = 0 and it *is* Euler–Maruyama.
    Run backwards in time the correction is the same: b b' enters through dW^2 - |dt|. Coordinate i of b may depend on
    coordinate i of x alone, as diagonal noise asks; a b of another shape than x counts as additive.
    Reference: Milstein (1975); Kloeden & Platen (1992), 10.3.
    """

    order, nfe = 1, 1

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, t = entry
        new = torch.add(x, equation.drift(x, s), alpha=t - s)
        if not equation.stochastic:
            return new
        z, scale = draw(s, t, x, math.sqrt(abs(t - s)))
        dw = z * scale
        b = equation.diffusion(x, s)
        if torch.is_tensor(b) and b.shape == x.shape:
            bdb = torch.func.jvp(lambda y: equation.diffusion(y, s), (x,), (b,))[1]
            new = new + 0.5 * bdb * (dw * dw - abs(t - s))
        return new + b * dw


class RungeKutta(Linear):
    """Explicit Runge–Kutta by tableau: k_i = f(x + h sum_j A_ij k_j, s + c_i h), x + h sum_i b_i k_i.

    ``b_low`` is the embedded method whose difference estimates the error (for :class:`Adaptive`); stages that only it
    needs are left out of fixed steps. On :class:`Reverse` the slopes are linear in x and D, and the coefficients of a
    step are computed before the run.
    """

    ode_only = in_time = True
    A: Sequence[tuple[float, ...]] = ((),)
    b: tuple[float, ...] = (1.0,)
    b_low: tuple[float, ...] | None = None

    @property
    def nfe(self) -> int:  # type: ignore[override]
        return max(i for i, weight in enumerate(self.b, 1) if weight)

    def plan(self, equation, times):
        if not isinstance(equation, Reverse):
            return list(pairwise(times))
        c = [sum(row) for row in self.A[: self.nfe]]
        inner = [s + r * (t - s) for s, t in pairwise(times) for r in c]
        rates = iter(zip(inner, equation.prepare(inner), strict=True))
        return [Entry(self.folded(t - s, [next(rates) for _ in c]), remember=False) for s, t in pairwise(times)]

    def folded(self, h: float, rates) -> tuple[Stage, ...]:
        """The stages of a step of length h on x' = p x + q D; rates: (time, (p, q, _)) of each stage."""
        rows = [*self.A[1 : len(rates)], self.b[: len(rates)]]
        return fold([
            Stage(time, (p, q), 1.0, [h * a for a in reversed(row)])
            for row, (time, (p, q, _)) in zip(rows, rates, strict=True)
        ])  # fmt: skip

    def slopes(self, equation, x: Tensor, s: float, h: float, count: int) -> list[Tensor]:
        ks: list[Tensor] = []
        for row in self.A[:count]:
            ks.append(equation.drift(self.combine(x, ks, h, row), s + sum(row) * h))
        return ks

    def combine(self, x: Tensor, ks, h: float, weights) -> Tensor:
        for w, k in zip(weights, ks, strict=False):
            x = torch.add(x, k, alpha=h * w) if w else x
        return x

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        if isinstance(entry, Entry):
            return super().step(equation, x, entry, memory, draw)
        s, t = entry
        return self.combine(x, self.slopes(equation, x, s, t - s, self.nfe), t - s, self.b)


class Euler(RungeKutta):
    """x + h f. Order 1. NFE 1."""


class Heun(RungeKutta):
    """Explicit trapezium, with Euler embedded. Order 2. NFE 2. On EDM's clock this is EDM's deterministic sampler."""

    A, b, b_low, order = ((), (1.0,)), (0.5, 0.5), (1.0, 0.0), 2


class RK4(RungeKutta):
    """The classical method of Kutta (1901). Order 4. NFE 4."""

    A, b, order = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4


class Bosh3(RungeKutta):
    """Bogacki & Shampine (1989), 3(2). Order 3. NFE 3, and 1 more for the error estimate."""

    A = ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9))
    b, b_low, order = (2 / 9, 1 / 3, 4 / 9, 0.0), (7 / 24, 1 / 4, 1 / 3, 1 / 8), 3


class Dopri5(RungeKutta):
    """Dormand & Prince (1980), 5(4). Order 5. NFE 6, and 1 more for the error estimate."""

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


class Adaptive(_InTime):
    """Step-size control over an embedded pair: between two given times, as many steps as the tolerance asks for.

    The error of a step is the largest over the batch of the root mean square of (high - low)/(atol + rtol |x|) per
    sample; a step with error <= 1 is accepted, and the next one is scaled by the PI rule 0.9 err^{-0.7/q}
    err_old^{0.4/q} within [0.2, 5], q the order of the pair. Rejected steps are counted in ``.rejected``; their
    network calls are spent. The whole batch takes the same steps, so a split batch agrees to the tolerance only.

    Reference: Hairer, Nørsett & Wanner (1993), II.4; Gustafsson (1991) for PI control.
    """

    ode_only = True

    def __init__(self, pair: RungeKutta | None = None, rtol: float = 1e-4, atol: float = 1e-4, max_steps: int = 10_000):
        self.pair = pair or Dopri5()
        if self.pair.b_low is None:
            raise ValueError(f"{type(self.pair).__name__} has no embedded error estimate; use Heun, Bosh3 or Dopri5")
        if rtol < 0 or atol < 0 or rtol + atol == 0:
            raise ValueError(f"tolerances must not be negative nor both zero, not rtol={rtol}, atol={atol}")
        self.rtol, self.atol, self.max_steps = rtol, atol, max_steps
        self.order, self.nfe = self.pair.order, len(self.pair.b)
        self.accepted = self.rejected = 0

    def start(self):
        self.accepted = self.rejected = 0
        return {"h": None, "old": 1.0}

    def _error(self, x: Tensor, new: Tensor, low: Tensor) -> float:
        if x.numel() == 0:
            return 0.0
        scaled = (new - low) / (self.atol + self.rtol * torch.maximum(x.abs(), new.abs()))
        return float(scaled.reshape(len(x), -1).square().mean(1).sqrt().max())

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, end = entry
        sign = 1.0 if end > s else -1.0
        h = memory["h"] or 0.01 * abs(end - s)
        budget = self.max_steps
        while (left := abs(end - s)) > 0:
            last = h >= left * (1 - 1e-10)  # no sliver of a step for the rounding of s + h
            size = left if last else h
            ks = self.pair.slopes(equation, x, s, sign * size, self.nfe)
            new = self.pair.combine(x, ks, sign * size, self.pair.b)
            low = self.pair.combine(x, ks, sign * size, self.pair.b_low)
            error = self._error(x, new, low)
            budget -= 1
            if budget < 0 or size < 1e-14 * max(1.0, abs(s)):
                why = f"{self.max_steps} steps were not enough" if budget < 0 else "the step size collapsed"
                raise FloatingPointError(f"{why} at t = {s:.6g}: loosen the tolerance or stop earlier")
            q = self.pair.order
            if error <= 1:
                x, s = new, end if last else s + sign * size
                self.accepted += 1
                factor = 0.9 * max(error, 1e-10) ** (-0.7 / q) * memory["old"] ** (0.4 / q)
                memory["old"] = max(error, 1e-4)
                h = max(h, size * min(5.0, max(0.2, factor))) if last else size * min(5.0, max(0.2, factor))
            else:  # also NaN: try again with less
                self.rejected += 1
                h = size * (max(0.2, 0.9 * error ** (-1 / q)) if error < float("inf") else 0.2)
        memory["h"] = h
        return x


ROWS = (
    Row("euler_maruyama", "Euler–Maruyama", "classical", EulerMaruyama, 1, 1, "Maruyama (1955)", True, 1.0),
    Row("milstein", "Milstein", "classical", Milstein, 1, 1, "Milstein (1975)", True, 1.0),
    Row("euler", "Euler (in t)", "classical", Euler, 1, 1, "Euler (1768)"),
    Row("heun", "Heun", "classical", Heun, 2, 2, "Heun (1900); Karras et al. (2022), alg. 1"),
    Row("rk4", "RK4", "classical", RK4, 4, 4, "Kutta (1901)"),
    Row("bosh3", "Bogacki–Shampine 3(2)", "classical", Bosh3, 3, 3, "Bogacki & Shampine (1989)"),
    Row("dopri5", "Dormand–Prince 5(4)", "classical", Dopri5, 5, 6, "Dormand & Prince (1980)"),
)
