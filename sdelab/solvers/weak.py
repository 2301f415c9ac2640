"""Schemes of weak order 2: right about means of functions of x_t, with no need for the path's Lévy area."""

import math

import torch

from .row import Row
from .scheme import Scheme


class PlatenWeak2(Scheme):
    """Platen's explicit scheme of weak order 2, without derivatives, for diagonal noise.

    y = x + a dt + b dW,  y+- = x + a dt +- b sqrt|dt|,  all at the time t
    x + [a + a(y)]/2 dt + [b(y+) + b(y-) + 2 b]/4 dW + [b(y+) - b(y-)]/4 (dW^2 - |dt|)/sqrt|dt|

    Order: weak 2 (strong 1 with additive noise, 1/2 in general). NFE: 2.
    Reference: Kloeden & Platen (1992), eq. 15.1.1.
    """

    order, nfe = 2, 2

    def advance(self, sde, x, s, t, W, H):
        h, root = t - s, math.sqrt(abs(t - s))
        a, b = sde.drift(x, s), sde.diffusion(x, s)
        y = x + h * a
        new = x + (0.5 * h) * (a + sde.drift(y + b * W, t))
        if not torch.is_tensor(b):
            return new + (0.5 * (b + sde.diffusion(x, t))) * W
        up, down = sde.diffusion(y + b * root, t), sde.diffusion(y - b * root, t)
        return new + 0.25 * (up + down + 2 * b) * W + (0.25 / root) * (up - down) * (W * W - abs(h))


_R6, _R38 = math.sqrt(6), math.sqrt(38 / 491)


class DRI1(Scheme):
    """Debrabant & Rößler's DRI1, of weak order 2 and with the smallest error constants of its family.

    H1 = x, H2, H3 = x + c h a(x) +- 3 sqrt(38/491) sqrt|h| b(x), c = 342/491, at the times s, s + c h, s + c h
    Y2 = x + h a/2 + (6 - sqrt 6)/10 b W,  Y3 = x + h (2 a(Y2) - a) + (3 + 2 sqrt 6)/5 b W
    x + h [a + 4 a(Y2) + a(Y3)]/6 + [193/684 b + 491/1368 (b(H2) + b(H3))] W
      + sqrt(491/38)/6 [b(H2) - b(H3)] (W^2 - |h|)/(2 sqrt|h|)

    The terms of the general scheme that only mixed noises need vanish for diagonal noise.
    Order: weak 2; 3 without noise (strong 1 with additive noise). NFE: 3.
    Reference: Debrabant & Rößler (2009), "Families of efficient second order Runge–Kutta methods for the weak
    approximation of Itô SDEs", table of DRI1.
    """

    order, nfe = 2, 3

    def advance(self, sde, x, s, t, W, H):
        h, size, c = t - s, abs(t - s), 342 / 491
        a, b = sde.drift(x, s), sde.diffusion(x, s)
        a2 = sde.drift(x + (0.5 * h) * a + ((6 - _R6) / 10 * b) * W, s + 0.5 * h)
        a3 = sde.drift(x + h * (2 * a2 - a) + ((3 + 2 * _R6) / 5 * b) * W, t)
        new = x + (h / 6) * (a + 4 * a2 + a3)
        if not torch.is_tensor(b):
            return new + (193 / 684 * b + 491 / 684 * sde.diffusion(x, s + c * h)) * W
        y, kick = x + (c * h) * a, (3 * _R38 * math.sqrt(size)) * b
        up, down = sde.diffusion(y + kick, s + c * h), sde.diffusion(y - kick, s + c * h)
        new = new + (193 / 684 * b + 491 / 1368 * (up + down)) * W
        return new + (1 / (12 * _R38 * math.sqrt(size))) * (up - down) * (W * W - size)


ROWS = (
    Row("platen_w2", "Platen, weak order 2", "classical", PlatenWeak2, 2, 2, "Kloeden & Platen (1992), eq. 15.1.1",
        True, 1.0),
    Row("dri1", "DRI1", "classical", DRI1, 2, 3, "Debrabant & Rößler (2009), DRI1", True, 1.0),
)  # fmt: skip
