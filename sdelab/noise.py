"""Randomness as a pure function: the same (seed, key, row) gives the same normal, whatever the batch, device or order.

No generator and no global state. Each of 2^15 counters has two random words c, d, the same for all draws, c odd. Seed
and key are mixed by splitmix64 into multipliers m, n; a word of the draw is (d + m c)(c + 2 n d) modulo 2^32, and
Box–Muller makes two normals of two words. To different keys belong quadratic forms in c, d with unlike coefficients. A
pattern common to a few keys would need a small combination of them in which all coefficients cancel, which is why so
cheap a hash serves. (Its lowest bits are weaker than its highest; they lie below single precision.)
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
_TABLE = 1 << 15  # counters with words of their own; further ones change the key
_CHUNK = 1 << 16  # words made at a time: long enough to hide the price of a call, short enough for the cache
_HALF = 256  # a block of the stream is so many cosines, and then their sines


_kept = threading.local()


def _signed(k: int) -> int:
    k &= 0xFFFFFFFF
    return k - (1 << 32) if k >> 31 else k


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
@torch.inference_mode(False)  # what is kept must serve in and out of it
def _tables(device) -> Tensor:
    """Two random words c, d for each counter, by three rounds of multiplication and xorshift; c is odd."""
    x = torch.arange(2 * _TABLE, dtype=torch.int64)
    for factor, shift in ((0x9E3779B1, 16), (0x21F0AAAD, 15), (0x735A2D97, 16)):
        x = x * factor & 0xFFFFFFFF
        x ^= x >> shift
    x[:_TABLE] |= 1
    return torch.where(x >> 31 == 1, x - (1 << 32), x).to(device, torch.int32).view(2, 1, _TABLE)


def _scratch(rows: int, length: int, real: torch.dtype, device) -> tuple[Tensor, ...]:
    """Two words, a factor, and real numbers in their places (the same memory where they are as long), to write over.

    Kept per thread: fresh memory would cost as much as filling it, and a view has its price where states are small.
    """
    held: dict = _kept.__dict__.setdefault("held", {}).setdefault((real, device), {})
    size = max(rows * length, _CHUNK)
    if (rows, length) not in held:
        with torch.inference_mode(False):
            if not held or held[()][0].numel() < size or len(held) > 64:
                held.clear()
                words = torch.empty(3, size, dtype=torch.int32, device=device).unbind()
                same = real.itemsize == words[0].element_size()
                reals = [w.view(real) if same else torch.empty(size, dtype=real, device=device) for w in words[:2]]
                held[()] = *words, *reals
            held[rows, length] = tuple(base[: rows * length].view(rows, length) for base in held[()])
    return held[rows, length]


def _words(first: int, count: int, folded: Sequence[int], real: torch.dtype, device) -> Iterator[tuple]:
    """(start, stop, a, b, u, v): two hashed 32-bit words a, b for each counter first + start … first + stop - 1, one
    row per key, and real numbers u, v to put them in, which may share their memory.

    ``first`` and ``count`` are multiples of ``_HALF``, and so are the chunks. They are written over by the next ones.
    """
    if not -(1 << 62) <= first <= (1 << 62) - count:
        raise ValueError("first is too large: rows times numbers per row must stay below 2^63")
    length, start = max(1, _CHUNK // _HALF // len(folded)) * _HALF, 0
    while start < count:
        high, low = divmod(first + start, _TABLE)
        stop = min(start + length, count, start + _TABLE - low)
        table = _tables(device)[:, :, low : low + stop - start].unbind()
        a, b, factor, u, v = _scratch(len(folded), stop - start, real, device)
        keys = [_mix(k ^ (high & _MASK64)) for k in folded]
        _hash(table, keys, a, factor)
        _hash(table, [_mix(k) for k in keys], b, factor)
        yield start, stop, a, b, u, v
        start = stop


def _hash(table: Sequence[Tensor], keys: Sequence[int], out: Tensor, factor: Tensor) -> None:
    """out = (d + m c)(c + 2 n d) modulo 2^32, one row per key, which is m and n. The second factor is odd."""
    c, d = table
    pairs = [(_signed(key), _signed(key >> 31 & -2)) for key in keys]
    if len(pairs) == 1:  # as below, in fewer passes
        m, n = pairs[0]
        torch.add(d, c, alpha=m, out=factor)
        torch.add(c, d, alpha=n, out=out).mul_(factor)
    else:
        m, n = torch.tensor(pairs, dtype=torch.int32, device=out.device)[:, :, None].unbind(1)
        torch.mul(c, m, out=factor).add_(d)
        torch.mul(d, n, out=out).add_(c).mul_(factor)


def _blocks(first: SupportsIndex, shape: tuple[int, ...]) -> tuple[int, int, slice]:
    """The blocks of the stream that hold rows ``first`` … of that shape: the first, how many, and the place in them."""
    size, width = math.prod(shape), math.prod(shape[1:])
    begin = _whole(first, "first") * width
    block = begin // (2 * _HALF)
    skip = begin - 2 * _HALF * block
    return block, -(-(skip + size) // (2 * _HALF)), slice(skip, skip + size)


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
    block, count, wanted = _blocks(first, shape)
    out = torch.empty(len(keys), count, 2, _HALF, dtype=real, device=device)
    half = _number(0.5 / (2**31 + 1), real, out.device)
    folded = [_fold(seed, key) for key in keys]
    for start, stop, a, b, radius, angle in _words(block * _HALF, count * _HALF, folded, real, out.device):
        # |a| is uniform on 0 … 2^31: (|a| + 1/2)/(2^31 + 1) lies inside (0, 1)
        torch.add(half, radius.copy_(a).abs_(), alpha=1 / (2**31 + 1), out=radius).log_().mul_(-2).sqrt_()
        angle.copy_(b).mul_(math.pi * 2.0**-31)
        cosines, sines = out[:, start // _HALF : stop // _HALF].unbind(2)
        radius, angle = radius.view(cosines.shape), angle.view(cosines.shape)
        torch.cos(angle, out=cosines).mul_(radius)
        torch.mul(angle.sin_(), radius, out=sines)
    out = out.view(len(keys), -1)[:, wanted].view(len(keys), *shape)
    return out if out.dtype == dtype else out.to(dtype)


@functools.lru_cache(8)
@torch.inference_mode(False)
def _number(value: float, dtype: torch.dtype, device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)


def normal(
    shape,
    seed: SupportsIndex,
    key: Key = 0,
    first: SupportsIndex = 0,
    dtype: torch.dtype | None = None,
    device=None,
) -> Tensor:
    """Independent standard normals of ``shape`` (n, ...), a pure function of (seed, key, row).

    Row ``i`` is row ``first + i`` of an endless stream of such rows: splitting a batch and passing the offset gives the
    same numbers. ``key`` (an int or several) names the draw, e.g. the step. float32 and float64 agree to float32
    rounding.
    """
    return normals(shape, seed, (key,), first, dtype, device)[0]


def uniform(shape, seed: int, key=0, first: int = 0, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """Independent uniforms on (0, 1) with the same guarantees as :func:`normal` (32 bits of resolution)."""
    shape, dtype = tuple(shape), dtype or torch.get_default_dtype()
    block, count, wanted = _blocks(first, shape)
    u = torch.empty(count, 2, _HALF, dtype=torch.float64, device=device)
    for start, stop, a, b, *_ in _words(block * _HALF, count * _HALF, [_fold(seed, key)], torch.float32, u.device):
        for words, to in zip((a, b), u[start // _HALF : stop // _HALF].unbind(1), strict=True):
            to.copy_(words.view(to.shape))
    u = u.view(-1)[wanted].add_(2.0**31 + 0.5).mul_(2.0**-32).view(shape)
    return u.to(dtype).clamp_max_(1 - torch.finfo(dtype).eps / 2)  # single precision would round to 1


def prior(process, shape, seed: int, first: int = 0, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """Draw x_T ~ N(0, sigma(T)^2 I), the law that sampling starts from; ``shape`` is (n, ...)."""
    return normal(shape, seed, key=PRIOR, first=first, dtype=dtype, device=device) * float(process.sigma(process.T))
