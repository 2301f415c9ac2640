"""What every grid shares: the checks, the ends, and the table of grids by name."""

import operator
from collections.abc import Callable
from typing import SupportsIndex

import torch
from torch import Tensor

from .._checks import named
from ..process import Process

table: dict[str, Callable[..., Tensor]] = {}


def grid_rule(to_zero: bool = False, inside: bool = False) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Make a public grid of ``rule(process, r, t_start, t_end, **parameters)``, r rising from 0 to 1.

    to_zero: the published rule itself ends at 0, so that zero=True without t_end gives it the range down to 0.
    inside: the rule says where it starts, below t_start.
    """

    def register(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def grid(
            process: Process,
            steps: SupportsIndex,
            t_start: float | None = None,
            t_end: float | None = None,
            zero: bool = False,
            **parameters,
        ) -> Tensor:
            start = process.T if t_start is None else float(t_start)
            end = process.t_min if t_end is None else float(t_end)
            if not hasattr(steps, "__index__") or (n := operator.index(steps)) < 1:
                raise ValueError(f"steps must be a positive integer, not {steps!r}")
            if not 0 <= end < start <= process.T:
                raise ValueError(f"need 0 <= t_end < t_start <= T = {process.T}, not t_end = {end}, t_start = {start}")
            append = zero and not (to_zero and t_end is None)
            end = end if append or not zero else 0.0
            inner = n - 1 if append else n
            r = torch.linspace(0, 1, inner + 1, dtype=torch.float64)
            times = rule(process, r, start, end, **parameters) if inner else r
            if not (inside and inner):
                times[0] = start
            if inner:
                times[-1] = end
            if not (times.diff() < 0).all():
                raise ValueError(
                    f"{rule.__name__} has no {inner} decreasing steps from t = {start:.6g} to {end:.6g} on "
                    f"{process.name!r}: take another number of steps, another range or another grid"
                )
            return torch.cat([times, times.new_zeros(1)]) if append else times

        # not functools.wraps: help() shall show the public signature, not the rule's
        grid.__name__ = grid.__qualname__ = rule.__name__
        grid.__doc__ = rule.__doc__
        grid.to_zero, grid.inside = to_zero, inside  # type: ignore[attr-defined]
        table[rule.__name__] = grid
        return grid

    return register


def ratio_range(process: Process, start: float, end: float) -> tuple[float, float]:
    """sigma/alpha at both ends; where alpha = 0 the ratio is infinite, so step a thousandth inside."""
    high = process.lam(start)
    if not torch.isfinite(high):
        high = process.lam(start * (1 - 1e-3))
    low = process.lam(end)
    if not torch.isfinite(low):
        raise ValueError(
            f"this grid is graded in log-SNR, which is infinite at t_end = {end}: use t_end > 0 (and zero=True)"
        )
    return float((-high).exp()), float((-low).exp())


def make(name: str, process: Process, steps: SupportsIndex, **parameters) -> Tensor:
    """The grid of that name; an unknown one raises ``ValueError`` listing the near ones."""
    return named(table, name, "grid")(process, steps, **parameters)
