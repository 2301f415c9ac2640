"""How far a sample is from another sample, or from an exact law.

Samples are tensors (n, d), or (n,) in 1-D, compared in the dtype and on the device they come in. Laws are objects with
`log_prob` of points (n, d), or such a function. What each estimate is biased by is written in its docstring.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree
from scipy.special import digamma
from torch import Tensor

from .cells import Grid, to_numpy


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = 128, seed: int = 0, p: float = 2.0) -> Tensor:
    """( mean over directions theta of W_p(theta.x, theta.y)^p )^(1/p), between the two samples exactly.

    Directions are uniform on the sphere, drawn from `seed` alone; in 1-D it is W_p itself. x (n, d), y (m, d), n and m
    may differ. Differentiable in x and y, save where the samples coincide (the root has no derivative at 0). For d > 1
    and p = 2 two isotropic Gaussians are |m1 - m2|^2/d + (s1 - s2)^2 apart, squared. Two samples of one law
    are not 0 apart: W_p of n draws falls like n^(-1/2) only. Reference: Bonneel et al. (2015).
    """
    x, y = pair(x, y)
    if p < 1 or projections < 1:
        raise ValueError(f"p={p}, projections={projections}: both must be at least 1")
    d = x.shape[1]
    if d == 1:
        theta = x.new_ones(1, 1)
    else:
        draws = torch.randn(d, projections, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        theta = (draws / draws.norm(dim=0)).to(x)
    a, b = (x @ theta).sort(0).values, (y @ theta).sort(0).values
    # Both quantile functions are steps: the integral of |a(q) - b(q)|^p over q in (0, 1) is a finite sum.
    n, m = len(a), len(b)
    ends = np.unique(np.concatenate([np.arange(n + 1) * m, np.arange(m + 1) * n]))  # q n m, in whole numbers
    i, j = (torch.from_numpy(ends[:-1] // k).to(x.device) for k in (m, n))
    weights = torch.from_numpy(np.diff(ends) / (n * m)).to(x)
    return (weights @ (a[i] - b[j]).abs() ** p).mean() ** (1 / p)


def energy_distance(x: Tensor, y: Tensor, unbiased: bool = True) -> Tensor:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'|, zero if and only if the laws are equal. Differentiable.

    unbiased=True leaves out the pairs of a point with itself: the mean is exact, and the value may fall a little below
    zero. unbiased=False is the distance of the two empirical laws: never negative, too large by about
    E|X - X'| / n + E|Y - Y'| / m. Cost n * m. Reference: Szekely and Rizzo (2013).
    """
    x, y = pair(x, y)
    if unbiased and min(len(x), len(y)) < 2:
        raise ValueError("the unbiased estimate needs at least two points in each sample")
    within = sum(mean_distance(v, v) * (len(v) / (len(v) - 1) if unbiased else 1.0) for v in (x, y))
    return 2 * mean_distance(x, y) - within


def kl_grid(p: Any, q: Any, volume: float) -> float:
    """KL(p || q) = sum p log(p/q) volume, of two densities on the cells of one grid.

    Infinite where q = 0 < p. Both must have mass 1 to 1e-3 (ValueError). The grid adds an error of order dx^2.
    """
    p, q = to_numpy(p), to_numpy(q)
    if p.shape != q.shape:
        raise ValueError(f"p has shape {p.shape} and q {q.shape}: they must live on the same grid")
    for name, v in (("p", p), ("q", q)):
        if not np.isfinite(v).all() or (v < 0).any() or abs(v.sum() * volume - 1) > 1e-3:
            raise ValueError(f"{name} must be finite, not negative, and of mass 1 (it has {v.sum() * volume:.4g})")
    p, q = p[p > 0], q[p > 0]
    if (q == 0).any():
        return math.inf
    return float((p * np.log(p / q)).sum() * volume)


def kl_to_density(x: Tensor, law: Any, k: int = 5) -> float:
    """KL(law of the sample || law) = -H - E log q, with the entropy H from distances to the k-th neighbour.

    H = psi(n) - psi(k) + log V_d + (d/n) sum_i log r_i, r_i the distance from x_i to its k-th neighbour. x (n, d); law:
    `log_prob` of points. Standard error about sqrt((Var log q/p + 1/k) / n). Bias O((k/n)^(2/d)) for smooth
    laws, upwards where p varies over the distance r: good for d <= 3, doubtful beyond. May be negative near 0. Not
    differentiable. Raises ValueError when k + 1 points coincide (r = 0: a law with atoms has no density).
    Reference: Kozachenko and Leonenko (1987); Kraskov et al. (2004).
    """
    x = sample(x, "x")
    n, d = x.shape
    if not 1 <= k < n:
        raise ValueError(f"k={k}: take at least 1 and fewer than the {n} points")
    points = to_numpy(x)
    r = KDTree(points).query(points, k=k + 1)[0][:, -1]  # the nearest is the point itself
    if (r == 0).any():
        raise ValueError(f"more than {k} points coincide: the sample's law has atoms, its KL to a density is infinite")
    log_ball = d / 2 * math.log(math.pi) - math.lgamma(d / 2 + 1)
    entropy = digamma(n) - digamma(k) + log_ball + d * np.log(r).mean()
    return float(-entropy - to_numpy(log_prob(law, x)).mean())


