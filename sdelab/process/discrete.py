"""A finite chain of betas as a process in continuous time."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .base import Process, Time, as_time
from .continuous import half_log_sigmoid


def ddpm_betas(n: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """The n linear betas of Ho et al. (2020), section 4."""
    return torch.linspace(first, last, n, dtype=torch.float64)


def stable_diffusion_betas(n: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """Linear in sqrt(beta), "scaled linear": Stable Diffusion. Rombach et al. (2022)."""
    return torch.linspace(first**0.5, last**0.5, n, dtype=torch.float64) ** 2


def cosine_betas(n: int = 1000, s: float = 0.008, cap: float = 0.999) -> Tensor:
    """min(1 - c(k/n)/c((k-1)/n), cap), c(t) = cos^2(pi/2 (t + s)/(1 + s)). Nichol & Dhariwal (2021), eq. 17."""
    c = torch.cos(0.5 * math.pi * (torch.linspace(0, 1, n + 1, dtype=torch.float64) + s) / (1 + s)) ** 2
    return (1 - c[1:] / c[:-1]).clamp_max(cap)


def zero_snr(betas: Tensor) -> Tensor:
    """Betas whose last is 1, so that alpha(T) = 0: every alpha_n shifted and scaled, the first kept.

    Lin et al. (2024), "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
    """
    alpha = torch.cumprod(1 - torch.as_tensor(betas, dtype=torch.float64), 0).sqrt()
    alpha = (alpha - alpha[-1]) * (alpha[0] / (alpha[0] - alpha[-1]))
    return 1 - torch.cat([alpha[:1], alpha[1:] / alpha[:-1]]) ** 2


def zero_snr_betas(**parameters) -> Tensor:
    """Stable Diffusion's betas at zero terminal SNR."""
    return zero_snr(stable_diffusion_betas(**parameters))


@dataclass(frozen=True, eq=False)
class DiscreteBetas(Process):
    """A DDPM chain x_n = sqrt(1 - beta_n) x_{n-1} + sqrt(beta_n) z as a process: exact at the knots t = n/N.

    Between knots log alpha is linear in t, so the drift is constant on each step. A last beta of 1 (zero terminal SNR)
    lets alpha itself fall linearly to 0 over the last step. Ho et al. (2020), eq. 2 and 4.
    """

    betas: Tensor = field(default_factory=ddpm_betas)
    name = "ddpm"

    def __post_init__(self):
        betas = torch.as_tensor(self.betas, dtype=torch.float64)
        if betas.ndim != 1 or len(betas) < 1 or not (betas > 0).all() or not (betas[:-1] < 1).all() or betas[-1] > 1:
            raise ValueError("betas must be a vector of numbers strictly between 0 and 1 (the last may be 1)")
        object.__setattr__(self, "betas", betas)
        log_ratio = 0.5 * torch.log1p(-betas)
        object.__setattr__(self, "_slopes", log_ratio * len(betas))
        object.__setattr__(self, "_knots", torch.cat([betas.new_zeros(1), log_ratio.cumsum(0)]))
        object.__setattr__(self, "t_min", 1 / len(betas))

    def _cell(self, t: Tensor) -> Tensor:
        """Number of the step (n - 1)/N < t <= n/N, counted from 0."""
        return (torch.ceil(t.double() * len(self.betas) - 1e-9).long() - 1).clamp(0, len(self.betas) - 1)

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """log alpha at the step's start, its slope, steps since then, and whether alpha falls to 0 in this step."""
        n, N = self._cell(t), len(self.betas)
        knots, slopes = self._knots.to(t.device), self._slopes.to(t.device)  # type: ignore[attr-defined]
        return knots[n], slopes[n], t.double() * N - n, slopes[n] == -math.inf

    def log_alpha(self, t: Time) -> Tensor:
        t = as_time(t)
        start, slope, passed, falls = self._at(t)
        step = torch.where(falls, torch.log1p(-passed.clamp(0, 1)), slope * (passed / len(self.betas)))
        return (start + step).to(t)

    def f(self, t: Time) -> Tensor:
        t = as_time(t)
        _, slope, passed, falls = self._at(t)
        return torch.where(falls, -len(self.betas) / (1 - passed.clamp(0, 1)), slope).to(t)

    def d_alpha(self, t: Time) -> Tensor:
        t = as_time(t)
        start, slope, _, falls = self._at(t)
        return torch.where(falls, -len(self.betas) * start.exp(), slope * self.alpha(t)).to(t)

    def var(self, t: Time) -> Tensor:
        return -torch.expm1(2 * self.log_alpha(t))

    def d_var(self, t: Time) -> Tensor:
        return -2 * self.alpha(t) * self.d_alpha(t)

    def g2(self, t: Time) -> Tensor:
        return -2 * self.f(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        lam = as_time(lam)
        la, N = half_log_sigmoid(lam).double(), len(self.betas)
        knots, slopes = self._knots.to(la.device), self._slopes.to(la.device)  # type: ignore[attr-defined]
        n = (torch.searchsorted(-knots, -la) - 1).clamp(0, N - 1)
        down = la - knots[n]
        passed = torch.where(slopes[n] == -math.inf, -torch.expm1(down), down / slopes[n] * N)
        return ((n + passed) / N).to(lam)
