"""Euler–Maruyama and Milstein, on any SDE, the reverse diffusion included (with decreasing times, dt < 0)."""

import math

from ..sde import Stratonovich
from .row import Row
from .scheme import Scheme, additive, total


class EulerMaruyama(Scheme):
    """x + a dt + b dW.

    Order: strong 1/2 (1 with additive noise), weak 1. NFE: 1.
    Reference: Maruyama (1955); Kloeden & Platen (1992), 10.2.
    """

    order, nfe = 1, 1

    def advance(self, sde, x, s, t, W, H):
        return total(x, (t - s, sde.drift(x, s)), (sde.diffusion(x, s), W))


class Milstein(Scheme):
    """x + a dt + b dW + 1/2 b b' (dW^2 - |dt|), for diagonal noise.

    b' by automatic differentiation or, ``derivative_free``, b b' = (b(x + a dt + b sqrt|dt|) - b(x))/sqrt|dt|. With
    additive noise b' = 0 and it *is* Euler–Maruyama. Run backwards in time the correction is the same: b b' enters
    through dW^2 - |dt|. An equation in Stratonovich's sense takes its own form: x + f dt + b dW + 1/2 b b' dW^2 with
    its own drift f, and b b' = (b(x + b sqrt|dt|) - b(x))/sqrt|dt|. Coordinate i of b may depend on coordinate i of x
    alone, as diagonal noise asks; a b of another shape than x counts as additive.

    Order: strong 1, weak 1. NFE: 1.
    Reference: Milstein (1975); Kloeden & Platen (1992), eq. 10.3.1, and 11.1.3 (derivative-free).
    """

    order, nfe = 1, 1

    def __init__(self, derivative_free: bool = False):
        self.derivative_free = derivative_free

    def advance(self, sde, x, s, t, W, H):
        h = t - s
        a, correction = sde.drift, abs(h)
        if isinstance(sde, Stratonovich):
            a, correction = sde.stratonovich, 0.0
        a = a(x, s)
        b, slope = (sde.diffusion(x, s), 0.0) if self.derivative_free else sde.with_slope(x, s)
        new = total(x, (h, a), (b, W))
        if additive(b, x):
            return new
        if self.derivative_free:
            root = math.sqrt(abs(h))
            up = sde.diffusion(total(x, (root, b), (h, a) if correction else (0.0,)), s)
            b, slope = up - b, 1 / root
        return total(new, (0.5 * b, slope * (W * W - correction)))


ROWS = (
    Row("euler_maruyama", "Euler–Maruyama", "classical", EulerMaruyama, 1, 1, "Maruyama (1955)", True, 1.0,
        claimed=0.5, oracle="torchsde euler",
        note="Strong 1/2 is for any noise; the noise of a reverse diffusion is additive, and there it measures 1."),
    Row("milstein", "Milstein", "classical", Milstein, 1, 1, "Milstein (1975)", True, 1.0, oracle="torchsde milstein"),
    Row("milstein_df", "Milstein, derivative-free", "classical", lambda: Milstein(True), 1, 1,
        "Kloeden & Platen (1992), eq. 11.1.3", True, 1.0, oracle="torchsde milstein, grad_free"),
)  # fmt: skip