def histogram(x: Tensor, grid: Grid) -> Tensor:
    """Density of a sample on the cells of a grid, float64; points outside the box count in n but in no cell."""
    x = sample(x, "x")
    if x.shape[1] != grid.dim:
        raise ValueError(f"points of dimension {x.shape[1]} do not fit a grid of dimension {grid.dim}")
    counts, _ = np.histogramdd(to_numpy(x), bins=[e.numpy() for e in grid.edges])
    return torch.from_numpy(counts) / (len(x) * grid.volume)


def bin_masses(law: Any, grid: Grid, nodes: int = 4) -> Tensor:
    """Mass of a law in each cell of a grid, by Gauss-Legendre quadrature with `nodes` points a cell and axis."""
    z, w = np.polynomial.legendre.leggauss(nodes)
    axes = [
        (c[:, None] + torch.from_numpy(z) * dx / 2).reshape(-1) for c, dx in zip(grid.axes, grid.widths, strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, grid.dim)
    q = to_numpy(log_prob(law, points)).reshape([s for n in grid.cells for s in (n, nodes)])
    masses = np.exp(q)
    for axis in range(grid.dim):
        masses = np.tensordot(masses, w / 2, axes=(axis + 1, 0))
    return torch.from_numpy(masses) * grid.volume


def histogram_distance(x: Tensor, other: Any, bins: Grid | int = 32) -> float:
    """Total variation (1/2) sum |P(cell) - Q(cell)|, in [0, 1], the outside of the box being one more cell.

    other: a second sample, or a law (its exact masses, `bin_masses`). bins: a Grid, or a number of bins along each axis
    of the samples' bounding box. Coarse bins hide differences smaller than a bin; fine bins measure noise: n points of
    the law itself are `histogram_floor` away from it. Not differentiable.
    """
    x = sample(x, "x")
    two = torch.is_tensor(other)
    if two:
        x, other = pair(x, other)
    if not isinstance(bins, Grid):
        both = to_numpy(torch.cat([x, other]) if two else x)
        lo, hi = both.min(0), both.max(0)
        margin = 1e-9 * (hi - lo).max() + 1e-300  # the last point belongs to the last bin, a flat axis has a width
        bins = Grid(tuple(lo - margin), tuple(hi + margin), (bins,) * x.shape[1])
    p = histogram(x, bins) * bins.volume
    q = histogram(other, bins) * bins.volume if two else bin_masses(other, bins)
    return float((p - q).abs().sum() + (p.sum() - q.sum()).abs()) / 2


def histogram_floor(law: Any, n: int, bins: Grid) -> float:
    """What `histogram_distance` of n points of the law itself comes to: (1/2) sum sqrt(2 P (1 - P) / (pi n))."""
    q = bin_masses(law, bins)
    q = torch.cat([q.reshape(-1), (1 - q.sum()).clamp(min=0).reshape(1)])
    return float((2 * q * (1 - q).clamp(min=0) / (math.pi * n)).sqrt().sum()) / 2


def mean_distance(x: Tensor, y: Tensor, rows: int = 2048) -> Tensor:
    """Mean of |x_i - y_j| over all pairs, a block of rows at a time; differences, not products: no cancellation."""
    blocks = [torch.cdist(b, y, compute_mode="donot_use_mm_for_euclid_dist").sum() for b in x.split(rows)]
    return torch.stack(blocks).sum() / (len(x) * len(y))


def log_prob(law: Any, x: Tensor) -> Tensor:
    """Log density of a law, or of a function of points, at x: shape (n,)."""
    value = (law.log_prob if hasattr(law, "log_prob") else law)(x)
    if value.shape == (len(x), 1):
        value = value[:, 0]
    if value.shape != (len(x),):
        raise ValueError(f"the log density has shape {tuple(value.shape)} for {len(x)} points: it must be ({len(x)},)")
    if value.isnan().any():
        raise ValueError("the log density is NaN at some points")
    return value


def sample(x: Any, name: str) -> Tensor:
    """x as points (n, d): finite, floating-point, not empty."""
    if not torch.is_tensor(x) or not x.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor of points (n, d), not {getattr(x, 'dtype', type(x))}")
    if x.ndim not in (1, 2) or x.numel() == 0:
        raise ValueError(f"{name} must hold points: shape (n, d) or (n,), not {tuple(x.shape)}; flatten images first")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} holds values that are not finite")
    return x[:, None] if x.ndim == 1 else x


def pair(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Two samples of one dimension, dtype and device."""
    x, y = sample(x, "x"), sample(y, "y")
    if x.shape[1] != y.shape[1] or x.dtype != y.dtype or x.device != y.device:
        a, b = (f"{tuple(v.shape)} {v.dtype} {v.device}" for v in (x, y))
        raise ValueError(f"the samples do not match: {a} against {b}")
    return x, y
