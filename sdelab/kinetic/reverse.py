"""The generative family of a kinetic process: probability flow at eta = 0, reverse SDE at eta = 1."""

import math

import torch
from torch import Tensor

from ..process import Time, like
from ..reverse import Denoise
from ..sde import SDE
from .process import Kinetic, apply, spread_over


class KineticReverse(SDE):
    """du = beta [A u - (1 + eta^2)/2 Q score] dt + eta sqrt(beta Q) dw, run with *decreasing* times to t > 0.

    ``denoise`` is D(u, t) = E[x_0 | u_t = u], (n, 2, ...) -> (n, ...), and score = -C^{-1} (u - mu D). CLD needs its
    second half alone, the score in v. Dockhorn, Vahdat & Kreis (2022), section 3; in eta: Zhang, Tao & Chen (2023).
    """

    def __init__(self, process: Kinetic, denoise: Denoise, eta: float = 1.0):
        if not isinstance(process, Kinetic):
            raise TypeError(f"process must be kinetic, such as sd.kinetic.CLD(), not {type(process).__name__}")
        if not 0 <= eta < math.inf:
            raise ValueError(f"eta is a noise level: 0 (ODE), 1 (reverse SDE) or any number above, not {eta}")
        self.process, self._denoise, self.eta = process, denoise, float(eta)
        super().__init__(self._drift, self._diffusion if eta > 0 else None)

    def denoise(self, u: Tensor, t: Time) -> Tensor:
        """D(u, t), held to the shape of one half of u."""
        if u.ndim < 2 or u.shape[1] != 2:
            raise ValueError(f"a kinetic state is (n, 2, ...), position and velocity, not {tuple(u.shape)}")
        D = self._denoise(u, t)
        if D.shape != u[:, 0].shape:
            raise ValueError(f"the denoiser returned shape {tuple(D.shape)} for u of shape {tuple(u.shape)}")
        return D

    def residual(self, u: Tensor, t: Time) -> Tensor:
        """u - mu D(u, t)."""
        D = self.denoise(u, t)
        return u - torch.stack([like(m, D) * D for m in self.process.mean(t).unbind(-1)], 1)

    def score(self, u: Tensor, t: Time) -> Tensor:
        """grad_u log p_t(u)."""
        return -apply(torch.linalg.inv(self.process.cov(t)), self.residual(u, t))

    def _drift(self, u: Tensor, t: Time) -> Tensor:
        p = self.process
        beta = p.beta(t)[..., None, None]
        pull = 0.5 * (1 + self.eta**2) * p.Q @ torch.linalg.inv(p.cov(t))
        return apply(beta * p.A, u) + apply(beta * pull, self.residual(u, t))

    def _diffusion(self, u: Tensor, t: Time) -> Tensor:
        p = self.process
        return spread_over(self.eta * p.Q.diagonal().sqrt() * p.beta(t)[..., None].sqrt(), u)
