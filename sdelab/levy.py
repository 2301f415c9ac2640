"""A Brownian path that knows its space-time Lévy area: what schemes of strong order 1.5 ask of a path."""

import math
from typing import SupportsIndex

import torch
from torch import Tensor

from .noise import PATH, normals

F64 = torch.float64
AREA = 1  # last key of the second normal of a cell; the first has 0


class LevyBrownian:
    """A Brownian path on [t0, t1] as a pure function of (seed, row), with its space-time Lévy area.

    ``w(a, b)`` is W(b) - W(a), and ``w.area(a, b)`` is H(a, b), the mean over [a, b] of the path less its chord:

        H ~ N(0, |b - a|/12), independent of W(b) - W(a);   int_a^b (W_r - W_a) dr = (b - a) ((W_b - W_a)/2 + H)

    Halving a cell of length l with increment W and area H, for normals z of variance 1:

        W_1 = W/2 + 3H/2 + N,  W_2 = W - W_1,  N = sqrt(l/16) z;   H_1, H_2 = H/4 - N/2 +- sqrt(l/48) z'

    On its finest cells, 2^-depth of the interval, the path is the parabola that has their W and H. Times up to a
    relative 1e-9 outside [t0, t1] are taken as the end point; further out, and a step shorter than a cell, are a
    ``ValueError``. Computed in float64, handed out in ``dtype``. It is another path than :class:`sdelab.Brownian` of
    the same seed.
    Reference: Foster, Lyons & Oberhauser (2020), theorem 6.1; Jelinčič, Foster & Kidger (2024).
    """

    def __init__(
        self,
        shape,
        t0: float,
        t1: float,
        seed: SupportsIndex,
        *,
        first: SupportsIndex = 0,
        dtype=None,
        device=None,
        depth: int = 24,
    ):
        if not (math.isfinite(t0) and math.isfinite(t1)) or t0 == t1:
            raise ValueError(f"a Brownian path needs two different finite end times, not [{t0}, {t1}]")
        self.t0, self.t1, self.depth = min(t0, t1), max(t0, t1), depth
        self._dtype = dtype or torch.get_default_dtype()
        self._z = lambda cells: normals(
            shape, seed, [(PATH, *c, i) for c in cells for i in (0, AREA)], first, F64, device
        )
        span = self.t1 - self.t0
        W, H = self._z([(0, 0)])
        W, H = W * math.sqrt(span), H * math.sqrt(span / 12)
        self._cells = [(0, W * 0, W * 0, W, H)]  # index, W and its integral at the left end, W and H of the cell
        self._known: dict[float, tuple[Tensor, Tensor]] = {}

    def __call__(self, a: float, b: float) -> Tensor:
        self._check(a, b)
        return (self._at(b)[0] - self._at(a)[0]).to(self._dtype)

    def area(self, a: float, b: float) -> Tensor:
        """H(a, b) = H(b, a)."""
        self._check(a, b)
        (Wa, Ia), (Wb, Ib) = self._at(a), self._at(b)
        return ((Ib - Ia) / (b - a) - 0.5 * (Wa + Wb)).to(self._dtype)

    def _check(self, a: float, b: float) -> None:
        finest = math.ldexp(self.t1 - self.t0, -self.depth)
        if 0 < abs(b - a) < 0.999 * finest:
            raise ValueError(
                f"a step from {a} to {b} is shorter than the {finest:.3g} that this Brownian path resolves: "
                f"take longer steps, or make it with a depth above {self.depth}"
            )

    def _at(self, t: float) -> tuple[Tensor, Tensor]:
        """W and its integral from t0 to t."""
        span = self.t1 - self.t0
        if not self.t0 - 1e-9 * span <= t <= self.t1 + 1e-9 * span:
            raise ValueError(f"the Brownian path covers [{self.t0}, {self.t1}] and was asked for t = {t}")
        if t not in self._known:
            if len(self._known) >= 4:
                self._known.pop(next(iter(self._known)))
            self._known[t] = self._descend(min(max((t - self.t0) / span, 0.0), 1.0), span)
        return self._known[t]

    def _descend(self, r: float, span: float) -> tuple[Tensor, Tensor]:
        position = math.ldexp(r, self.depth)
        leaf = min(int(position), 2**self.depth - 1)
        index = [leaf >> (self.depth - level) for level in range(self.depth + 1)]
        known = next((k for k, cell in enumerate(self._cells) if cell[0] != index[k]), len(self._cells))
        del self._cells[known:]
        # down to the cell whose left end the time is, if it is one
        down = next(
            (k for k in range(known - 1, self.depth) if math.ldexp(index[k], self.depth - k) == position), self.depth
        )
        if down >= known:
            z = self._z([(k, index[k - 1]) for k in range(known, down + 1)])
            for k in range(known, down + 1):
                i = 2 * (k - known)
                self._cells.append(self._half(index[k], math.ldexp(span, 1 - k), z[i], z[i + 1]))
        level = len(self._cells) - 1
        _, left, I, W, H = self._cells[-1]
        l, u = math.ldexp(span, -level), math.ldexp(position, level - self.depth) - index[level]
        # the parabola W u + 6 H u (1 - u), and its integral
        return left + u * W + (6 * u * (1 - u)) * H, I + l * (u * left + u**2 / 2 * W + (3 * u**2 - 2 * u**3) * H)

    def _half(self, index: int, l: float, z: Tensor, z2: Tensor):
        """The first or second half, by the parity of ``index``, of the last cell, which has length l."""
        _, left, I, W, H = self._cells[-1]
        N, n = z * math.sqrt(l / 16), z2 * math.sqrt(l / 48)
        W1, H0 = 0.5 * W + 1.5 * H + N, 0.25 * H - 0.5 * N
        if index % 2 == 0:
            return index, left, I, W1, H0 + n
        return index, left + W1, I + l / 2 * (left + 0.5 * W1 + H0 + n), W - W1, H0 - n
