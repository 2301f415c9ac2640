"""Schemes that converge to the Stratonovich solution, on any SDE with diagonal noise.

An Itô equation dx = a dt + b dW is the Stratonovich equation with drift f = a - b b'/2 (sign(dt) b b'/2 when run
backwards), which is what they are given; b' by automatic differentiation. With additive noise f = a.
"""

from itertools import pairwise

import torch
from torch import Tensor

from ..reverse import Reverse
from .row import Row
from .scheme import Scheme, scaled, total


class StratonovichScheme(Scheme):
    """Base of the schemes for dx = f dt + b o dW; subclasses write ``advance`` with ``self.fields``."""

    def fields(self, sde, x, s: float, t: float, at: float):
        """(f, b) at the time ``at`` of the step from s to t."""
        return sde.stratonovich(x, at, 1.0 if t > s else -1.0), sde.diffusion(x, at)


class HeunStratonovich(StratonovichScheme):
    """y = x + f dt + b dW;  x + [f(x) + f(y)]/2 dt + [b(x) + b(y)]/2 dW.

    Order: strong 1 for commutative noise, weak 1; weak 2 with additive noise or none. NFE: 2.
    Reference: Rümelin (1982); Burrage, Burrage & Tian (2004).
    """

    order, nfe = 2, 2

    def advance(self, sde, x, s, t, W, H):
        h = t - s
        f, b = self.fields(sde, x, s, t, s)
        fy, by = self.fields(sde, total(x, (h, f), (b, W)), s, t, t)
        return total(x, (0.5 * h, f), (0.5 * h, fy), (0.5, b + by, W))


class EulerHeun(StratonovichScheme):
    """y = x + b dW;  x + f(x) dt + [b(x) + b(y)]/2 dW.

    Order: strong 1 for commutative noise, weak 1. NFE: 1.
    Reference: Rümelin (1982), the noise alone by Heun's rule.
    """

    order, nfe = 1, 1

    def advance(self, sde, x, s, t, W, H):
        f, b = self.fields(sde, x, s, t, s)
        return total(x, (t - s, f), (0.5, b + sde.diffusion(total(x, (b, W)), t), W))


class MidpointStratonovich(StratonovichScheme):
    """y = x + f dt/2 + b dW/2;  x + f(y) dt + b(y) dW, at the middle of the step.

    Order: strong 1 for commutative noise, weak 1; weak 2 with additive noise or none. NFE: 2.
    Reference: Rümelin (1982), Runge's midpoint rule.
    """

    order, nfe = 2, 2

    def advance(self, sde, x, s, t, W, H):
        h = t - s
        f, b = self.fields(sde, x, s, t, s)
        f, b = self.fields(sde, total(x, (0.5 * h, f), (0.5, b, W)), s, t, s + 0.5 * h)
        return total(x, (h, f), (b, W))


class ReversibleHeun(StratonovichScheme):
    """y' = 2x - y + f(y) dt + b(y) dW;  x' = x + [f(y) + f(y')]/2 dt + [b(y) + b(y')]/2 dW, with y = x at the start.

    It can be run back exactly: the step from (x', y') with -dt and -dW is the same formula.

    Order: strong 1 with additive noise (1/2 in general), weak 1; weak 2 with additive noise or none. NFE: 1, and 1
    at the start.
    Reference: Kidger, Foster, Li & Lyons (2021), "Efficient and accurate gradients for neural SDEs", alg. 1.
    """

    order, nfe = 2, 1

    def calls(self, steps: int) -> int:
        """Network calls of a run."""
        return steps + 1

    def plan(self, equation, times) -> list:
        if isinstance(equation, Reverse):
            equation.prepare(times)
        return list(pairwise(times))

    def start(self):
        return {"y": None}

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, t = entry
        h = t - s
        W = scaled(draw(s, t, x, abs(h) ** 0.5)) if equation.stochastic else 0.0
        if memory["y"] is None:
            memory["y"], memory["f"] = x, self.fields(equation, x, s, t, s)
        y, (f, b) = memory["y"], memory["f"]
        y = torch.sub(x, y, alpha=0.5).mul_(2).add_(f, alpha=h)
        y = total(y, (b, W))
        fy, by = self.fields(equation, y, s, t, t)
        memory["y"], memory["f"] = y, (fy, by)
        return total(x, (0.5 * h, f), (0.5 * h, fy), (0.5, b + by, W))


_RUMELIN = "Rümelin (1982)"
_ADDITIVE = "Weak order 1 is for any noise; the noise of a reverse diffusion is additive, and there it measures 2."

ROWS = (
    Row("heun_strat", "Heun (Stratonovich)", "classical", HeunStratonovich, 2, 2, f"{_RUMELIN}, Heun's rule", True, 1.0,
        claimed=1, oracle="torchsde heun", note=_ADDITIVE),
    Row("euler_heun", "Euler–Heun", "classical", EulerHeun, 1, 1, f"{_RUMELIN}, Heun's rule for the noise", True, 1.0,
        oracle="torchsde euler_heun"),
    Row("midpoint_strat", "Midpoint (Stratonovich)", "classical", MidpointStratonovich, 2, 2,
        f"{_RUMELIN}, midpoint rule", True, 1.0, claimed=1, oracle="torchsde midpoint", note=_ADDITIVE),
    # its strong order shows from 64 steps on (1.7 over 16 to 128)
    Row("reversible_heun", "reversible Heun", "classical", ReversibleHeun, 2, 1, "Kidger et al. (2021), alg. 1", True,
        1.0, claimed=1, oracle="torchsde reversible_heun", note=_ADDITIVE,
        measure={"strong_steps": (64, 128, 256, 512)}),
)  # fmt: skip
