"""Step-size control over an embedded Runge–Kutta pair."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from .row import Row
from .runge_kutta import Bosh3, Dopri5, RungeKutta, Tsit5


def worst(scaled: Tensor) -> float:
    """The largest over the batch of the root mean square per sample."""
    if scaled.numel() == 0:
        return 0.0
    wide = scaled.detach().to(torch.promote_types(scaled.dtype, torch.float32))  # half precision squares overflow
    rows = wide.reshape(len(wide), -1)
    return float(torch.linalg.vector_norm(rows, dim=1).max()) / math.sqrt(rows.shape[1])


class Adaptive:
    """Step-size control over an embedded pair: between two given times, as many steps as the tolerance asks for.

    The error of a step is the largest over the batch of the root mean square of (high - low)/(atol + rtol |x|) per
    sample; a step with error <= 1 is accepted, and the next one is scaled by the PI rule 0.9 err^{-0.7/q}
    err_old^{0.4/q} within [0.2, 5], q the order of the pair. The first step is Hairer's guess from the sizes of x, f
    and f', for one more call. Rejected steps are counted in ``.rejected``; their network calls are spent, but the
    first slope serves again, and where the pair's last slope is the next step's first (Bosh3, Dopri5, Tsit5) an
    attempt costs one call less than it has slopes. The whole batch takes the same steps, so a split batch agrees to
    the tolerance only.

    Order: the pair's. NFE: ``nfe`` per attempt, and 2 to start.
    Reference: Hairer, Nørsett & Wanner (1993), II.4; Gustafsson (1991) for PI control.
    """

    ode_only = in_time = True

    def __init__(self, pair: RungeKutta | None = None, rtol: float = 1e-4, atol: float = 1e-4, max_steps: int = 10_000):
        self.pair = pair or Dopri5()
        if self.pair.b_low is None:
            raise ValueError(f"{type(self.pair).__name__} has no embedded error estimate; use Heun, Bosh3 or Dopri5")
        if rtol < 0 or atol < 0 or rtol + atol == 0:
            raise ValueError(f"tolerances must not be negative nor both zero, not rtol={rtol}, atol={atol}")
        self.rtol, self.atol, self.max_steps = rtol, atol, max_steps
        self.order, self.nfe = self.pair.order, len(self.pair.b) - self.pair.fsal
        self.accepted = self.rejected = 0

    def plan(self, equation, times):
        return list(pairwise(times))

    def start(self):
        self.accepted = self.rejected = 0
        return {"h": None, "old": 1.0, "at": None, "slope": None}

    def _error(self, x: Tensor, new: Tensor, difference: Tensor) -> float:
        size = x.detach().abs()
        torch.maximum(size, new.detach().abs(), out=size)
        return worst(torch.div(difference.detach(), size.mul_(self.rtol).add_(self.atol), out=size))

    def first(self, equation, x: Tensor, s: float, span: float, k: Tensor) -> float:
        """Hairer's first step: 0.01 |x|/|f| tried by Euler, then the step that makes h^q max(|f|, |f'|) a hundredth."""
        scale = self.atol + self.rtol * x.abs()
        d0, d1 = worst(x / scale), worst(k / scale)
        h0 = min(abs(span), 0.01 * d0 / d1 if min(d0, d1) > 1e-5 else 1e-6 * abs(span))
        step = math.copysign(h0, span)
        d2 = worst((equation.drift(torch.add(x, k, alpha=step), s + step) - k) / scale) / h0
        slope = max(d1, d2)
        return min(100 * h0, (0.01 / slope) ** (1 / self.order) if slope > 1e-15 else max(1e-6, 1e-3 * h0), abs(span))

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, end = entry
        sign = 1.0 if end > s else -1.0
        k = memory["slope"] if memory["at"] is x else None
        h, q, budget = memory["h"], self.pair.order, self.max_steps
        off = [high - low for high, low in zip(self.pair.b, self.pair.b_low or (), strict=True)]
        if h is None:
            k = equation.drift(x, s)
            h = self.first(equation, x, s, end - s, k)
        while (left := abs(end - s)) > 0:
            last = h >= left * (1 - 1e-10)  # no sliver of a step for the rounding of s + h
            size = left if last else h
            ks = self.pair.slopes(equation, x, s, sign * size, k)
            new = self.pair.combine(x, ks, sign * size, self.pair.b)
            error = self._error(x, new, self.pair.combine(torch.zeros_like(x), ks, sign * size, off))
            budget -= 1
            if budget < 0 or size < 1e-14 * max(1.0, abs(s)):
                why = f"{self.max_steps} steps were not enough" if budget < 0 else "the step size collapsed"
                raise FloatingPointError(f"{why} at t = {s:.6g}: loosen the tolerance or stop earlier")
            if error <= 1:
                x, s, k = new, end if last else s + sign * size, ks[-1] if self.pair.fsal else None
                self.accepted += 1
                factor = 0.9 * max(error, 1e-10) ** (-0.7 / q) * memory["old"] ** (0.4 / q)
                memory["old"] = max(error, 1e-4)
                h = max(h, size * min(5.0, max(0.2, factor))) if last else size * min(5.0, max(0.2, factor))
            else:  # also NaN: try again with less
                self.rejected += 1
                k, h = ks[0], size * (max(0.2, 0.9 * error ** (-1 / q)) if error < float("inf") else 0.2)
            del ks, new  # make room for those of the next attempt
        memory.update(h=h, at=x, slope=k)
        return x


_PI = "with PI control (Hairer, Nørsett & Wanner 1993, II.4)"
_PAIR = "scipy and torchdiffeq control the same pair by another rule, and so take other steps; the pair's own row is"

ROWS = tuple(
    Row(key, name, "classical", make, make().order, make().nfe, f"{paper}, {_PI}", adaptive=True, note=note)
    for key, name, make, paper, note in (
        ("rk45", "RK45 (adaptive)", lambda: Adaptive(Dopri5()), "Dormand & Prince (1980)", f"{_PAIR} dopri5."),
        ("bosh23", "Bosh3 (adaptive)", lambda: Adaptive(Bosh3()), "Bogacki & Shampine (1989)", f"{_PAIR} bosh3."),
        ("tsit5_adaptive", "Tsit5 (adaptive)", lambda: Adaptive(Tsit5()), "Tsitouras (2011)", ""),
    )
)
