"""Grids and the random walk on their cells that stands for a diffusion: the machinery under `fokker_planck`.

A conservative positive finite-volume scheme *is* a random walk in continuous time: mass jumps from a cell to a
neighbour at a rate, and what leaves one cell enters the other. `rates` finds these rates from drift and diffusion,
`Walk` applies the walk's generator L (or its transpose) and solves with it, `SCHEMES` lists the ways to step in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg import lapack

BOUNDARIES = ("reflecting", "periodic", "absorbing")


def to_numpy(values: Any) -> np.ndarray:
    """A float64 numpy array of a tensor, an array, a list or a number."""
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


@dataclass(frozen=True)
class Grid:
    """Equal cells on an interval (1-D) or a rectangle (2-D).

    lo, hi: ends of the box, a number in 1-D, a pair in 2-D; cells: number of cells (at least 3) along each axis, one
    number serves both axes; boundary: "reflecting" (no mass crosses), "periodic" (hi is lo), "absorbing" (mass that
    arrives is removed), one word, or one for each axis. Densities on the grid are float64 tensors of shape `cells`.
    Raises ValueError for an empty or unbounded box, fewer than 3 cells, an unknown boundary, or more than 2 axes.
    """

    lo: Any
    hi: Any
    cells: Any
    boundary: Any = "reflecting"

    def __post_init__(self) -> None:
        d = max(np.size(v) for v in (self.lo, self.hi, self.cells))
        if d not in (1, 2):
            raise ValueError(f"a Grid has 1 or 2 axes, not {d}")
        names = (self.boundary,) * d if isinstance(self.boundary, str) else tuple(self.boundary)
        try:
            lo, hi, cells = (np.broadcast_to(np.asarray(v, float), (d,)) for v in (self.lo, self.hi, self.cells))
        except ValueError:
            raise ValueError(f"lo={self.lo}, hi={self.hi} and cells={self.cells} must name the same axes") from None
        if not (np.isfinite(lo).all() and np.isfinite(hi).all() and (lo < hi).all()):
            raise ValueError(f"the grid needs finite lo < hi on each axis, not lo={self.lo}, hi={self.hi}")
        if (cells < 3).any() or (cells != np.floor(cells)).any():
            raise ValueError(f"cells={self.cells}: give a whole number of at least 3 cells for each axis")
        if len(names) != d or any(name not in BOUNDARIES for name in names):
            raise ValueError(f"unknown boundary {self.boundary!r}: choose {', '.join(BOUNDARIES)}, one for each axis")
        for name, value in (("lo", lo), ("hi", hi), ("cells", cells)):
            object.__setattr__(self, name, tuple((int if name == "cells" else float)(v) for v in value))
        object.__setattr__(self, "boundary", names)

    @property
    def dim(self) -> int:
        """1 or 2."""
        return len(self.cells)

    @property
    def widths(self) -> tuple[float, ...]:
        """Width of a cell along each axis."""
        return tuple((b - a) / n for a, b, n in zip(self.lo, self.hi, self.cells, strict=True))

    @property
    def volume(self) -> float:
        """Length or area of a cell; `(p.sum() * grid.volume)` is the mass of a density p."""
        return float(np.prod(self.widths))

    @cached_property
    def edges(self) -> tuple[torch.Tensor, ...]:
        """Faces between cells along each axis: n+1 numbers from lo to hi."""
        spans = zip(self.lo, self.hi, self.cells, strict=True)
        return tuple(torch.linspace(a, b, n + 1, dtype=torch.float64) for a, b, n in spans)

    @cached_property
    def axes(self) -> tuple[torch.Tensor, ...]:
        """Centres of the cells along each axis."""
        return tuple((e[1:] + e[:-1]) / 2 for e in self.edges)

    @property
    def centres(self) -> torch.Tensor:
        """Centres of all cells: shape (n,) in 1-D, (n1, n2, 2) in 2-D."""
        return self.axes[0] if self.dim == 1 else torch.stack(torch.meshgrid(*self.axes, indexing="ij"), -1)

    @cached_property
    def points(self) -> torch.Tensor:
        """All points where an SDE is asked: the centres, then the faces of each axis, in one (N, d) tensor."""
        sets = [self.axes] + [
            tuple(self.edges[j] if j == k else self.axes[j] for j in range(self.dim)) for k in range(self.dim)
        ]
        return torch.cat([torch.stack(torch.meshgrid(*s, indexing="ij"), -1).reshape(-1, self.dim) for s in sets])

    def values(self, f: Any, what: str = "the function") -> torch.Tensor:
        """f on the cells: f is an array of shape `cells`, or a function of `centres`."""
        p = torch.as_tensor(f(self.centres) if callable(f) else f).detach().to("cpu", torch.float64)
        if tuple(p.shape) != self.cells:
            raise ValueError(f"{what} has shape {tuple(p.shape)}; on this grid it needs {self.cells}")
        if not torch.isfinite(p).all():
            raise ValueError(f"{what} has values that are not finite")
        return p

    def density(self, law: Any) -> torch.Tensor:
        """Density of a law at the centres, scaled to mass 1 on the grid: shape `cells`.

        law: anything with `log_prob` of points (n, d), or a non-negative function of `centres` (any scale).
        Raises ValueError when a law's mass on the grid is off 1 by more than 5 %: the box or the cells do not fit it.
        """
        if hasattr(law, "log_prob"):
            p = self.values(law.log_prob(self.centres.reshape(-1, self.dim)).reshape(self.cells).exp(), "the density")
            if not 0.95 < float(p.sum()) * self.volume < 1.05:
                raise ValueError(
                    f"the grid finds mass {float(p.sum()) * self.volume:.4g} in this law, not 1: "
                    "widen the box, or take more cells if the law is narrower than a few of them"
                )
        else:
            p = self.values(law, "the density")
        if (p < 0).any() or not p.sum() > 0:
            raise ValueError("the density is negative somewhere, or zero everywhere")
        return p / (p.sum() * self.volume)


def jump_rate(c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """c / (1 - e^{-c/d}): rate of a jump with drift c across a face of diffusivity d; max(c, 0) as d -> 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = c / d
        fitted = np.where(np.abs(z) < 1e-8, d + c / 2, c / -np.expm1(-z))
    return np.where(np.isfinite(z), fitted, np.maximum(c, 0.0))


