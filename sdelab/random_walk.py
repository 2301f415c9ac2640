"""The random walk on the cells of a grid that stands for a diffusion.

A conservative positive finite-volume scheme *is* a random walk in continuous time: mass jumps from a cell to a
neighbour at a rate, and what leaves one cell enters the other. `generator` finds the rates from drift and diffusion;
`Walk` applies the walk's generator L or its transpose, and solves with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs

from .cells import Grid, to_numpy

gbtrf, gbtrs = get_lapack_funcs(("gbtrf", "gbtrs"), dtype=np.float64)  # banded LU, and solves with it


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
            self.factors[c] = gbtrf(band.reshape(lines * n, -1).T, k, k, overwrite_ab=True)
        lu, pivots, _ = self.factors[c]
        b = np.empty_like(p)
        b[:, place] = p
        x, _ = gbtrs(lu, k, k, b.reshape(-1), pivots, trans=int(transpose), overwrite_b=True)
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


def generator(sde: Any, grid: Grid, t: float, sign: int = 1) -> list[Walk]:
    """The random walk on the cells that stands for the SDE at time t: one `Walk` for each axis.

    With D = b^2/2 the current is J = (mu - D') p - D p': an Ito drift loses D' when written in this form. Across
    a face, (mu - D') and D are held constant and J is solved for exactly. sign=-1: time runs down, the drift is -mu.
    """
    mu, b = coefficients(sde, grid.points, t)
    mu, d = sign * mu, b**2 / 2
    size = int(np.prod(grid.cells))
    walks, start = [], size
    for k, (dx, wall) in enumerate(zip(grid.widths, grid.boundary, strict=True)):
        shape = tuple(n + (j == k) for j, n in enumerate(grid.cells))
        stop = start + int(np.prod(shape))
        m, e = (lines_of(v[:size, k].reshape(grid.cells), k)[0] for v in (mu, d))  # centres
        mf, ef = (lines_of(v[start:stop, k].reshape(shape), k)[0] for v in (mu, d))  # faces
        start = stop
        gap = np.full(mf.shape[1], dx)
        if wall == "periodic":
            m, e = (np.concatenate([v[:, -1:], v, v[:, :1]], 1) for v in (m, e))
        else:  # the neighbour of a wall's face is the wall itself, half a cell away
            m, e = (np.concatenate([w[:, :1], v, w[:, -1:]], 1) for v, w in ((m, mf), (e, ef)))
            gap[[0, -1]] = dx / 2
        # Simpson's mean of the drift from centre to centre, exact for a cubic: hence the exact stationary laws.
        drop = gap * (m[:, :-1] + 4 * mf + m[:, 1:]) / 6 - np.diff(e, axis=1)
        up, down = jump_rate(drop, ef) / (gap * dx), jump_rate(-drop, ef) / (gap * dx)
        if wall == "reflecting":
            up[:, -1] = down[:, 0] = 0.0
        walks.append(Walk(up[:, 1:], down[:, :-1], wall == "periodic"))
    return walks


def coefficients(sde: Any, x: torch.Tensor, t: float) -> tuple[np.ndarray, np.ndarray]:
    """Drift and diffusion at the points x (N, d), each as an (N, d) array; checked."""
    out = []
    for name in ("drift", "diffusion"):
        value = to_numpy(getattr(sde, name)(x, t))
        try:
            value = np.broadcast_to(value, tuple(x.shape))
        except ValueError:
            raise ValueError(
                f"{name}(x, t) has shape {value.shape} for x of shape {tuple(x.shape)}: "
                "it must broadcast to x (diagonal noise: one diffusion for each axis)"
            ) from None
        bad = ~np.isfinite(value).all(1)
        if bad.any():
            raise ValueError(f"{name}(x, t) is not finite at t={t:.6g}, x={x[int(bad.argmax())].tolist()}")
        out.append(value)
    return out[0], out[1]


def lines_of(p: np.ndarray, axis: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """p as rows along an axis, (lines, n), and the shape to put it back with (`axis` last)."""
    moved = np.moveaxis(p, axis, -1)
    return np.ascontiguousarray(moved).reshape(-1, moved.shape[-1]), moved.shape
