"""The cells of a 1-D or 2-D box, on which `fokker_planck` keeps densities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

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
