"""A Brownian path as a pure function of (seed, row): any time, in any order, always the same path."""

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import SupportsIndex

from torch import Tensor

from .noise import PATH, normals

_KNEE = 1 / 16  # the share of the interval whose leaves are graded
_AHEAD = 1 << 17  # numbers drawn in one go where states are small: a call has its price


class Brownian:
    """A Brownian path on [t0, t1] as a pure function of (seed, row): ``w(a, b)`` returns W(b) - W(a), shape ``shape``.

    Lévy's construction on a tree of ``depth`` levels: in a cell [l, r], for a normal z that belongs to the cell,

        W_m = W_l + (m - l)/(r - l) (W_r - W_l) + sqrt((m - l)(r - m)/(r - l)) z

    The value at a time never depends on which other times were asked for, nor in which order. Half of the 2^depth
    leaves divide (t0, t1] evenly, half divide the first sixteenth in geometric progression (from 2^-40 of it, or from
    t0 if t0 > 0), because an exponential clock takes its shortest steps there. Within a leaf the same formula holds
    with the leaf's own z: the law of any path seen at most once per leaf is exact, and a question about two times in
    one leaf is a ``ValueError``. The last path down the tree is kept, so neighbouring queries share their ancestors.

    knots: times in order, such as those of the finest grid to come, that the cells are divided at first. Walking along
    them costs about one draw a step, where a walk between any times costs one for each level not shared. Other times
    are as exact as before. A path with other knots is another path.

    Times up to a relative 1e-9 outside [t0, t1] are taken as the end point (rounding in a grid); further out is a
    ``ValueError``. Reference: Lévy (1948); Li et al. (2020), "Scalable gradients for SDEs", algorithm 3.
    """

    def __init__(
        self,
        shape,
        t0: float,
        t1: float,
        seed: SupportsIndex,
        *,
        first=0,
        dtype=None,
        device=None,
        depth: int = 14,
        knots: Sequence[float] | None = None,
    ):
        if not (math.isfinite(t0) and math.isfinite(t1)) or t0 == t1:
            raise ValueError(f"a Brownian path needs two different finite end times, not [{t0}, {t1}]")
        self.t0, self.t1, self.depth = min(t0, t1), max(t0, t1), depth
        self._leaves = _graded(self.t0, self.t1, depth) if knots is None else self._divided([float(t) for t in knots])
        size = math.prod(tuple(shape))
        self._ahead = max(1, _AHEAD // max(1, size))  # levels drawn in one go where states are small
        self._draw = lambda keys: normals(shape, seed, [(PATH, *key) for key in keys], first, dtype, device)
        self._root = self._draw([(0, 0)])[0]
        self._cells: list[tuple[int, Tensor]] = []  # index and normal of the cell at each level, down to the last time
        self._known: dict[float, Tensor] = {}

    def __call__(self, a: float, b: float) -> Tensor:
        a, b = float(a), float(b)
        at_a, at_b = self._place(a), self._place(b)
        if a != b and math.floor(at_a) == math.floor(at_b) and at_a % 1 and at_b % 1:
            raise ValueError(
                f"a step from {a} to {b} lies inside one of the 2^{self.depth} leaves of this Brownian path: "
                f"take longer steps, or make it with a depth above {self.depth}"
            )
        return self._at(b, at_b) - self._at(a, at_a)

    def _divided(self, knots: list[float]) -> tuple[Callable[[float], float], Callable[[float], float]]:
        """Leaves between the knots, as many for each as can be; a knot is a boundary of a high level."""
        inside = sorted(knots) if knots[:1] > knots[-1:] else knots
        if not all(a < b for a, b in itertools.pairwise(inside)):
            raise ValueError("knots must be strictly increasing or strictly decreasing")
        slack = 1e-9 * (self.t1 - self.t0)
        if inside and not (self.t0 - slack <= inside[0] and inside[-1] <= self.t1 + slack):
            raise ValueError(f"knots must lie in [{self.t0}, {self.t1}], not in [{inside[0]}, {inside[-1]}]")
        times = [self.t0, *(t for t in inside if self.t0 < t < self.t1), self.t1]
        pieces, high = len(times) - 1, math.ceil(math.log2(len(times) - 1))
        if high > self.depth:
            raise ValueError(f"{len(times)} knots need a depth of {high} at least, not {self.depth}")
        places = [math.ldexp(round(i * 2**high / pieces), self.depth - high) for i in range(pieces + 1)]
        return functools.partial(_between, times, places), functools.partial(_between, places, times)

    def _place(self, t: float) -> float:
        """Where t lies among the leaves, from 0 to 2^depth; one that is whole within rounding is a boundary."""
        place = self._leaves[0](min(max(t, self.t0), self.t1))
        return float(round(place)) if abs(place - round(place)) < 1e-9 * place else place

    def _at(self, t: float, place: float) -> Tensor:
        slack = 1e-9 * (self.t1 - self.t0)
        if not self.t0 - slack <= t <= self.t1 + slack:
            raise ValueError(f"the Brownian path covers [{self.t0}, {self.t1}] and was asked for t = {t}")
        if t not in self._known:
            if len(self._known) >= 4:
                self._known.pop(next(iter(self._known)))
            self._known[t] = self._descend(min(max(t, self.t0), self.t1), place)
        return self._known[t]

    def _descend(self, t: float, place: float) -> Tensor:
        """W(t) - W(t0): the sum of the hats of all cells around t, each with its cell's normal."""
        depth, cells, time_of = self.depth, self._cells, self._leaves[1]
        leaf = min(int(place), 2**depth - 1)
        # a cell that t is an end of has no hat there, nor have the cells within it
        count = next((n for n in range(depth + 1) if math.ldexp(place, n - depth) % 1 == 0), depth + 1)
        known = next((n for n, (index, _) in enumerate(cells) if index != leaf >> (depth - n)), len(cells))
        del cells[known:]
        W = self._root * ((t - self.t0) / math.sqrt(self.t1 - self.t0))
        left, right = self.t0, self.t1
        for n in range(count):
            if n == len(cells):
                keys = [(m + 1, leaf >> (depth - m)) for m in range(n, min(n + self._ahead, count))]
                cells += [(index, z) for (_, index), z in zip(keys, self._draw(keys), strict=True)]
            index, z = cells[n]
            half = math.ldexp(2 * index + 1, depth - n - 1)
            middle = time_of(half) if n < depth else t
            W.add_(z, alpha=_hat(left, middle, right, t))
            left, right = (left, middle) if place < half else (middle, right)
        return W


def _graded(t0: float, t1: float, depth: int) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """The leaf of a time and its inverse, as :class:`Brownian` has them without knots."""
    span = t1 - t0
    floor = t0 / span if t0 > 0 else 2.0**-44
    rate = math.log1p(_KNEE / floor)

    def place(t: float) -> float:
        r = (t - t0) / span
        u = math.log1p(r / floor) / rate if r <= _KNEE else 1 + (r - _KNEE) / (1 - _KNEE)
        return math.ldexp(u, depth - 1)

    def time(place: float) -> float:
        u = math.ldexp(place, 1 - depth)
        r = floor * math.expm1(u * rate) if u <= 1 else _KNEE + (u - 1) * (1 - _KNEE)
        return t0 + r * span

    return place, time


def _between(xs: list[float], ys: list[float], x: float) -> float:
    """Linear interpolation of (xs, ys) at x."""
    i = min(bisect.bisect_right(xs, x), len(xs) - 1) - 1
    return ys[i] + (x - xs[i]) / (xs[i + 1] - xs[i]) * (ys[i + 1] - ys[i])


def _hat(left: float, m: float, right: float, t: float) -> float:
    """Standard deviation at m of a bridge from left to right, linear in t down to 0 at both ends."""
    share = min(max((m - left) / (right - left), 0.0), 1.0)
    slope = (t - left) / (m - left) if t <= m and m > left else (right - t) / (right - m)
    return math.sqrt(share * (1 - share) * (right - left)) * slope if 0 < share < 1 else 0.0
