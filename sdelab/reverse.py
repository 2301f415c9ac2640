"""The generative family: from probability-flow ODE (eta = 0) through reverse SDE (eta = 1) and beyond."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .process import Process, Time, like
from .sde import SDE

Denoise = Callable[[Tensor, Time], Tensor]


class Reverse(SDE):
    """dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dw, run with *decreasing* times.

    The score enters through the denoiser D(x, t) = E[x_0 | x_t = x]: with eps = (x - alpha D)/sigma, score =
    -eps/sigma, and the drift is alpha' D + sigma' eps + eta^2 g^2/(2 sigma) eps, which stays finite where alpha = 0
    (for eta = 0). All members share the marginals p_t of the forward SDE.

    Reference: Anderson (1982); Song et al. (2021), eq. 6 and 13; the family in eta: Zhang & Chen (2021).
    """

    def __init__(self, process: Process, denoise: Denoise, eta: float = 1.0):
        if not 0 <= eta < math.inf:
            raise ValueError(f"eta is a noise level: 0 (ODE), 1 (reverse SDE) or any number above, not {eta}")
        self.process, self._denoise, self.eta = process, denoise, float(eta)
        self._rates: dict[float, tuple[float, float, float]] = {}
        super().__init__(self._drift, self._diffusion if eta > 0 else None)

    def denoise(self, x: Tensor, t: Time) -> Tensor:
        """D(x, t), held to x's shape: anything else would broadcast into a wrong answer without a word."""
        D = self._denoise(x, t)
        if D.shape != x.shape:
            raise ValueError(f"the denoiser returned shape {tuple(D.shape)} for x of shape {tuple(x.shape)}")
        return D

    def eps(self, x: Tensor, t: Time) -> Tensor:
        """Predicted noise (x - alpha D)/sigma."""
        p = self.process
        return (x - like(p.alpha(t), x) * self.denoise(x, t)) / like(p.sigma(t), x)

    def score(self, x: Tensor, t: Time) -> Tensor:
        """grad log p_t(x) = -(x - alpha D)/sigma^2 (Tweedie)."""
        return -self.eps(x, t) / like(self.process.sigma(t), x)

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(p, q, b) of dx = (p x + q D) dt + b dw at the times t: the drift is linear in x and the denoiser."""
        process = self.process
        sigma, alpha = process.sigma(t), process.alpha(t)
        rate = process.d_sigma(t)
        if self.eta:
            rate = rate + 0.5 * self.eta**2 * process.g2(t) / sigma
        p = rate / sigma
        return p, process.d_alpha(t) - alpha * p, self.eta * process.g(t)

    def prepare(self, times) -> list[tuple[float, float, float]]:
        """Compute :meth:`rates` at all ``times`` at once, and keep them as numbers for the steps to come."""
        rows = zip(*(c.tolist() for c in self.rates(torch.as_tensor(times, dtype=torch.float64))), strict=True)
        self._rates = dict(zip(map(float, times), rows, strict=True))
        return list(self._rates.values()) if len(self._rates) == len(times) else [self._rates[float(t)] for t in times]

    def _at(self, t: float) -> tuple[float, float, float]:
        return self._rates.get(t) or self.prepare([t])[0]

    def _drift(self, x: Tensor, t: Time) -> Tensor:
        if isinstance(t, float):
            p, q, _ = self._at(t)
            return torch.mul(self.denoise(x, t), q).add_(x, alpha=p)
        p = self.process
        D = self.denoise(x, t)
        eps = (x - like(p.alpha(t), x) * D) / like(p.sigma(t), x)
        rate = p.d_sigma(t)
        if self.eta:
            rate = rate + 0.5 * self.eta**2 * p.g2(t) / p.sigma(t)
        return like(p.d_alpha(t), x) * D + like(rate, x) * eps

    def _diffusion(self, x: Tensor, t: Time) -> Tensor | float:
        if isinstance(t, float):
            return self._at(t)[2]
        return like(self.eta * self.process.g(t), x)