@dataclass
class Walk:
    """Jumps along one axis: dp_i/dt = up_{i-1} p_{i-1} + down_{i+1} p_{i+1} - (up_i + down_i) p_i =: (L p)_i.

    up, down: rates (1/time) of the jump to the next and to the previous cell, shape (lines, n), every line of cells
    along the axis a row. The last cell's up and the first cell's down leave the line: onto its other end if
    `periodic`, else out of the grid. Columns of L sum to 0 but for what leaves: mass is kept, whatever the rates.
    """

    up: np.ndarray
    down: np.ndarray
    periodic: bool
    factors: dict[float, Any] = field(default_factory=dict, repr=False)

    def apply(self, p: np.ndarray, transpose: bool = False) -> np.ndarray:
        """L p, or L^T p, for p of shape (lines, n)."""
        out = -(self.up + self.down) * p
        # The transpose reads the same jumps from the other end: the weight sits at the cell that is left.
        to_next, to_previous = (
            (np.roll(self.down, -1, 1), np.roll(self.up, 1, 1)) if transpose else (self.up, self.down)
        )
        out[:, 1:] += to_next[:, :-1] * p[:, :-1]
        out[:, :-1] += to_previous[:, 1:] * p[:, 1:]
        if self.periodic:
            out[:, 0] += to_next[:, -1] * p[:, -1]
            out[:, -1] += to_previous[:, 0] * p[:, 0]
        return out

    def solve(self, p: np.ndarray, c: float, transpose: bool = False) -> np.ndarray:
        """(1 - c L)^{-1} p, or its transpose: banded LU, kept for the next call with the same c.

        The columns of 1 - c L are diagonally dominant with no positive entry off the diagonal, so the elimination
        swaps no rows and adds only numbers of one sign: p >= 0 gives a result >= 0, exactly, in floating point.
        """
        lines, n = self.up.shape
        k, place = self.layout
        if c not in self.factors:
            to_up, to_down = np.roll(place, -1) - place, np.roll(place, 1) - place  # row minus column of a jump
            band = np.zeros((lines, n, 3 * k + 1))  # band[line, column, 2k + row - column], as LAPACK stores it
            band[:, place, 2 * k] = 1 + c * (self.up + self.down)
            ups, downs = (slice(None), slice(None)) if self.periodic else (slice(0, -1), slice(1, None))
            band[:, place[ups], 2 * k + to_up[ups]] = -c * self.up[:, ups]
            band[:, place[downs], 2 * k + to_down[downs]] = -c * self.down[:, downs]
            if len(self.factors) > 8:
                self.factors.clear()
            self.factors[c] = lapack.dgbtrf(band.reshape(lines * n, -1).T, k, k, overwrite_ab=True)
        lu, pivots, _ = self.factors[c]
        b = np.empty_like(p)
        b[:, place] = p
        x, _ = lapack.dgbtrs(lu, k, k, b.reshape(-1), pivots, trans=int(transpose), overwrite_b=True)
        return x.reshape(lines, n)[:, place]

    @cached_property
    def layout(self) -> tuple[int, np.ndarray]:
        """Half-width of the band, and the place of each cell in it.

        A ring folded flat (0, n-1, 1, n-2, ...) has neighbours at most two places apart: still a band.
        """
        cells = np.arange(self.up.shape[1])
        if not self.periodic:
            return 1, cells
        return 2, np.argsort(np.stack([cells, cells[::-1]], 1).ravel()[: len(cells)])


