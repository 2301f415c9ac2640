"""Critically damped linear diffusions of position and velocity, with their exact 2x2 laws.

    du = beta A u dt + sqrt(beta) Q^{1/2} dw        u = (x, v), v_0 ~ N(0, gamma M I), u_T ~ N(0, diag(1, M)) nearly

A is 2x2 with one double eigenvalue -kappa, so that exp(A tau) = e^{-kappa tau} (I + tau N), N = A + kappa I, N^2 = 0,
in the clock tau = int_0^t beta. Given x_0 (v_0 integrated out), u_t ~ N(mu x_0, C) in every coordinate.

About x_0 the state says no more than the one number y = mu' C^{-1} u / (mu' C^{-1} mu) = x_0 + sigma_eff eps, with
sigma_eff^2 = 1/(mu' C^{-1} mu): a kinetic diffusion sees the data through one noise level, and any denoiser serves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsIndex

import torch
from torch import Tensor

from .. import noise
from ..process import Process, Time, as_time, like
from ..sde import SDE

F64 = torch.float64


def matrix(*rows: tuple[Tensor | float, Tensor | float]) -> Tensor:
    """A 2x2 float64 matrix, or a batch of them, from its entries."""
    entries = torch.broadcast_tensors(*(torch.as_tensor(e, dtype=F64) for row in rows for e in row))
    return torch.stack(entries, -1).unflatten(-1, (2, 2))


def cholesky(C: Tensor) -> Tensor:
    """Lower triangular L with L L' = C for positive semidefinite 2x2 matrices."""
    a = C[..., 0, 0].clamp_min(0).sqrt()
    b = torch.where(a > 0, C[..., 1, 0] / a, 0.0)
    return matrix((a, 0.0), (b, (C[..., 1, 1] - b * b).clamp_min(0).sqrt()))


def apply(A: Tensor, u: Tensor) -> Tensor:
    """A u on states (n, 2, ...), A one 2x2 matrix or one per sample."""
    A = A.to(u)
    return torch.einsum("ij,nj...->ni...", A, u) if A.ndim == 2 else torch.einsum("nij,nj...->ni...", A, u)


