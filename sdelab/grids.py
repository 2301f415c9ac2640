"""Where to evaluate: decreasing times from noise (t_start, default T) to data (t_end, default the process's t_min).

Every grid returns ``steps + 1`` float64 times on the CPU. ``zero=True`` spends the last step on t = 0, where it is a
denoising step: ``steps`` times from t_start to t_end, then 0. Rules that live in the noise-to-signal ratio
sigma/alpha = e^{-lam} start where alpha > 0 and put the first time at t_start itself.
"""

import operator
from collections.abc import Callable
from typing import SupportsIndex

import torch
from torch import Tensor

from ._checks import named
from .process import Process

table: dict[str, Callable[..., Tensor]] = {}


def _grid(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a public grid of ``rule(process, r, t_start, t_end, **parameters)``, r rising from 0 to 1."""

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
        inner = n - 1 if zero else n
        r = torch.linspace(0, 1, inner + 1, dtype=torch.float64)
        times = rule(process, r, start, end, **parameters) if inner else r
        times[0] = start
        if inner:
            times[-1] = end
        return torch.cat([times, times.new_zeros(1)]) if zero else times

    # not functools.wraps: help() shall show the public signature, not the rule's
    grid.__name__ = grid.__qualname__ = rule.__name__
    grid.__doc__ = rule.__doc__
    table[rule.__name__] = grid
    return grid


def _ratio_range(process: Process, start: float, end: float) -> tuple[float, float]:
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


def _poly(process: Process, r: Tensor, start: float, end: float, rho: float) -> Tensor:
    high, low = _ratio_range(process, start, end)
    log_ratio = torch.tensor(low, dtype=r.dtype).log() + (1 - r) ** rho * torch.tensor(high / low, dtype=r.dtype).log()
    return process.t_of_lam(-log_ratio)


@_grid
def uniform(process, r, start, end):
    """Equal steps in t."""
    return start + r * (end - start)


@_grid
def quadratic(process, r, start, end):
    """Equal steps in sqrt(t): finer towards the data. Song, Meng & Ermon (2021), appendix D.2."""
    return (start**0.5 + r * (end**0.5 - start**0.5)) ** 2


@_grid
def logsnr(process, r, start, end):
    """Equal steps in lam, i.e. sigma/alpha in geometric progression. Lu et al. (2022), section 3.3."""
    return _poly(process, r, start, end, 1.0)


@_grid
def exponential(process, r, start, end):
    """The k-diffusion name of :func:`logsnr`: log-uniform sigma/alpha."""
    return _poly(process, r, start, end, 1.0)


@_grid
def polyexponential(process, r, start, end, rho: float = 1.0):
    """lam_start + (1 - (1 - r)^rho) (lam_end - lam_start): log-uniform at rho = 1, finer at low noise above it."""
    return _poly(process, r, start, end, rho)


@_grid
def karras(process, r, start, end, rho: float = 7.0):
    """sigma/alpha = (max^{1/rho} + r (min^{1/rho} - max^{1/rho}))^rho. Karras et al. (2022), eq. 5."""
    high, low = _ratio_range(process, start, end)
    ratio = (high ** (1 / rho) + r * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return process.t_of_lam(-ratio.log())


def make(name: str, process: Process, steps: SupportsIndex, **parameters) -> Tensor:
    """The grid of that name; an unknown one raises ``ValueError`` listing the near ones."""
    return named(table, name, "grid")(process, steps, **parameters)
