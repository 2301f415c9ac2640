"""Randomness as a pure function: the same (seed, key, row) gives the same normal, whatever the batch, device or order.

No generator and no global state. Each of 2^16 counters has two random words c, d, the same for all draws, c odd. Seed
and key are mixed by splitmix64 into multipliers m, n; a word of the draw is (d + m c)(c + 2 n d) modulo 2^32. To
different keys belong quadratic forms in c, d with unlike coefficients. A pattern common to a few keys would need a
small combination of them in which all coefficients cancel, which is why so cheap a hash serves. (The
lowest bits are weaker than the highest.)

Each half of a word, 16 bits, chooses one of 2^16 equally likely cells of the normal law, in their order, and the median
stands for the cell: what the lowest bits lack could only show in the finest place of a number within its thousandth.
Four such choices from different words make four numbers, (± a ± b ± c ± d)/2: a rotation, which leaves independent
normals what they are, and fills in what lies between the cells and beyond the last. All are multiples of 2^-20 and all
sums are exact: the same bits in every precision that holds them, and on every device.
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
WEIGHTS, SLICE, TRAIN, PROBE, DEQUANTISE = -6, -7, -8, -9, -10

Key = SupportsIndex | Sequence[SupportsIndex]

_MASK64 = (1 << 64) - 1
_TABLE = 1 << 16  # counters with words of their own; further ones change the key
_CHUNK = 1 << 16  # words made at a time: long enough to hide the price of a call, short enough for the cache
_CELLS = 1 << 16
_QUARTER = 128  # a block of the stream is four quarters, and mixes the numbers at one place in each
_BLOCK = 2 * _QUARTER  # words for it
_REAL = torch.float32  # holds every number of the stream exactly

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


@functools.lru_cache(8)
@torch.inference_mode(False)
def _cells(device) -> Tensor:
    """Half the number z that stands for each cell: its median m, stretched to a m + b m^3, which gives the numbers the
    variance and the fourth moment of the normal law, and rounded so that z/2 is a multiple of 2^-20."""
    m = torch.special.ndtri((torch.arange(_CELLS, dtype=torch.float64) + 0.5) / _CELLS)
    z = 0.9999157028653 * m + 3.148687468e-5 * m**3
    return torch.round(z * 2**19).mul_(2.0**-20).to(device, _REAL)


def _scratch(rows: int, blocks: int, device) -> tuple:
    """Memory to write over, kept per thread, because fresh memory would cost as much as filling it; as the views of it
    that a chunk of ``blocks`` blocks for each of ``rows`` keys needs, because a view has its price where states are
    small: words, factors, the words' halves, their cells, what stands for the cells, and (in the place of the cells)
    sums and differences, the last two as pairs of halves of each block and as pairs of quarters.
    """
    held: dict = _kept.__dict__.setdefault("held", {}).setdefault(device, {})
    if (rows, blocks) not in held:
        count = rows * blocks * _BLOCK
        with torch.inference_mode(False):
            if not held or held[()].shape[1] < count or len(held) > 64:
                held.clear()
                held[()] = torch.empty(8, max(count, _CHUNK), dtype=torch.int32, device=device)
            flat = held[()].view(-1)
            words, factors = (part.view(rows, -1) for part in flat[: 2 * count].chunk(2))
            z, mixed = (
                part.view(_REAL).view(rows, blocks, 2, 2, _QUARTER)
                for part in (flat[2 * count : 4 * count], flat[4 * count : 6 * count])
            )
            cells = flat[4 * count : 8 * count].view(torch.int64)
            held[rows, blocks] = (
                *(words, factors, words.view(-1).view(torch.uint16), cells, z.view(-1)),
                *(z.unbind(2), mixed.unbind(2), mixed.unbind(3)),
            )
    return held[rows, blocks]


def _chunks(first: int, count: int, folded: Sequence[int], device) -> Iterator[tuple]:
    """(start, stop, scratch) for the blocks first + start … first + stop - 1 of the stream, one row per key, with the
    hashed words in the scratch memory. It is written over by the next ones."""
    if not -(1 << 52) <= first <= (1 << 52) - count:
        raise ValueError("first is too large: rows times numbers per row must stay below 2^61")
    length, start, blocks = max(1, _CHUNK // _BLOCK // len(folded)), 0, _TABLE // _BLOCK
    while start < count:
        high, low = divmod(first + start, blocks)
        stop = min(start + length, count, start + blocks - low)
        scratch = _scratch(len(folded), stop - start, device)
        table = _tables(device)[:, :, low * _BLOCK : (low + stop - start) * _BLOCK].unbind()
        _hash(table, [_mix(k ^ (high & _MASK64)) for k in folded], *scratch[:2])
        yield start, stop, scratch
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


def _place(first: SupportsIndex, shape: tuple[int, ...], block: int) -> tuple[int, int, slice]:
    """The blocks of that many numbers that hold rows ``first`` …: the first, how many, and the place in them."""
    size, width = math.prod(shape), math.prod(shape[1:])
    begin = _whole(first, "first") * width
    start = begin // block
    skip = begin - block * start
    return start, -(-(skip + size) // block), slice(skip, skip + size)


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
    block, count, wanted = _place(first, shape, 4 * _QUARTER)
    out = torch.empty(len(keys), count, 2, 2, _QUARTER, dtype=_REAL, device=device)
    for start, stop, scratch in _chunks(block, count, [_fold(seed, key) for key in keys], out.device):
        _, _, halves, cells, z, (upper, lower), (plus, minus), (left, right) = scratch
        torch.index_select(_cells(out.device), 0, cells.copy_(halves), out=z)
        torch.add(upper, lower, out=plus)
        torch.sub(upper, lower, out=minus)
        sums, differences = out[:, start:stop].unbind(3)
        torch.add(left, right, out=sums)
        torch.sub(left, right, out=differences)
    out = out.view(len(keys), -1)[:, wanted].view(len(keys), *shape)
    return out if out.dtype == dtype else out.to(dtype)


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
    same numbers. ``key`` (an int or several) names the draw, e.g. the step. float32 and float64 give the same numbers,
    as do all devices.
    """
    return normals(shape, seed, (key,), first, dtype, device)[0]


def uniform(
    shape,
    seed: SupportsIndex,
    key: Key = 0,
    first: SupportsIndex = 0,
    dtype: torch.dtype | None = None,
    device=None,
) -> Tensor:
    """Independent uniforms on (0, 1) with the same guarantees as :func:`normal` (32 bits of resolution)."""
    shape, dtype = tuple(shape), dtype or torch.get_default_dtype()
    block, count, wanted = _place(first, shape, _BLOCK)
    u = torch.empty(count * _BLOCK, dtype=torch.float64, device=device)
    for start, stop, (words, *_) in _chunks(block, count, [_fold(seed, key)], u.device):
        u[start * _BLOCK : stop * _BLOCK].copy_(words[0])
    u = u[wanted].add_(2.0**31 + 0.5).mul_(2.0**-32).view(shape)
    return u.to(dtype).clamp_max_(1 - torch.finfo(dtype).eps / 2)  # single precision would round to 1


def prior(process, shape, seed: int, first: int = 0, dtype: torch.dtype | None = None, device=None) -> Tensor:
    """Draw x_T ~ N(0, sigma(T)^2 I), the law that sampling starts from; ``shape`` is (n, ...)."""
    return normal(shape, seed, key=PRIOR, first=first, dtype=dtype, device=device) * float(process.sigma(process.T))
