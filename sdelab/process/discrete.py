"""A finite chain of betas as a process in continuous time."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .base import Process, Time, as_time
from .continuous import half_log_sigmoid


def ddpm_betas(n: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """The n linear betas of Ho et al. (2020), section 4."""
    return torch.linspace(first, last, n, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class DiscreteBetas(Process):
    """A DDPM chain x_n = sqrt(1 - beta_n) x_{n-1} + sqrt(beta_n) z as a process: exact at the knots t = n/N.

    Between knots log alpha is linear in t, so the drift is constant on each step. Ho et al. (2020), eq. 2 and 4.
    """

    betas: Tensor = field(default_factory=ddpm_betas)
    name = "ddpm"

    def __post_init__(self):
        betas = torch.as_tensor(self.betas, dtype=torch.float64)
        if betas.ndim != 1 or len(betas) < 1 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError("betas must be a vector of numbers strictly between 0 and 1")
        object.__setattr__(self, "betas", betas)
        object.__setattr__(self, "_slopes", 0.5 * torch.log1p(-betas) * len(betas))
        object.__setattr__(self, "_knots", torch.cat([betas.new_zeros(1), 0.5 * torch.log1p(-betas).cumsum(0)]))
        object.__setattr__(self, "t_min", 1 / len(betas))

    def _cell(self, t: Tensor) -> Tensor:
        """Number of the step (n - 1)/N < t <= n/N, counted from 0."""
        return (torch.ceil(t.double() * len(self.betas) - 1e-9).long() - 1).clamp(0, len(self.betas) - 1)

    def log_alpha(self, t: Time) -> Tensor:
        t = as_time(t)
        n = self._cell(t)
        knots, slopes = self._knots.to(t.device), self._slopes.to(t.device)  # type: ignore[attr-defined]
        return (knots[n] + slopes[n] * (t - n.double() / len(self.betas))).to(t)

    def f(self, t: Time) -> Tensor:
        t = as_time(t)
        return self._slopes.to(t.device)[self._cell(t)].to(t)  # type: ignore[attr-defined]

    def var(self, t: Time) -> Tensor:
        return -torch.expm1(2 * self.log_alpha(t))

    def d_var(self, t: Time) -> Tensor:
        return -2 * self.f(t) * torch.exp(2 * self.log_alpha(t))

    def g2(self, t: Time) -> Tensor:
        return -2 * self.f(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        lam = as_time(lam)
        la = half_log_sigmoid(lam).double()
        knots, slopes = self._knots.to(la.device), self._slopes.to(la.device)  # type: ignore[attr-defined]
        n = (torch.searchsorted(-knots, -la) - 1).clamp(0, len(self.betas) - 1)
        return (n.double() / len(self.betas) + (la - knots[n]) / slopes[n]).to(lam)
