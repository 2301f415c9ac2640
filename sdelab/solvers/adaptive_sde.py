"""Step-size control for SDEs, with rejected steps kept on one Brownian path."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from .adaptive import worst
from .row import Row
from .scheme import scaled


class AdaptiveEM:
    """Euler–Maruyama inside a stochastic improved Euler step, whose difference sets the step:

        y = x + f(x, s) h + b(x, s) W;  x_t = x + [f(x, s) + f(y, t)]/2 h + [b(x, s) + b(y, t)]/2 W

    with Stratonovich's drift f = a - b b'/2, which is a where the noise is additive. The error of a step is the largest
    over the batch of the root mean square per sample of (x_t - y)/max(atol, rtol max(|x|, |y|)); a step with error <= 1
    is accepted. The paper's next step, 0.9 h error^-0.9, is rounded down to cells of 2^-l of the given interval: steps
    are halved and doubled, and so do not vary with x where a gradient is taken. A rejected step is tried again on the
    same Brownian path: fresh noise after a rejection would favour small increments, and bias the law. A seed therefore
    stands for a path (``rewinds``), and ``brownian`` must answer for any times. Attempts are counted in ``.accepted``
    and ``.rejected``. The whole batch takes the same steps, so a split batch agrees to the error of the run only.

    Order: strong 1 and weak 1; weak 2 with additive noise or none. NFE: 2 per attempt, 1 after a rejection, where the
    drift at x is known.
    Reference: Jolicoeur-Martineau et al. (2021), "Gotta go fast when generating data with score-based models", alg. 1;
    Roberts (2012) for the improved Euler step; Gaines & Lyons (1997) for rejection on one path.
    ``FloatingPointError`` if ``max_steps`` attempts between two given times are not enough.
    """

    ode_only, in_time, rewinds = False, True, True
    order, nfe = 2, 2

    def __init__(self, rtol: float = 0.01, atol: float = 0.0078, max_steps: int = 100_000):
        if not (rtol >= 0 and atol > 0):
            raise ValueError(f"need rtol >= 0 and atol > 0, not {rtol} and {atol}")
        self.rtol, self.atol, self.max_steps = rtol, atol, max_steps
        self.accepted = self.rejected = 0

    def plan(self, equation, times):
        return list(pairwise(times))

    def start(self):
        self.accepted = self.rejected = 0
        return {"h": math.inf}

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, end = entry
        span, sign = end - s, 1.0 if end > s else -1.0
        level = max(0, math.ceil(math.log2(abs(span) / memory["h"]))) if memory["h"] < math.inf else 0
        cell, k = 0, None  # the step to come is the cell of that number, of 2^level in the interval
        for _ in range(self.max_steps):
            a, b = (s + span * math.ldexp(c, -level) for c in (cell, cell + 1))
            b = end if cell + 1 == 2**level else b
            if abs(b - a) < 1e-14 * max(1.0, abs(a)):
                raise FloatingPointError(
                    f"the step size collapsed at t = {a:.6g}: loosen the tolerance or stop earlier"
                )
            if k is None:
                k = equation.stratonovich(x, a, sign), equation.diffusion(x, a)
            W = scaled(draw(a, b, x, math.sqrt(abs(b - a)))) if equation.stochastic else None
            y, off = self.attempt(equation, x, k, b, b - a, sign, W)
            delta = torch.maximum(x.detach().abs(), y.detach().abs()).mul_(self.rtol).clamp_min_(self.atol)
            error = worst(off.detach() / delta)
            factor = 0.9 * max(error, 1e-10) ** -0.9
            if error <= 1:
                self.accepted += 1
                x, cell, k = y + off, cell + 1, None
                memory["h"] = abs(b - a) * (2 if factor >= 2 else 1)
                if cell == 2**level:
                    return x
                if factor >= 2 and level and cell % 2 == 0:
                    cell, level = cell // 2, level - 1
            else:  # also NaN: try again with less
                self.rejected += 1
                halvings = min(3, max(1, math.ceil(-math.log2(factor)))) if 0 < error < math.inf else 3
                cell, level = cell << halvings, level + halvings
        raise FloatingPointError(
            f"{self.max_steps} steps were not enough at t = {a:.6g}: loosen the tolerance or stop earlier"
        )

    def attempt(self, equation, x: Tensor, k, t: float, h: float, sign: float, W: Tensor | None):
        """Euler–Maruyama's y, and what the improved Euler step adds to it."""
        f, b = k
        y = torch.add(x, f, alpha=h)
        y = y if W is None else y + b * W
        off = (0.5 * h) * (equation.stratonovich(y, t, sign) - f)
        return y, off if W is None else off + (0.5 * (equation.diffusion(y, t) - b)) * W


ROWS = (
    Row("adaptive_em", "adaptive Euler–Maruyama", "classical", AdaptiveEM, 2, 2,
        "Jolicoeur-Martineau et al. (2021), alg. 1", True, adaptive=True,
        oracle="a converged solution on the same path",
        note="Steps tried again stay on their Brownian path: fresh noise after a rejection would bias the law."),
)  # fmt: skip
