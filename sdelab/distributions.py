"""Exact toy laws: Gaussian mixtures in any dimension, for which p_t, score and denoiser are known in closed form.

If x_0 is a mixture of N(m_k, C_k), then x_t = alpha x_0 + sigma eps is the mixture of N(alpha m_k, alpha^2 C_k +
sigma^2 I) with the same weights. Rings, moons, spirals and checkerboards are mixtures with many components, so that
nothing in the book's experiments has to be approximated.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from . import noise
from .process import Process, Time, as_time, like


class GaussianMixture:
    """Mixture of ``K`` Gaussians in dimension ``d``.

    weights (K,) positive, normalised here; means (K, d); ``spread`` is a standard deviation (a number or (K,)) or
    covariances (K, d, d). Standard deviation 0 is allowed: a point mass, which has a law only for t > 0. Parameters
    are kept in float64 and cast to the dtype and device of the states they meet.
    """

    def __init__(self, weights, means, spread):
        w = torch.as_tensor(weights, dtype=torch.float64)
        means = torch.as_tensor(means, dtype=torch.float64)
        spread = torch.as_tensor(spread, dtype=torch.float64)
        if means.ndim != 2 or w.shape != means.shape[:1]:
            raise ValueError(f"weights (K,) and means (K, d) do not fit: {tuple(w.shape)} and {tuple(means.shape)}")
        if not (w >= 0).all() or not w.sum() > 0 or not means.isfinite().all() or not spread.isfinite().all():
            raise ValueError("weights must be non-negative with a positive sum; means and spread must be finite")
        K, d = means.shape
        axes = None
        if spread.ndim == 3:
            if spread.shape != (K, d, d):
                raise ValueError(f"covariances must have shape {(K, d, d)}, not {tuple(spread.shape)}")
            var, axes = torch.linalg.eigh(spread)
            if not torch.allclose(spread, spread.mT) or var.min() < -1e-12 * var.max():
                raise ValueError("a covariance is not symmetric, or has a negative eigenvalue")
            var = var.clamp_min(0.0)
        elif spread.shape in ((), (1,), (K,)) and (spread >= 0).all():
            var = (spread**2).expand(K)[:, None]  # (K, 1): isotropic
        else:
            raise ValueError(
                "spread must be a non-negative standard deviation, one per component, or covariances (K, d, d)"
            )
        self._set(w / w.sum(), means, var, axes)

    def _set(self, weights, means, var, axes):
        self.weights, self.means, self._var, self._axes = weights, means, var, axes
        self._cast: dict = {}

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @property
    def mean(self) -> Tensor:
        """E[x], shape (d,)."""
        return self.weights @ self.means

    @property
    def covs(self) -> Tensor:
        """Covariances of the components, shape (K, d, d)."""
        var = torch.diag_embed(self._var.expand(self.means.shape))
        return var if self._axes is None else self._axes @ var @ self._axes.mT

    @property
    def cov(self) -> Tensor:
        """Cov[x], shape (d, d): within plus between components."""
        centred = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covs) + (centred.T * self.weights) @ centred

    def _like(self, x: Tensor):
        """(log weights, means, variances, axes) in x's dtype and device, kept for the next call."""
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"x must have shape (n, {self.dim}), not {tuple(x.shape)}")
        key = (x.dtype, x.device)
        if key not in self._cast:
            axes = None if self._axes is None else self._axes.to(x)
            self._cast[key] = (self.weights.log().to(x), self.means.to(x), self._var.to(x), axes)
        return self._cast[key]

    def _terms(self, x: Tensor, alpha, noise_var):
        """Whitened residuals of x_t for every component and the log of weight times density.

        alpha, noise_var: numbers, or tensors (n, 1, 1). Returns (log_joint (n, K), y (n, K, d) along the
        components' axes, total variances broadcastable to y).
        """
        log_w, means, var, axes = self._like(x)
        y = x[:, None] - alpha * means
        if axes is not None:
            y = torch.einsum("nkd,kde->nke", y, axes)
        total = alpha * alpha * var + noise_var
        log_det = (total.log() + math.log(2 * math.pi)).expand((*total.shape[:-1], self.dim)).sum(-1)
        return log_w - 0.5 * ((y * y / total).sum(-1) + log_det), y, total

    def _back(self, z: Tensor, x: Tensor) -> Tensor:
        """From the components' axes back to the coordinates."""
        axes = self._like(x)[3]
        return z if axes is None else torch.einsum("nke,kde->nkd", z, axes)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), shape (n,), for x (n, d)."""
        if (self._var == 0).any():
            raise ValueError("a point mass has no density; take the law at a time t > 0 with .at(process, t)")
        return torch.logsumexp(self._terms(x, 1.0, 0.0)[0], dim=1)

    def score(self, x: Tensor) -> Tensor:
        """grad log p(x) = -sum_k r_k(x) C_k^{-1} (x - m_k), shape (n, d)."""
        if (self._var == 0).any():
            raise ValueError("a point mass has no score; take the law at a time t > 0 with .at(process, t)")
        log_joint, y, total = self._terms(x, 1.0, 0.0)
        return -(log_joint.softmax(1)[..., None] * self._back(y / total, x)).sum(1)

    def sample(self, n: int, *, seed: int, first: int = 0, dtype=None, device=None) -> Tensor:
        """n independent draws, shape (n, d); row i depends on (seed, first + i) alone."""
        u = noise.uniform((n,), seed, key=noise.COMPONENT, first=first, dtype=torch.float64)
        k = torch.searchsorted(self.weights.cumsum(0), u).clamp_max(len(self.weights) - 1)
        z = (
            noise.normal((n, self.dim), seed, key=noise.DATA, first=first, dtype=torch.float64)
            * self._var.expand_as(self.means)[k].sqrt()
        )
        if self._axes is not None:
            z = torch.einsum("nde,ne->nd", self._axes[k], z)
        return (self.means[k] + z).to(dtype=dtype or torch.get_default_dtype(), device=device)

    def at(self, process: Process, t: float) -> "GaussianMixture":
        """The exact law of x_t at one time t, a mixture again."""
        alpha, var = process.alpha(t), process.var(t)
        if alpha.ndim:
            raise ValueError(f"the law of x_t is that of one time, not of {tuple(alpha.shape)} times")
        law = object.__new__(GaussianMixture)
        law._set(self.weights, alpha * self.means, alpha**2 * self._var + var, self._axes)
        return law

    def denoiser(self, process: Process) -> Callable[[Tensor, Time], Tensor]:
        """D(x, t) = E[x_0 | x_t = x] = sum_k r_k(x) [m_k + alpha C_k (alpha^2 C_k + sigma^2 I)^{-1} (x - alpha m_k)].

        x has shape (n, d); t is one time or one per sample. At sigma(t) = 0 it is x/alpha.
        """

        def denoise(x: Tensor, t: Time) -> Tensor:
            t = as_time(t)
            alpha, noise_var = process.alpha(t), process.var(t)
            if t.ndim:
                alpha, noise_var = like(alpha, x)[:, None], like(noise_var, x)[:, None]
            else:
                alpha, noise_var = float(alpha), float(noise_var)
                if noise_var == 0:
                    return x / alpha
            log_joint, y, total = self._terms(x, alpha, noise_var)
            _, means, var, _ = self._like(x)
            posterior = means + self._back(alpha * var / total * y, x)
            D = (log_joint.softmax(1)[..., None] * posterior).sum(1)
            return torch.where(like(process.var(t), x) == 0, x / like(process.alpha(t), x), D) if t.ndim else D

        return denoise


def gaussian(mean=(0.0, 0.0), std: float = 1.0) -> GaussianMixture:
    """One isotropic Gaussian."""
    return GaussianMixture([1.0], [list(mean)], std)


def empirical(points: Tensor) -> GaussianMixture:
    """Point masses on the rows of ``points`` (n, d): the law of a data set, whose denoiser is the optimal network's."""
    return GaussianMixture(torch.ones(len(points)), points, 0.0)