@dataclass(frozen=True)
class Kinetic:
    """Base of kinetic processes (see the module's docstring): constants A and Q, beta linear in t."""

    mass: float = 0.25
    gamma: float = 0.04
    beta_min: float = 4.0
    beta_max: float = 4.0

    T = 1.0
    t_min = 1e-3
    name = "kinetic"

    def __post_init__(self):
        if not (self.mass > 0 and 0 <= self.gamma < math.inf and 0 < self.beta_min <= self.beta_max):
            raise ValueError(
                "need mass > 0, gamma >= 0 and 0 < beta_min <= beta_max, not "
                f"{self.mass}, {self.gamma}, {self.beta_min} and {self.beta_max}"
            )

    @property
    def A(self) -> Tensor:
        """Drift matrix in the clock."""
        raise NotImplementedError

    @property
    def Q(self) -> Tensor:
        """Noise power in the clock, diagonal."""
        raise NotImplementedError

    @property
    def kappa(self) -> float:
        """The damping: minus the double eigenvalue of A."""
        return -0.5 * float(self.A.trace())

    def beta(self, t: Time) -> Tensor:
        return self.beta_min + as_time(t).to("cpu", F64) * (self.beta_max - self.beta_min)

    def clock(self, t: Time) -> Tensor:
        """tau(t) = int_0^t beta; like all coefficients here in float64 on the CPU."""
        t = as_time(t).to("cpu", F64)
        return t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def of_clock(self, tau: Time) -> Tensor:
        """Inverse of :meth:`clock`."""
        tau = as_time(tau).to("cpu", F64)
        slope = self.beta_max - self.beta_min
        return 2 * tau / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * tau))

    def flow(self, tau: Tensor) -> Tensor:
        """exp(A tau), (..., 2, 2)."""
        tau = tau[..., None, None]
        eye = torch.eye(2, dtype=F64)
        return torch.exp(-self.kappa * tau) * (eye + tau * (self.A + self.kappa * eye))

    def added(self, tau: Tensor) -> Tensor:
        """int_0^tau e^{Ar} Q e^{A'r} dr: the covariance that a stretch of the clock adds, without cancellation."""
        N, Q, rate = self.A + self.kappa * torch.eye(2, dtype=F64), self.Q, 2 * self.kappa
        k = torch.tensor([1.0, 2.0, 3.0], dtype=F64)  # int_0^tau r^k e^{-rate r} dr, k = 0, 1, 2
        J = torch.special.gammainc(k, rate * tau[..., None]) * torch.exp(torch.lgamma(k)) / rate**k
        J0, J1, J2 = (J[..., i, None, None] for i in range(3))
        return J0 * Q + J1 * (N @ Q + Q @ N.mT) + J2 * (N @ Q @ N.mT)

    def transition(self, s: Time, t: Time) -> tuple[Tensor, Tensor]:
        """(Phi, Sigma) of u_t | u_s ~ N(Phi u_s, Sigma), s <= t."""
        tau = self.clock(t) - self.clock(s)
        if (tau < 0).any():
            raise ValueError(f"the forward transition runs from s to t >= s, not from {s} to {t}")
        return self.flow(tau), self.added(tau)

    def mean(self, t: Time) -> Tensor:
        """mu(t), (..., 2): u_t given x_0 has the mean mu x_0."""
        return self.flow(self.clock(t))[..., :, 0]

    def cov(self, t: Time) -> Tensor:
        """C(t), (..., 2, 2): the covariance of u_t given x_0, with v_0 ~ N(0, gamma M) integrated out."""
        tau = self.clock(t)
        start = self.flow(tau)[..., :, 1:]
        return self.added(tau) + self.gamma * self.mass * start @ start.mT

    def effective(self, t: Time) -> tuple[Tensor, Tensor]:
        """(a, sigma_eff): y = a . u_t = x_0 + sigma_eff eps holds all that u_t tells about x_0."""
        mu = self.mean(t)
        Pmu = torch.linalg.solve(self.cov(t), mu)
        precision = (mu * Pmu).sum(-1)
        return Pmu / precision[..., None], precision**-0.5

    def lam(self, t: Time) -> Tensor:
        """-log sigma_eff, half the log signal-to-noise ratio of the whole state."""
        return -self.effective(t)[1].log()

    t_of_lam = Process.t_of_lam  # type: ignore[assignment]  # by bisection, so that grids graded in lam serve

    def perturb(self, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
        """u_t = mu x_0 + C^{1/2} eps for x_0 (n, ...) and eps (n, 2, ...); t one time or one per sample."""
        if eps.shape != (x0.shape[0], 2, *x0.shape[1:]):
            raise ValueError(f"x_0 {tuple(x0.shape)} needs eps of shape (n, 2, ...), not {tuple(eps.shape)}")
        mu = torch.stack([like(m, x0) * x0 for m in self.mean(t).unbind(-1)], 1)
        return mu + apply(cholesky(self.cov(t)), eps)

    def prior(self, shape, seed: SupportsIndex, first: SupportsIndex = 0, dtype=None, device=None) -> Tensor:
        """Draw u_T ~ N(0, diag(1, M)) for data of ``shape`` (n, ...): a tensor (n, 2, ...)."""
        z = noise.normal((shape[0], 2, *shape[1:]), seed, noise.PRIOR, first, dtype, device)
        return apply(torch.tensor([1.0, self.mass**0.5], dtype=F64).diag(), z)

    def sde(self) -> SDE:
        """The forward SDE on u; the noise of a coordinate without any is multiplied by 0."""
        return SDE(
            lambda u, t: apply(self.A * self.beta(t)[..., None, None], u),
            lambda u, t: spread_over(self.Q.diagonal().sqrt() * self.beta(t)[..., None].sqrt(), u),
        )

    def denoiser(self, denoise: Callable[[Tensor, Time], Tensor], process: Process) -> Callable[[Tensor, Time], Tensor]:
        """D(u, t) = E[x_0 | u_t = u] from a denoiser of any affine process: the one at sigma/alpha = sigma_eff, at y.

        Exact if ``denoise`` is. Near T sigma_eff is some hundreds: the process must reach it, or extend there.
        """

        def seen(u: Tensor, t: Time) -> Tensor:
            a, level = self.effective(t)
            at = process.t_of_lam(-level.log())
            scale = process.alpha(at)  # a network sees x_t = alpha y
            x, v = u.unbind(1)
            y = like(scale * a[..., 0], x) * x + like(scale * a[..., 1], v) * v
            return denoise(y, float(at) if at.ndim == 0 else at.to(u.device))

        return seen


def spread_over(c: Tensor, u: Tensor) -> Tensor:
    """Coefficients (2,) or (n, 2) of position and velocity, shaped to multiply states (n, 2, ...)."""
    c = c.to(u)
    return c.reshape((-1, 2) + (1,) * (u.ndim - 2))


@dataclass(frozen=True)
class CLD(Kinetic):
    """Critical damping: dx = beta v/M dt, dv = -beta (x + Gamma v/M) dt + sqrt(2 Gamma beta) dw, Gamma^2 = 4M.

    Defaults of the paper: M = 1/4 (so Gamma = 1), gamma = 0.04, beta = 4. Dockhorn, Vahdat & Kreis (2022).
    """

    name = "cld"

    @property
    def friction(self) -> float:
        """Gamma = 2 sqrt(M)."""
        return 2 * self.mass**0.5

    @property
    def A(self) -> Tensor:
        return matrix((0.0, 1 / self.mass), (-1.0, -self.friction / self.mass))

    @property
    def Q(self) -> Tensor:
        return matrix((0.0, 0.0), (0.0, 2 * self.friction))


@dataclass(frozen=True)
class PSLD(Kinetic):
    """Phase-space Langevin: 2A = [[-Gamma, 1/M], [-1, -nu]], Q = diag(Gamma, M nu), nu = Gamma + 2/sqrt(M).

    Noise enters both coordinates; Gamma = 0 is CLD at half its clock. Pandey & Mandt (2023), "A complete recipe".
    """

    beta_min: float = 8.0
    beta_max: float = 8.0
    drag: float = 0.01
    name = "psld"

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.drag < math.inf:
            raise ValueError(f"drag is the friction of the position: it must not be negative, not {self.drag}")

    @property
    def nu(self) -> float:
        return self.drag + 2 / self.mass**0.5

    @property
    def A(self) -> Tensor:
        return 0.5 * matrix((-self.drag, 1 / self.mass), (-1.0, -self.nu))

    @property
    def Q(self) -> Tensor:
        return matrix((self.drag, 0.0), (0.0, self.mass * self.nu))
