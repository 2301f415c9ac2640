"""General Itô SDEs with diagonal noise, dx = a(x, t) dt + b(x, t) dw, and four that every reader meets."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Time = float | Tensor  # one time, or one per sample
Field = Callable[[Tensor, Time], Tensor]


class SDE:
    """dx = drift(x, t) dt + diffusion(x, t) dw (Itô; each coordinate has its own w).

    ``drift`` returns a tensor of x's shape (n, ...); ``diffusion`` a tensor that broadcasts to it, or a number.
    ``diffusion=None`` makes it an ODE.
    """

    def __init__(self, drift: Field, diffusion: Callable[[Tensor, Time], Tensor | float] | None = None):
        if not callable(drift) or not (diffusion is None or callable(diffusion)):
            raise TypeError("drift and diffusion are functions of (x, t); for a constant write lambda x, t: 0.5")
        self.drift = drift
        self.diffusion = diffusion or (lambda x, t: 0.0)
        self.stochastic = diffusion is not None

    def with_slope(self, x: Tensor, t: Time) -> tuple[Tensor | float, Tensor | float]:
        """(b, db/dx) for diagonal noise, by differentiating the sum of b: coordinate i of b may depend on coordinate i
        of x alone. A b of another shape than x, or that does not depend on it, has slope 0. The slope is differentiable
        where gradients are on."""
        outer = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            if outer and x.requires_grad:
                y = x.view_as(x)
            else:
                y = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
            b = self.diffusion(y, t)
            if not torch.is_tensor(b):
                return b, 0.0
            slope: Tensor | float | None = None
            if b.shape == x.shape and b.requires_grad:
                (slope,) = torch.autograd.grad(b, y, torch.ones_like(b), create_graph=outer, allow_unused=True)
        return b if outer else b.detach(), 0.0 if slope is None else slope

    def stratonovich(self, x: Tensor, t: Time, sign: float = 1.0) -> Tensor:
        """The drift of the same equation in Stratonovich's sense, a - b b'/2; ``sign`` is that of dt."""
        b, slope = self.with_slope(x, t)
        a = self.drift(x, t)
        return a - (0.5 * sign) * b * slope if torch.is_tensor(slope) else a


class Stratonovich(SDE):
    """dx = drift(x, t) dt + diffusion(x, t) o dw in Stratonovich's sense, run forwards in time.

    It is the Itô equation with drift + b b'/2 (by automatic differentiation), so every solver takes it; the schemes
    of Stratonovich's kind take ``drift`` itself.
    """

    def __init__(self, drift: Field, diffusion: Callable[[Tensor, Time], Tensor | float]):
        super().__init__(drift, diffusion)
        self._given, self.drift = drift, self._ito

    def _ito(self, x: Tensor, t: Time) -> Tensor:
        b, slope = self.with_slope(x, t)
        a = self._given(x, t)
        return a + 0.5 * b * slope if torch.is_tensor(slope) else a

    def stratonovich(self, x: Tensor, t: Time, sign: float = 1.0) -> Tensor:
        return self._given(x, t)


class OU(SDE):
    """Ornstein–Uhlenbeck: dx = theta (mu - x) dt + sigma dw, with its exact Gaussian transition."""

    def __init__(self, theta: float = 1.0, mu: float = 0.0, sigma: float = 1.0):
        if not theta > 0:
            raise ValueError(f"OU needs theta > 0 to have a stationary law, not {theta}")
        self.theta, self.mu, self.sigma = theta, mu, sigma
        super().__init__(lambda x, t: theta * (mu - x), lambda x, t: sigma)

    def mean(self, x0, t: float):
        """E[x_t | x_0] = mu + (x_0 - mu) e^{-theta t}."""
        return self.mu + (x0 - self.mu) * math.exp(-self.theta * t)

    def std(self, t: float) -> float:
        """Std[x_t | x_0] = sigma sqrt((1 - e^{-2 theta t}) / (2 theta))."""
        return self.sigma * math.sqrt(-math.expm1(-2 * self.theta * t) / (2 * self.theta))


class GBM(SDE):
    """Geometric Brownian motion: dx = mu x dt + sigma x dw; multiplicative noise, outside the affine world."""

    def __init__(self, mu: float = 0.1, sigma: float = 0.5):
        self.mu, self.sigma = mu, sigma
        super().__init__(lambda x, t: mu * x, lambda x, t: sigma * x)

    def mean(self, x0, t: float):
        """E[x_t | x_0] = x_0 e^{mu t}."""
        return x0 * math.exp(self.mu * t)

    def exact_path(self, x0: Tensor, t: float, w: Tensor) -> Tensor:
        """x_t = x_0 exp((mu - sigma^2/2) t + sigma W_t), by Itô's formula for log x."""
        return x0 * torch.exp((self.mu - 0.5 * self.sigma**2) * t + self.sigma * w)


class DoubleWell(SDE):
    """dx = -V'(x) dt + sigma dw with V = barrier (x^2 - 1)^2; stationary density proportional to exp(-2V/sigma^2)."""

    def __init__(self, barrier: float = 1.0, sigma: float = 0.7):
        self.barrier, self.sigma = barrier, sigma
        super().__init__(lambda x, t: -4 * barrier * x * (x * x - 1), lambda x, t: sigma)

    def potential(self, x: Tensor) -> Tensor:
        return self.barrier * (x * x - 1) ** 2

    def log_stationary(self, x: Tensor) -> Tensor:
        """Log of the stationary density up to a constant: -2 V(x) / sigma^2."""
        return -2 * self.potential(x) / self.sigma**2


class Langevin(SDE):
    """Overdamped Langevin dynamics dx = score(x) dt + sqrt(2 tau) dw; stationary law p^(1/tau), p itself at tau = 1."""

    def __init__(self, score: Callable[[Tensor], Tensor], temperature: float = 1.0):
        if not temperature >= 0:
            raise ValueError(f"temperature must not be negative, not {temperature}")
        self.score, self.temperature = score, temperature
        noise = (lambda x, t: math.sqrt(2 * temperature)) if temperature > 0 else None
        super().__init__(lambda x, t: score(x), noise)