def ring(modes: int = 8, radius: float = 1.4, std: float = 0.1) -> GaussianMixture:
    """Equal Gaussians on a circle."""
    angle = 2 * math.pi * torch.arange(modes, dtype=torch.float64) / modes
    return GaussianMixture(torch.ones(modes), radius * torch.stack([angle.cos(), angle.sin()], 1), std)


def grid(side: int = 3, spacing: float = 1.3, std: float = 0.12) -> GaussianMixture:
    """side x side Gaussians on a square grid centred at 0."""
    axis = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return GaussianMixture(torch.ones(side * side), torch.cartesian_prod(axis, axis), std)


def moons(modes: int = 16, std: float = 0.09) -> GaussianMixture:
    """Two interleaved half circles, ``modes`` Gaussians on each."""
    angle = math.pi * (torch.arange(modes, dtype=torch.float64) + 0.5) / modes
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    return GaussianMixture(torch.ones(2 * modes), 1.3 * torch.cat([upper, -upper]), std)


def spiral(modes: int = 48, turns: float = 1.75, std: float = 0.08) -> GaussianMixture:
    """Gaussians along an Archimedean spiral, spaced so that the arc has nearly constant density."""
    u = ((torch.arange(modes, dtype=torch.float64) + 0.5) / modes).sqrt()
    angle = 2 * math.pi * turns * u
    return GaussianMixture(torch.ones(modes), 2.0 * (u * torch.stack([angle.cos(), angle.sin()])).T, std)


def checkerboard(cells: int = 4, size: float = 4.0, per_side: int = 5) -> GaussianMixture:
    """A smooth checkerboard: every dark square is per_side x per_side Gaussians as wide as their spacing allows."""
    edge = size / cells
    inner = edge * ((torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side - 0.5) * 0.9
    fine = torch.cartesian_prod(inner, inner)
    rows = [(i, j) for i in range(cells) for j in range(cells) if (i + j) % 2 == 0]
    centres = (torch.tensor(rows, dtype=torch.float64) + 0.5 - cells / 2) * edge
    means = (centres[:, None] + fine).reshape(-1, 2)
    return GaussianMixture(torch.ones(len(means)), means, 0.5 * edge / per_side)


table: dict[str, Callable[..., GaussianMixture]] = {
    "gaussian": gaussian, "ring": ring, "grid": grid, "moons": moons, "spiral": spiral, "checkerboard": checkerboard,
}  # fmt: skip
