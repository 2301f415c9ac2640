"""Affine Gaussian processes: x_t = alpha(t) x_0 + sigma(t) eps, data at t = 0, noise at t = T.

Everything else follows from alpha and sigma^2:

    lam = log(alpha/sigma)      f = alpha'/alpha      g^2 = (sigma^2)' - 2 f sigma^2      dx = f x dt + g dw

Times may be Python floats (giving float64 scalars) or tensors of shape () or (n,); results have the shape, dtype
and device of the times. A process writes down alpha, alpha', sigma^2, (sigma^2)' and, where it has one, the inverse
of lam.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ._checks import named
from .sde import SDE

Time = float | Tensor


def as_time(t: Time) -> Tensor:
    return t if torch.is_tensor(t) and t.is_floating_point() else torch.as_tensor(t, dtype=torch.float64)


def like(c: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape () or (n,) in x's dtype and device, shaped to multiply x of shape (n, ...)."""
    if c.ndim and c.shape[0] != x.shape[0]:
        raise ValueError(f"{c.shape[0]} times for a batch of {x.shape[0]}: give one time, or one per sample")
    return c.to(x).reshape(c.shape + (1,) * (x.ndim - c.ndim)) if c.ndim else c.to(x)


@dataclass(frozen=True)
class Process:
    """Base of all affine Gaussian processes; see the module's docstring. ``t_min`` is a sensible last sampling time."""

    T = 1.0
    t_min = 1e-3
    name = "process"

    def log_alpha(self, t: Time) -> Tensor:
        raise NotImplementedError

    def f(self, t: Time) -> Tensor:
        """Drift coefficient alpha'/alpha of dx = f x dt + g dw."""
        raise NotImplementedError

    def var(self, t: Time) -> Tensor:
        """sigma(t)^2."""
        raise NotImplementedError

    def d_var(self, t: Time) -> Tensor:
        """(sigma^2)'."""
        raise NotImplementedError

    def alpha(self, t: Time) -> Tensor:
        return self.log_alpha(t).exp()

    def d_alpha(self, t: Time) -> Tensor:
        """alpha' = f alpha."""
        return self.f(t) * self.alpha(t)

    def sigma(self, t: Time) -> Tensor:
        return self.var(t).sqrt()

    def d_sigma(self, t: Time) -> Tensor:
        """sigma' = (sigma^2)' / (2 sigma); infinite at t = 0 for VP-like processes."""
        return self.d_var(t) / (2 * self.sigma(t))

    def lam(self, t: Time) -> Tensor:
        """Half the log signal-to-noise ratio, log(alpha/sigma)."""
        return self.log_alpha(t) - 0.5 * self.var(t).log()

    def g2(self, t: Time) -> Tensor:
        """Squared diffusion coefficient (sigma^2)' - 2 f sigma^2."""
        return self.d_var(t) - 2 * self.f(t) * self.var(t)

    def g(self, t: Time) -> Tensor:
        return self.g2(t).sqrt()

    def t_of_lam(self, lam: Time) -> Tensor:
        """Inverse of :meth:`lam`: bisection (lam decreases in t), to float64 rounding; closed forms override it."""
        lam = as_time(lam)
        low, high = torch.zeros_like(lam, dtype=torch.float64), torch.full_like(lam, self.T, dtype=torch.float64)
        for _ in range(100):
            middle = 0.5 * (low + high)
            above = self.lam(middle) > lam
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        return (0.5 * (low + high)).to(lam)

    def perturb(self, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
        """x_t = alpha(t) x_0 + sigma(t) eps; x_0 and eps of shape (n, ...), t one time or one per sample."""
        t = as_time(t)
        return like(self.alpha(t), x0) * x0 + like(self.sigma(t), x0) * eps

    def transition(self, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        """(a, std) of x_t | x_s ~ N(a x_s, std^2 I), s <= t: a = alpha_t/alpha_s, std^2 = sigma_t^2 - a^2 sigma_s^2."""
        s, t = as_time(s), as_time(t)
        if (s > t).any():
            raise ValueError(f"the forward transition runs from s to t >= s, not from {s} to {t}")
        a = (self.log_alpha(t) - self.log_alpha(s)).exp()
        # var_t - a^2 var_s = -var_t expm1(2 (lam_t - lam_s)): no cancellation for short steps
        h = self.lam(t) - self.lam(s)
        return a, torch.where(self.var(s) == 0, self.var(t), -self.var(t) * torch.expm1(2 * h)).sqrt()

    def sde(self) -> SDE:
        """The forward SDE dx = f(t) x dt + g(t) dw."""
        return SDE(lambda x, t: like(self.f(t), x) * x, lambda x, t: like(self.g(t), x))


def _half_log_sigmoid(lam: Tensor) -> Tensor:
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
        return self._t_of_log_alpha(_half_log_sigmoid(as_time(lam)))

    def _t_of_log_alpha(self, la: Tensor) -> Tensor:
        b = 0.5 * self.beta_min
        return -2 * la / (b + torch.sqrt(b * b - (self.beta_max - self.beta_min) * la))


@dataclass(frozen=True)
class SubVP(VP):
    """Sub-VP: VP's drift with g^2 = beta (1 - alpha^4), so that sigma = 1 - alpha^2. Song et al. (2021), eq. 13."""

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
        if self.sigma_max <= self.t_min:
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

    Nichol & Dhariwal (2021), eq. 17. T = 0.9946 keeps alpha(T) > 0, as in Lu et al. (2022), appendix D.4.
    """

    s: float = 0.008
    T: float = 0.9946
    name = "cosine"

    def __post_init__(self):
        if self.s < 0 or not 0 < self.T <= 1:
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
        alpha = _half_log_sigmoid(as_time(lam)).exp()
        return torch.acos(alpha * math.cos(self._theta0)) / self._c - self.s


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """Straight lines x_t = (1 - t) x_0 + t eps; alpha(T) = 0. Liu et al. (2023); Lipman et al. (2023), OT path."""

    name = "flow"

    def log_alpha(self, t: Time) -> Tensor:
        return torch.log1p(-as_time(t))

    def alpha(self, t: Time) -> Tensor:
        return 1 - as_time(t)

    def f(self, t: Time) -> Tensor:
        return -1 / (1 - as_time(t))

    def d_alpha(self, t: Time) -> Tensor:
        return -torch.ones_like(as_time(t))

    def var(self, t: Time) -> Tensor:
        return as_time(t) ** 2

    def d_var(self, t: Time) -> Tensor:
        return 2 * as_time(t)

    def d_sigma(self, t: Time) -> Tensor:
        return torch.ones_like(as_time(t))

    def t_of_lam(self, lam: Time) -> Tensor:
        return torch.sigmoid(-as_time(lam))


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
        return (knots[n] + slopes[n] * (t - n / len(self.betas))).to(t)

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
        la = _half_log_sigmoid(lam).double()
        knots, slopes = self._knots.to(la.device), self._slopes.to(la.device)  # type: ignore[attr-defined]
        n = (torch.searchsorted(-knots, -la) - 1).clamp(0, len(self.betas) - 1)
        return (n / len(self.betas) + (la - knots[n]) / slopes[n]).to(lam)


table: dict[str, type[Process]] = {c.name: c for c in (VP, SubVP, VE, EDM, Cosine, RectifiedFlow, DiscreteBetas)}


def make(name: str, **parameters) -> Process:
    """The process of that name ("vp", "subvp", "ve", "edm", "cosine", "flow", "ddpm") with the given parameters."""
    return named(table, name, "process")(**parameters)
