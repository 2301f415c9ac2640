"""The processes of the literature with schedules in continuous time."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Process, Time, as_time


def half_log_sigmoid(lam: Tensor) -> Tensor:
    """log alpha of a variance-preserving process: alpha^2 = 1/(1 + e^{-2 lam})."""
    return 0.5 * torch.nn.functional.logsigmoid(2 * lam)


@dataclass(frozen=True)
class VP(Process):
    """Variance preserving, beta(t) = beta_min + t (beta_max - beta_min): dx = -beta x/2 dt + sqrt(beta) dw.

    log alpha = -1/2 int_0^t beta, sigma^2 = 1 - alpha^2. Song et al. (2021), eq. 11 and 32–33.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    name = "vp"

    def __post_init__(self):
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(f"need 0 < beta_min <= beta_max, not {self.beta_min} and {self.beta_max}")

    def beta(self, t: Time) -> Tensor:
        return self.beta_min + as_time(t) * (self.beta_max - self.beta_min)

    def log_alpha(self, t: Time) -> Tensor:
        t = as_time(t)
        return -0.25 * t * t * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def f(self, t: Time) -> Tensor:
        return -0.5 * self.beta(t)

    def var(self, t: Time) -> Tensor:
        return -torch.expm1(2 * self.log_alpha(t))

    def d_var(self, t: Time) -> Tensor:
        return self.beta(t) * torch.exp(2 * self.log_alpha(t))

    def g2(self, t: Time) -> Tensor:
        return self.beta(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        return self._t_of_log_alpha(half_log_sigmoid(as_time(lam)))

    def _t_of_log_alpha(self, la: Tensor) -> Tensor:
        b = 0.5 * self.beta_min
        return -2 * la / (b + torch.sqrt(b * b - (self.beta_max - self.beta_min) * la))


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-VP: VP's drift with g^2 = beta (1 - alpha^4), so that sigma = 1 - alpha^2. Song et al. (2021), eq. 12."""

    name = "subvp"

    def var(self, t: Time) -> Tensor:
        return torch.expm1(2 * self.log_alpha(t)) ** 2

    def d_var(self, t: Time) -> Tensor:
        return -2 * torch.expm1(2 * self.log_alpha(t)) * super().d_var(t)

    def g2(self, t: Time) -> Tensor:
        return -self.beta(t) * torch.expm1(4 * self.log_alpha(t))

    def t_of_lam(self, lam: Time) -> Tensor:
        ratio = as_time(lam).exp()  # alpha / (1 - alpha^2)
        alpha = 2 * ratio / (1 + torch.sqrt(1 + 4 * ratio**2))
        near_one = 0.5 * torch.log1p(-alpha / ratio)
        return self._t_of_log_alpha(torch.where(ratio > 1, near_one, alpha.log()))


@dataclass(frozen=True)
class ZeroSNR(VP):
    """VP shifted and scaled so that nothing of the data is left at T: alpha = (a(t) - a(1))/(1 - a(1)), a that of VP.

    Lin et al. (2024), "Common diffusion noise schedules and sample steps are flawed", algorithm 1, in continuous
    time; :func:`zero_snr` does it to a chain. At T only x0-, v- and velocity-predictions determine x_0.
    """

    name = "zero_snr"

    @property
    def _last(self) -> float:
        """log a(1)."""
        return -0.25 * (self.beta_max + self.beta_min)

    def log_alpha(self, t: Time) -> Tensor:
        t = as_time(t)
        la, last = super().log_alpha(t), self._last
        to_go = (1 - t) * (0.25 * (1 + t) * (self.beta_max - self.beta_min) + 0.5 * self.beta_min)  # la - last
        late = last + torch.expm1(to_go).log() - math.log(-math.expm1(last))
        return torch.where(la > 0.2 * last, torch.log1p(-torch.expm1(la) / math.expm1(last)), late)

    def d_alpha(self, t: Time) -> Tensor:
        return super().f(t) * super().log_alpha(t).exp() / -math.expm1(self._last)

    def f(self, t: Time) -> Tensor:
        return self.d_alpha(t) / self.alpha(t)

    def d_var(self, t: Time) -> Tensor:
        return -2 * self.alpha(t) * self.d_alpha(t)

    def g2(self, t: Time) -> Tensor:
        return -2 * self.f(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        la = half_log_sigmoid(as_time(lam))
        return self._t_of_log_alpha(torch.log1p(-torch.expm1(la) * math.expm1(self._last)))


@dataclass(frozen=True)
class VE(Process):
    """Variance exploding: dx = g dw with sigma^2 = s(t)^2 - s(0)^2, s(t) = sigma_min (sigma_max/sigma_min)^t.

    Song et al. (2021), eq. 9 and 30–31; the exact kernel subtracts s(0)^2 and is exact at t = 0, where public code
    often keeps s(t)^2.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    name = "ve"
    t_min = 1e-5

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"need 0 < sigma_min < sigma_max, not {self.sigma_min} and {self.sigma_max}")

    @property
    def _rate(self) -> float:
        return 2 * math.log(self.sigma_max / self.sigma_min)

    def log_alpha(self, t: Time) -> Tensor:
        return torch.zeros_like(as_time(t))

    def f(self, t: Time) -> Tensor:
        return torch.zeros_like(as_time(t))

    def var(self, t: Time) -> Tensor:
        return self.sigma_min**2 * torch.expm1(self._rate * as_time(t))

    def d_var(self, t: Time) -> Tensor:
        return self.sigma_min**2 * self._rate * torch.exp(self._rate * as_time(t))

    def t_of_lam(self, lam: Time) -> Tensor:
        return torch.log1p(torch.exp(-2 * as_time(lam)) / self.sigma_min**2) / self._rate


@dataclass(frozen=True)
class EDM(Process):
    """x_t = x_0 + t eps: time *is* the noise level, from 0 to T = sigma_max. Karras et al. (2022), section 3."""

    sigma_max: float = 80.0
    name = "edm"
    t_min = 0.002

    def __post_init__(self):
        if not self.sigma_max > self.t_min:
            raise ValueError(f"sigma_max must exceed {self.t_min}, not {self.sigma_max}")

    @property
    def T(self) -> float:
        return self.sigma_max

    def log_alpha(self, t: Time) -> Tensor:
        return torch.zeros_like(as_time(t))

    def f(self, t: Time) -> Tensor:
        return torch.zeros_like(as_time(t))

    def var(self, t: Time) -> Tensor:
        return as_time(t) ** 2

    def d_var(self, t: Time) -> Tensor:
        return 2 * as_time(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        return torch.exp(-as_time(lam))


@dataclass(frozen=True)
class Cosine(Process):
    """alpha = cos(theta)/cos(theta_0), theta = pi/2 (t + s)/(1 + s); variance preserving.

    Nichol & Dhariwal (2021), eq. 17. T = 0.9946 keeps alpha(T) > 0, as in Lu et al. (2022), appendix D.
    """

    s: float = 0.008
    T: float = 0.9946
    name = "cosine"

    def __post_init__(self):
        if not self.s >= 0 or not 0 < self.T <= 1:
            raise ValueError(f"need s >= 0 and 0 < T <= 1, not {self.s} and {self.T}")

    @property
    def _c(self) -> float:
        return 0.5 * math.pi / (1 + self.s)

    @property
    def _theta0(self) -> float:
        return self._c * self.s

    def alpha(self, t: Time) -> Tensor:
        return torch.cos(self._c * (as_time(t) + self.s)) / math.cos(self._theta0)

    def log_alpha(self, t: Time) -> Tensor:
        return self.alpha(t).log()

    def f(self, t: Time) -> Tensor:
        return -self._c * torch.tan(self._c * (as_time(t) + self.s))

    def var(self, t: Time) -> Tensor:  # cos^2 a - cos^2 b = sin(b - a) sin(b + a): no cancellation at t = 0
        step = self._c * as_time(t)
        return torch.sin(step) * torch.sin(step + 2 * self._theta0) / math.cos(self._theta0) ** 2

    def d_var(self, t: Time) -> Tensor:
        return self._c * torch.sin(2 * self._c * (as_time(t) + self.s)) / math.cos(self._theta0) ** 2

    def t_of_lam(self, lam: Time) -> Tensor:
        alpha = half_log_sigmoid(as_time(lam)).exp()
        return torch.acos(alpha * math.cos(self._theta0)) / self._c - self.s
