"""Errors at the boundary: each says what was wrong and what to do."""

import difflib
import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

V = TypeVar("V")


def named(table: Mapping[str, V], name: str, what: str) -> V:
    """Look ``name`` up in ``table``; an unknown name raises ``ValueError`` listing the near ones."""
    if name in table:
        return table[name]
    near = difflib.get_close_matches(str(name), table, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(table)}"
    raise ValueError(f"unknown {what} {name!r}; {hint}")


def finite(x: Tensor) -> bool:
    """Whether all of x is finite; one pass where its sum is."""
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def state(x: Tensor, what: str = "x") -> Tensor:
    """A batch of states: floating point, at least one axis, finite."""
    if not torch.is_tensor(x) or not x.is_floating_point():
        kind = f"a tensor of {x.dtype}" if torch.is_tensor(x) else type(x).__name__
        raise TypeError(f"{what} must be a floating-point tensor, not {kind}")
    if x.ndim == 0:
        raise ValueError(f"{what} must have a batch axis: shape (n, ...), not ()")
    if not finite(x):
        raise ValueError(f"{what} holds NaN or infinite values; check where it came from before solving")
    return x


def monotone(times: Tensor, *, decreasing: bool | None = None) -> list[float]:
    """Times as Python floats; at least two, finite, strictly monotone (in the direction asked for)."""
    try:
        times = torch.as_tensor(times, dtype=torch.float64).cpu()
    except (TypeError, ValueError) as error:
        raise TypeError(f"times must be a vector of numbers, not {times!r}") from error
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be a vector of at least two times, not shape {tuple(times.shape)}")
    ts = times.tolist()
    if not all(map(math.isfinite, ts)):
        raise ValueError("times must be finite")
    falls, rises = (all(map(order, ts[1:], ts[:-1])) for order in (operator.lt, operator.gt))
    if not (falls or rises):
        raise ValueError("times must be strictly monotone: two neighbours are equal or out of order")
    if decreasing and not falls:
        raise ValueError("a reverse equation runs from noise to data: times must decrease (data at 0, noise at T)")
    return ts


@contextmanager
def writing(path) -> Iterator[None]:
    """An ``OSError`` inside, such as a full disk, says which file it was about and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror or error}), and what was there before is untouched: make "
            "room, or take another folder",
        ) from error
