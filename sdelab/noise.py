"""Randomness as a pure function: the same (seed, key, row) gives the same normal, whatever the batch, device or order.

No generator and no global state: a counter hash on 32-bit words, keyed by splitmix64, followed by Box–Muller.
"""

import functools
import math
import operator
import threading
from collections.abc import Iterator, Sequence
from typing import SupportsIndex

import torch
from torch import Tensor

# First keys of the package's own draws: one seed may serve the data, the prior and the steps without sharing a number.
PRIOR, COMPONENT, DATA, STEP, PATH = -1, -2, -3, -4, -5

Key = SupportsIndex | Sequence[SupportsIndex]

_MASK64 = (1 << 64) - 1
_CHUNK = 1 << 16  # words hashed at a time: long enough to hide the price of a call, short enough for the cache


_kept = threading.local()


def _signed(k: int) -> int:
    k &= 0xFFFFFFFF
    return k - (1 << 32) if k >> 31 else k


_WEYL, _M0, _M1, _M2 = map(_signed, (0x9E3779B1, 0x21F0AAAD, 0x735A2D97, 0xD35A2D97))


def _mix(k: int) -> int:
    """splitmix64 on a Python integer."""
    k = (k + 0x9E3779B97F4A7C15) & _MASK64
    k = ((k ^ (k >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    k = ((k ^ (k >> 27)) * 0x94D049BB133111EB) & _MASK64
    return k ^ (k >> 31)


def _whole(value, what: str) -> int:
    """A Python int from any integer (NumPy's too); a bool is no seed, and a float never meant to be one."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be an int, not {value!r}")
    return operator.index(value)


def _fold(seed: SupportsIndex, key: Key) -> int:
    k = _mix(_whole(seed, "seed"))
    for part in key if isinstance(key, Sequence) else (key,):
        k = _mix(k ^ (_whole(part, "key") & _MASK64))
    return k


@functools.lru_cache(8)
def _ramp(count: int, device) -> Tensor:
    return torch.arange(count, dtype=torch.int32, device=device).mul_(_WEYL)


def _xorshift(x: Tensor, n: int, scratch: Tensor) -> Tensor:
    """x ^= x >>> n (a logical shift is a masked arithmetic one)."""
    return x.bitwise_xor_(torch.bitwise_right_shift(x, n, out=scratch).bitwise_and_((1 << (32 - n)) - 1))


def _scratch(name: str, count: int, dtype: torch.dtype, device) -> Tensor:
    """``count`` numbers to write over, kept per thread: fresh memory would cost as much as filling it."""
    held = _kept.__dict__.setdefault("held", {})
    if (name, dtype, device) not in held or held[name, dtype, device].numel() < count:
        held[name, dtype, device] = torch.empty(max(count, _CHUNK), dtype=dtype, device=device)
    return held[name, dtype, device][:count]


def _reals(name: str, word: Tensor, real: torch.dtype, device) -> Tensor:
    """As many real numbers to write over: the words themselves where they are as long, for the cache's sake."""
    same = real.itemsize == word.element_size()
    return word.view(real) if same else _scratch(name, word.numel(), real, device).view_as(word)


def _words(first: int, count: int, folded: Sequence[int], device) -> Iterator[tuple[int, int, Tensor, Tensor]]:
    """(start, stop, a, b): two hashed 32-bit words for each counter first + start … first + stop - 1, one row per key.

    Counters beyond 32 bits go into the key. The tensors are written over by the next pair.
    """
    if not -(1 << 63) <= first <= (1 << 63) - 1 - count:
        raise ValueError("first is too large: rows times numbers per row must stay below 2^63")
    length, start = max(1, _CHUNK // len(folded)), 0
    while start < count:
        high, low = divmod(first + start, 1 << 32)
        stop = min(start + length, count, start + (1 << 32) - low)
        keys = [_mix(k ^ (high & _MASK64)) if high else k for k in folded]
        k0, k1, k2 = (
            _column(ws, device) for ws in zip(*((k + low * _WEYL, k >> 32, _mix(k)) for k in keys), strict=True)
        )
        n = stop - start
        a, b, t = (_scratch(name, len(keys) * n, torch.int32, device).view(-1, n) for name in "abt")
        torch.add(_ramp(length, device)[None, :n], k0, out=b)
        _xorshift(b, 16, t).mul_(_M0)
        _xorshift(torch.add(b, k1, out=a), 15, t).mul_(_M1)
        _xorshift(b.add_(k2), 16, t).mul_(_M2)
        yield start, stop, a, b
        start = stop


def _column(words: Sequence[int], device) -> int | Tensor:
    """One number for every row, or a column of them."""
    signed = [_signed(w) for w in words]
    return signed[0] if len(signed) == 1 else torch.tensor(signed, dtype=torch.int32, device=device)[:, None]


def normals(
    shape,
    seed: SupportsIndex,
    keys: Sequence[Key],
    first: SupportsIndex = 0,
    dtype: torch.dtype | None = None,
    device=None,
) -> Tensor:
    """What :func:`normal` gives for each of ``keys``, stacked, at less than the price of one call each."""
    shape, dtype = tuple(shape), dtype or torch.get_default_dtype()
    real = torch.float64 if dtype == torch.float64 else torch.float32
    rows, width = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    pairs = -(-width // 2)
    out = torch.empty(len(keys), rows * pairs, 2, dtype=real, device=device)
    both, folded = torch.view_as_complex(out), [_fold(seed, key) for key in keys]
    half = torch.tensor(0.5 / (2**31 + 1), dtype=real, device=device)
    for start, stop, a, b in _words(_whole(first, "first") * pairs, rows * pairs, folded, device):
        spare = _scratch("t", a.numel(), torch.int32, device).view_as(a)
        radius, angle, part = (
            _reals(name, w, real, device) for name, w in (("radius", a), ("angle", b), ("part", spare))
        )
        # |a| is uniform on 0 … 2^31: (|a| + 1/2)/(2^31 + 1) lies inside (0, 1)
        torch.add(half, radius.copy_(a).abs_(), alpha=1 / (2**31 + 1), out=radius).log_().mul_(-2).sqrt_()
        angle.copy_(b).mul_(math.pi * 2.0**-31)
        torch.cos(angle, out=part).mul_(radius)
        torch.complex(part, angle.sin_().mul_(radius), out=both[:, start:stop])
    return out.view(len(keys), rows, 2 * pairs)[..., :width].reshape(len(keys), *shape).to(dtype)


def normal(
    shape,
    seed: SupportsIndex,
    key: Key = 0,
    first: SupportsIndex = 0,
    dtype: torch.dtype | None = None,
    device=None,
) -> Tensor:
    """Independent standard normals of ``shape`` (n, ...), a pure function of (seed, key, row).

    Row ``i`` uses the counter ``first + i``: splitting a batch and passing the offset gives the same numbers.
    ``key`` (an int or several) names the draw, e.g. the step. float32 and float64 agree to float32 rounding.
    """
    return normals(shape, seed, (key,), first, dtype, device)[0]


def uniform(shape, seed: int, key=0, first: int = 0, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """Independent uniforms on (0, 1) with the same guarantees as :func:`normal` (32 bits of resolution)."""
    shape, dtype = tuple(shape), dtype or torch.get_default_dtype()
    rows, width = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    u = torch.empty(rows * width, dtype=torch.float64, device=device)
    for start, stop, a, _ in _words(_whole(first, "first") * width, rows * width, [_fold(seed, key)], device):
        u[start:stop] = a[0]
    u.add_(2.0**31 + 0.5).mul_(2.0**-32)
    return u.view(shape).to(dtype).clamp_max_(1 - torch.finfo(dtype).eps / 2)  # single precision would round to 1


def prior(process, shape, seed: int, first: int = 0, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """Draw x_T ~ N(0, sigma(T)^2 I), the law that sampling starts from; ``shape`` is (n, ...)."""
    return normal(shape, seed, key=PRIOR, first=first, dtype=dtype, device=device) * float(process.sigma(process.T))


class Brownian:
    """A Brownian path on [t0, t1] as a pure function of (seed, row): ``w(a, b)`` returns W(b) - W(a), shape ``shape``.

    Lévy's construction on a tree of ``depth`` levels: in a cell [l, r], for a normal z that belongs to the cell,

        W_m = W_l + (m - l)/(r - l) (W_r - W_l) + sqrt((m - l)(r - m)/(r - l)) z

    The value at a time never depends on which other times were asked for, nor in which order. Half of the 2^depth
    leaves divide (t0, t1] evenly, half divide the first sixteenth in geometric progression (from 2^-40 of it, or from
    t0 if t0 > 0), because an exponential clock takes its shortest steps there. Within a leaf the same formula holds
    with the leaf's own z: the law of any path seen at most once per leaf is exact, and a question about two times in
    one leaf is a ``ValueError``. The last path down the tree is kept, so neighbouring queries share their ancestors.

    Times up to a relative 1e-9 outside [t0, t1] are taken as the end point (rounding in a grid); further out is a
    ``ValueError``. Reference: Lévy (1948); Li et al. (2020), "Scalable gradients for SDEs", algorithm 3.
    """

    def __init__(self, shape, t0: float, t1: float, seed: int, *, first=0, dtype=None, device=None, depth: int = 14):
        if not (math.isfinite(t0) and math.isfinite(t1)) or t0 == t1:
            raise ValueError(f"a Brownian path needs two different finite end times, not [{t0}, {t1}]")
        self.t0, self.t1 = min(t0, t1), max(t0, t1)
        self.depth, span = depth, self.t1 - self.t0
        self._floor = self.t0 / span if self.t0 > 0 else 2.0**-44
        self._rate = math.log1p(_KNEE / self._floor)
        size = math.prod(tuple(shape))
        self._ahead = max(1, 2 * _CHUNK // max(1, size))  # levels drawn in one go where states are small
        self._draw = lambda keys: normals(shape, seed, [(PATH, *key) for key in keys], first, dtype, device)
        self._root = self._draw([(0, 0)])[0]
        self._cells: list[tuple[int, Tensor]] = []  # index and normal of the cell at each level, down to the last time
        self._known: dict[float, Tensor] = {}

    def __call__(self, a: float, b: float) -> Tensor:
        a, b = float(a), float(b)
        places = self._place(a), self._place(b)
        if a != b and math.floor(places[0]) == math.floor(places[1]) and all(p % 1 for p in places):
            raise ValueError(
                f"a step from {a} to {b} lies inside one of the 2^{self.depth} leaves of this Brownian path: "
                f"take longer steps, or make it with a depth above {self.depth}"
            )
        return self._at(b) - self._at(a)

    def _place(self, t: float) -> float:
        """Where t lies among the leaves, from 0 to 2^depth; one that is whole within rounding is a boundary."""
        r = min(max((t - self.t0) / (self.t1 - self.t0), 0.0), 1.0)
        u = math.log1p(r / self._floor) / self._rate if r <= _KNEE else 1 + (r - _KNEE) / (1 - _KNEE)
        place = math.ldexp(u, self.depth - 1)
        return float(round(place)) if abs(place - round(place)) < 1e-9 * place else place

    def _time(self, place: float) -> float:
        """The inverse of :meth:`_place`."""
        u = math.ldexp(place, 1 - self.depth)
        r = self._floor * math.expm1(u * self._rate) if u <= 1 else _KNEE + (u - 1) * (1 - _KNEE)
        return self.t0 + r * (self.t1 - self.t0)

    def _at(self, t: float) -> Tensor:
        slack = 1e-9 * (self.t1 - self.t0)
        if not self.t0 - slack <= t <= self.t1 + slack:
            raise ValueError(f"the Brownian path covers [{self.t0}, {self.t1}] and was asked for t = {t}")
        if t not in self._known:
            if len(self._known) >= 4:
                self._known.pop(next(iter(self._known)))
            self._known[t] = self._descend(min(max(t, self.t0), self.t1), self._place(t))
        return self._known[t]

    def _descend(self, t: float, place: float) -> Tensor:
        """W(t) - W(t0): the sum of the hats of all cells around t, each with its cell's normal."""
        depth, cells = self.depth, self._cells
        leaf = min(int(place), 2**depth - 1)
        # a cell that t is an end of has no hat there, nor have the cells within it
        count = next((n for n in range(depth + 1) if math.ldexp(place, n - depth) % 1 == 0), depth + 1)
        known = next((n for n, (index, _) in enumerate(cells) if index != leaf >> (depth - n)), len(cells))
        del cells[known:]
        while len(cells) < count:
            n = len(cells)
            keys = [(m + 1, leaf >> (depth - m)) for m in range(n, min(n + self._ahead, count))]
            cells += [(index, z) for (_, index), z in zip(keys, self._draw(keys), strict=True)]
        W = self._root * ((t - self.t0) / math.sqrt(self.t1 - self.t0))
        left, right = self.t0, self.t1
        for n, (index, z) in enumerate(cells[:count]):
            middle = self._time(math.ldexp(2 * index + 1, depth - n - 1)) if n < depth else t
            W.add_(z, alpha=_hat(left, middle, right, t))
            left, right = (left, middle) if place < math.ldexp(2 * index + 1, depth - n - 1) else (middle, right)
        return W


def _hat(left: float, m: float, right: float, t: float) -> float:
    """Standard deviation at m of a bridge from left to right, linear in t down to 0 at both ends."""
    share = min(max((m - left) / (right - left), 0.0), 1.0)
    slope = (t - left) / (m - left) if t <= m and m > left else (right - t) / (right - m)
    return math.sqrt(share * (1 - share) * (right - left)) * slope if 0 < share < 1 else 0.0


_KNEE = 1 / 16  # the share of the interval whose leaves are graded
