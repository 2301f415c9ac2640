"""Affine Gaussian processes: x_t = alpha(t) x_0 + sigma(t) eps, data at t = 0, noise at t = T.

Everything else follows from alpha and sigma^2:

    lam = log(alpha/sigma)      f = alpha'/alpha      g^2 = (sigma^2)' - 2 f sigma^2      dx = f x dt + g dw

Times may be Python floats (giving float64 scalars) or tensors of shape () or (n,); results have the shape, dtype
and device of the times. A process writes down alpha, alpha', sigma^2, (sigma^2)' and, where it has one, the inverse
of lam.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..sde import SDE, Time


def as_time(t: Time) -> Tensor:
    return t if torch.is_tensor(t) and t.is_floating_point() else torch.as_tensor(t, dtype=torch.float64)


def like(c: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape () or (n,) in x's dtype and device, shaped to multiply x of shape (n, ...)."""
    if c.ndim == 0:
        return c.to(x)
    if c.numel() != x.shape[0]:
        raise ValueError(f"{c.numel()} times for a batch of {x.shape[0]}: give one time, or one per sample")
    return c.to(x).reshape((-1,) + (1,) * (x.ndim - 1))


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
        if torch.broadcast_shapes(x0.shape, eps.shape) not in (x0.shape, eps.shape):
            raise ValueError(f"x_0 and eps do not fit: shapes {tuple(x0.shape)} and {tuple(eps.shape)}")
        return like(self.alpha(t), x0) * x0 + like(self.sigma(t), x0) * eps

    def transition(self, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        """(a, std) of x_t | x_s ~ N(a x_s, std^2 I), s <= t: a = alpha_t/alpha_s, std^2 = sigma_t^2 - a^2 sigma_s^2."""
        s, t = as_time(s), as_time(t)
        if (s > t).any():
            raise ValueError(f"the forward transition runs from s to t >= s, not from {s} to {t}")
        still = s == t  # also where alpha = 0 and both logarithms are infinite
        a = torch.where(still, 1.0, (self.log_alpha(t) - self.log_alpha(s)).exp())
        # var_t - a^2 var_s = -var_t expm1(2 (lam_t - lam_s)): no cancellation for short steps
        h = torch.where(still, 0.0, self.lam(t) - self.lam(s))
        return a, (self.var(t) * -torch.expm1(2 * h)).sqrt()

    def sde(self) -> SDE:
        """The forward SDE dx = f(t) x dt + g(t) dw."""
        return SDE(lambda x, t: like(self.f(t), x) * x, lambda x, t: like(self.g(t), x))
