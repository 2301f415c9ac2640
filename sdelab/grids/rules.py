"""Grids that a formula gives, in t or in the noise-to-signal ratio."""

import torch
from torch import Tensor

from ..process import Process
from .base import grid_rule, ratio_range


def _poly(process: Process, r: Tensor, start: float, end: float, rho: float) -> Tensor:
    high, low = ratio_range(process, start, end)
    log_ratio = torch.tensor(low, dtype=r.dtype).log() + (1 - r) ** rho * torch.tensor(high / low, dtype=r.dtype).log()
    return process.t_of_lam(-log_ratio)


@grid_rule
def uniform(process, r, start, end):
    """Equal steps in t."""
    return start + r * (end - start)


@grid_rule
def quadratic(process, r, start, end):
    """Equal steps in sqrt(t): finer towards the data. Song, Meng & Ermon (2021), appendix D.2."""
    return (start**0.5 + r * (end**0.5 - start**0.5)) ** 2


@grid_rule
def logsnr(process, r, start, end):
    """Equal steps in lam, i.e. sigma/alpha in geometric progression. Lu et al. (2022), section 3.3."""
    return _poly(process, r, start, end, 1.0)


@grid_rule
def exponential(process, r, start, end):
    """The k-diffusion name of :func:`logsnr`: log-uniform sigma/alpha."""
    return _poly(process, r, start, end, 1.0)


@grid_rule
def polyexponential(process, r, start, end, rho: float = 1.0):
    """lam_start + (1 - (1 - r)^rho) (lam_end - lam_start): log-uniform at rho = 1, finer at low noise above it."""
    return _poly(process, r, start, end, rho)


@grid_rule
def karras(process, r, start, end, rho: float = 7.0):
    """sigma/alpha = (max^{1/rho} + r (min^{1/rho} - max^{1/rho}))^rho. Karras et al. (2022), eq. 5."""
    high, low = ratio_range(process, start, end)
    ratio = (high ** (1 / rho) + r * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return process.t_of_lam(-ratio.log())