def explicit(L: Walk, dt: float, p: np.ndarray, transpose: bool) -> np.ndarray:
    """R(z) = 1 + z, z = dt L: forward Euler."""
    return p + dt * L.apply(p, transpose)


def implicit(L: Walk, dt: float, p: np.ndarray, transpose: bool) -> np.ndarray:
    """R(z) = 1 / (1 - z): backward Euler."""
    return L.solve(p, dt, transpose)


def crank_nicolson(L: Walk, dt: float, p: np.ndarray, transpose: bool) -> np.ndarray:
    """R(z) = (1 + z/2) / (1 - z/2): second order, fast modes are not damped."""
    return L.solve(explicit(L, dt / 2, p, transpose), dt / 2, transpose)


def sdirk2(L: Walk, dt: float, p: np.ndarray, transpose: bool) -> np.ndarray:
    """R(z) = (1 + (1 - 2g) z) / (1 - g z)^2, g = 1 - 1/sqrt(2): second order, fast modes die (L-stable)."""
    g = 1 - 0.5**0.5
    return L.solve(L.solve(explicit(L, (1 - 2 * g) * dt, p, transpose), g * dt, transpose), g * dt, transpose)


class Scheme(NamedTuple):
    """order in time; positive: "always", or under a limit on the step (kept by itself when `limited`)."""

    order: int
    positive: str
    limited: bool
    step: Callable[[Walk, float, np.ndarray, bool], np.ndarray]


SCHEMES: dict[str, Scheme] = {
    "explicit": Scheme(1, "dt * rate <= 1, steps are cut to keep it", True, explicit),
    "implicit": Scheme(1, "always", False, implicit),
    "crank_nicolson": Scheme(2, "dt * rate <= 2", False, crank_nicolson),
    "sdirk2": Scheme(2, "dt * rate <= 2.4", False, sdirk2),
}
