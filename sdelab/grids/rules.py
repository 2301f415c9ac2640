"""Grids that a formula gives, in t or in the noise-to-signal ratio."""

import math

import torch
from torch import Tensor

from ..process import VP, Process
from .base import grid_rule, ratio_range


def _poly(process: Process, r: Tensor, start: float, end: float, rho: float) -> Tensor:
    high, low = ratio_range(process, start, end)
    log_ratio = torch.tensor(low, dtype=r.dtype).log() + (1 - r) ** rho * torch.tensor(high / low, dtype=r.dtype).log()
    return process.t_of_lam(-log_ratio)


@grid_rule()
def uniform(process, r, start, end):
    """Equal steps in t."""
    return start + r * (end - start)


@grid_rule()
def quadratic(process, r, start, end):
    """Equal steps in sqrt(t): finer towards the data. Song, Meng & Ermon (2021), appendix D.2."""
    return (start**0.5 + r * (end**0.5 - start**0.5)) ** 2


@grid_rule()
def logsnr(process, r, start, end):
    """Equal steps in lam, i.e. sigma/alpha in geometric progression. Lu et al. (2022), section 3.3."""
    return _poly(process, r, start, end, 1.0)


@grid_rule()
def exponential(process, r, start, end):
    """The k-diffusion name of :func:`logsnr`: log-uniform sigma/alpha."""
    return _poly(process, r, start, end, 1.0)


@grid_rule()
def polyexponential(process, r, start, end, rho: float = 1.0):
    """lam_start + (1 - (1 - r)^rho) (lam_end - lam_start): log-uniform at rho = 1, finer at low noise above it."""
    return _poly(process, r, start, end, rho)


@grid_rule()
def karras(process, r, start, end, rho: float = 7.0):
    """sigma/alpha = (max^{1/rho} + r (min^{1/rho} - max^{1/rho}))^rho. Karras et al. (2022), eq. 5."""
    high, low = ratio_range(process, start, end)
    ratio = (high ** (1 / rho) + r * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return process.t_of_lam(-ratio.log())


@grid_rule()
def normal(process, r, start, end):
    """ComfyUI's name of :func:`uniform`: equal steps in t."""
    return start + r * (end - start)


@grid_rule()
def vp(process, r, start, end, beta_min: float = 0.1, beta_max: float = 20.0):
    """Equal steps of the linear VP's own time, on any process: k-diffusion's "vp". Song et al. (2021), appendix C."""
    high, low = ratio_range(process, start, end)
    own = VP(beta_min, beta_max)
    ends = own.t_of_lam(-torch.tensor([high, low], dtype=r.dtype).log())
    return process.t_of_lam(own.lam(ends[0] + r * (ends[1] - ends[0])))


@grid_rule()
def kl_optimal(process, r, start, end):
    """Equal steps of the angle arctan(sigma/alpha), "KL Optimal" in image tools. Sabour et al. (2024)."""
    ends = torch.tensor([start, end], dtype=r.dtype)
    first, last = torch.atan2(process.sigma(ends), process.alpha(ends)).tolist()
    angle = first + r * (last - first)
    return process.t_of_lam((angle.cos() / angle.sin()).log())


@grid_rule()
def laplace(process, r, start, end, mu: float = 0.0, b: float = 0.5):
    """log sigma/alpha at quantiles of Laplace(mu, b), "Laplace" in image tools. Hang et al. (2024).

    log sigma/alpha = mu - b sign(1/2 - r) log(1 - 2|1/2 - r| + 1e-5), kept between its values at the ends.
    """
    high, low = ratio_range(process, start, end)
    log_ratio = mu - b * torch.sign(0.5 - r) * torch.log(1 - 2 * (0.5 - r).abs() + 1e-5)
    return process.t_of_lam(-log_ratio.clamp(math.log(low), math.log(high)))
