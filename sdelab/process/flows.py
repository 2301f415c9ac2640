"""Flow paths: x_t = alpha x_0 + sigma eps with alpha(T) = 0, so that the state at T is pure noise.

Flow-matching papers put the noise at time 0 and the data at 1; here data is at 0, as everywhere in this package.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import named
from .base import Process, Time, as_time


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


@dataclass(frozen=True)
class Polynomial(Process):
    """alpha = (1 - t)^n, sigma = 1 - alpha: the straight flow at n = 1, more time near the noise above it.

    Lipman et al. (2024), "Flow matching guide and code", polynomial convex scheduler.
    """

    n: float = 2.0
    name = "polynomial"

    def __post_init__(self):
        if not self.n >= 1:
            raise ValueError(f"the exponent n must be at least 1, not {self.n}")

    def log_alpha(self, t: Time) -> Tensor:
        return self.n * torch.log1p(-as_time(t))

    def f(self, t: Time) -> Tensor:
        return -self.n / (1 - as_time(t))

    def d_alpha(self, t: Time) -> Tensor:
        return -self.n * (1 - as_time(t)) ** (self.n - 1)

    def sigma(self, t: Time) -> Tensor:
        return -torch.expm1(self.log_alpha(t))

    def d_sigma(self, t: Time) -> Tensor:
        return -self.d_alpha(t)

    def var(self, t: Time) -> Tensor:
        return self.sigma(t) ** 2

    def d_var(self, t: Time) -> Tensor:
        return -2 * self.sigma(t) * self.d_alpha(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        return -torch.expm1(torch.nn.functional.logsigmoid(as_time(lam)) / self.n)


@dataclass(frozen=True)
class Trigonometric(Process):
    """alpha = cos(pi t/2), sigma = sin(pi t/2): the variance-preserving flow. Ma et al. (2024), SiT, "GVP"."""

    name = "trig"

    @property
    def _rate(self) -> float:
        """Angle per unit of t."""
        return 0.5 * math.pi / self.T

    @property
    def scale(self) -> float:
        """Standard deviation of the noise at T."""
        return 1.0

    def alpha(self, t: Time) -> Tensor:
        return torch.sin(self._rate * (self.T - as_time(t)))  # exactly 0 at T

    def log_alpha(self, t: Time) -> Tensor:
        return self.alpha(t).log()

    def f(self, t: Time) -> Tensor:
        return self.d_alpha(t) / self.alpha(t)

    def d_alpha(self, t: Time) -> Tensor:
        return -self._rate * torch.sin(self._rate * as_time(t))

    def sigma(self, t: Time) -> Tensor:
        return self.scale * torch.sin(self._rate * as_time(t))

    def d_sigma(self, t: Time) -> Tensor:
        return self.scale * self._rate * self.alpha(t)

    def var(self, t: Time) -> Tensor:
        return self.sigma(t) ** 2

    def d_var(self, t: Time) -> Tensor:
        return 2 * self.sigma(t) * self.d_sigma(t)

    def t_of_lam(self, lam: Time) -> Tensor:
        return torch.atan(torch.exp(-as_time(lam)) / self.scale) / self._rate


@dataclass(frozen=True)
class TrigFlow(Trigonometric):
    """x_t = cos(t) x_0 + sin(t) z with z ~ N(0, sigma_data^2 I): time is an angle, T = pi/2. Lu & Song (2024), sCM.

    With data of standard deviation sigma_data the state keeps that deviation, and the network of the paper predicts
    the velocity divided by sigma_data.
    """

    sigma_data: float = 0.5
    name = "trigflow"
    T = 0.5 * math.pi

    def __post_init__(self):
        if not self.sigma_data > 0:
            raise ValueError(f"sigma_data is the data's standard deviation: it must be positive, not {self.sigma_data}")

    @property
    def scale(self) -> float:
        return self.sigma_data


# a(t), a'(t), b(t), b'(t) of a path, exactly 0 where they end
_PATHS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]] = {
    "linear": lambda t: (1 - t, 0 * t - 1, t, 0 * t + 1),
    "trig": lambda t: (
        torch.sin(0.5 * math.pi * (1 - t)),
        -0.5 * math.pi * torch.sin(0.5 * math.pi * t),
        torch.sin(0.5 * math.pi * t),
        0.5 * math.pi * torch.sin(0.5 * math.pi * (1 - t)),
    ),
}
# gamma^2/c^2 and its derivative
_GAMMAS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "none": lambda t: (0 * t, 0 * t),
    "brownian": lambda t: (t * (1 - t), 1 - 2 * t),
    "quadratic": lambda t: ((t * (1 - t)) ** 2, 2 * t * (1 - t) * (1 - 2 * t)),
    "sine": lambda t: (
        torch.sin(math.pi * t) ** 4,
        4 * math.pi * torch.sin(math.pi * t) ** 3 * torch.cos(math.pi * t),
    ),
}


@dataclass(frozen=True)
class Interpolant(Process):
    """Two-sided interpolant x_t = a(t) x_0 + b(t) x_1 + gamma(t) z with x_1 ~ N(0, I): sigma^2 = b^2 + gamma^2.

    path: "linear" (1 - t, t) or "trig" (cos, sin of pi t/2). gamma: "none", "brownian" c sqrt(t (1 - t)), "quadratic"
    c t (1 - t) or "sine" c sin^2(pi t), with c = ``scale``. Between x_0 and another *data* law x_1 the path is a
    bridge, whose network sees both ends: that is no affine Gaussian process, and not this class.

    A gamma whose sigma/alpha would fall again raises ``ValueError``: no forward diffusion has those marginals.
    Albergo, Boffi & Vanden-Eijnden (2023), "Stochastic interpolants: a unifying framework".
    """

    path: str = "linear"
    gamma: str = "brownian"
    scale: float = 1.0
    name = "interpolant"

    def __post_init__(self):
        named(_PATHS, self.path, "path")
        named(_GAMMAS, self.gamma, "gamma")
        if not 0 <= self.scale < math.inf:
            raise ValueError(f"scale multiplies gamma: it must not be negative, not {self.scale}")
        if not (self.lam(torch.linspace(1e-3, 0.999, 999, dtype=torch.float64)).diff() < 0).all():
            raise ValueError(
                f"with gamma {self.gamma!r} of scale {self.scale} on path {self.path!r} sigma/alpha falls again: "
                "no forward diffusion has these marginals; take a smaller scale"
            )

    def _parts(self, t: Time) -> tuple[Tensor, ...]:
        """a, a', sigma^2, (sigma^2)'."""
        t = as_time(t)
        (a, da, b, db), (g2, dg2) = _PATHS[self.path](t), _GAMMAS[self.gamma](t)
        return a, da, b * b + self.scale**2 * g2, 2 * b * db + self.scale**2 * dg2

    def alpha(self, t: Time) -> Tensor:
        return self._parts(t)[0]

    def log_alpha(self, t: Time) -> Tensor:
        return self.alpha(t).log()

    def f(self, t: Time) -> Tensor:
        a, da, _, _ = self._parts(t)
        return da / a

    def d_alpha(self, t: Time) -> Tensor:
        return self._parts(t)[1]

    def var(self, t: Time) -> Tensor:
        return self._parts(t)[2]

    def d_var(self, t: Time) -> Tensor:
        return self._parts(t)[3]
