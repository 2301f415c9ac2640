"""Small drawings on matplotlib axes: each takes the axes first, draws one thing, and returns its artist.

`style()` once, `figure(columns)` for the axes. Colours are those of Okabe and Ito, told apart by colour-blind readers.
"""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from cycler import cycler

from .cells import Grid, to_numpy

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
WIDTH, HEIGHT = 7.0, 3.2  # inches: the width of a page of the book


def style() -> None:
    """The book's look for every figure drawn after: white ground, legible sizes, the same bytes at every run."""
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, HEIGHT), "figure.dpi": 100, "figure.facecolor": "white",
            "figure.constrained_layout.use": True, "savefig.facecolor": "white", "axes.facecolor": "white",
            "axes.prop_cycle": cycler(color=COLOURS), "axes.spines.top": False, "axes.spines.right": False,
            "axes.grid": False, "font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "font.size": 9,
            "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
            "legend.fontsize": 8, "legend.frameon": False, "lines.linewidth": 1.4, "lines.markersize": 4,
            "image.cmap": "viridis", "svg.hashsalt": "sdelab", "svg.fonttype": "path",
        }
    )  # fmt: skip


def figure(columns: int = 1, rows: int = 1, height: float = HEIGHT, **kwargs: Any) -> tuple[Any, Any]:
    """A figure as wide as the page with rows * columns axes: (figure, axes), as `plt.subplots` returns them."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height), **kwargs)


def density(ax: Any, law: Any, grid: Grid | None = None, **kwargs: Any) -> Any:
    """A density: a curve in 1-D, a heat map with its own x and y axes in 2-D.

    law: values on the grid (*cells), or what `Grid.density` takes (then the curve has mass 1 on the grid). The
    default grid serves 2-D laws of the book: 120 * 120 cells on [-3, 3]^2.
    """
    grid = grid or Grid((-3, -3), (3, 3), 120)
    p = grid.density(law) if callable(law) or hasattr(law, "log_prob") else grid.values(law, "the density")
    if grid.dim == 1:
        return ax.plot(grid.axes[0].numpy(), p.numpy(), **kwargs)[0]
    extent = (grid.lo[0], grid.hi[0], grid.lo[1], grid.hi[1])
    options = {"cmap": "viridis", "vmin": 0.0, "interpolation": "bilinear", **kwargs}
    return square(ax).imshow(p.numpy().T, origin="lower", extent=extent, **options)


def particles(ax: Any, x: Any, most: int = 2000, **kwargs: Any) -> Any:
    """The first `most` points of a sample: dots in 2-D (n, 2), a histogram of mass 1 in 1-D (n,) or (n, 1)."""
    x = to_numpy(x)
    if x.ndim == 1 or x.shape[-1] == 1:
        options = {"bins": 60, "density": True, "color": "0.8", **kwargs}
        return ax.hist(x.reshape(-1), **options)[2]
    options = {"s": 3, "alpha": 0.6, "linewidths": 0, "color": COLOURS[0], **kwargs}
    return square(ax).scatter(*points(x, "x")[:most].T, **options)


def paths(ax: Any, times: Any, x: Any, most: int = 30, **kwargs: Any) -> Any:
    """The first `most` paths of x (len(times), n) against time, or of x (len(times), n, 2) in the plane."""
    times, x = to_numpy(times), to_numpy(x)
    if x.ndim not in (2, 3) or len(x) != len(times) or (x.ndim == 3 and x.shape[2] > 2):
        raise ValueError(f"paths of shape {x.shape} do not fit {len(times)} times: give (times, n) or (times, n, 2)")
    options = {"lw": 0.7, "alpha": 0.7, **kwargs}
    if x.ndim == 3 and x.shape[2] == 2:
        return [square(ax).plot(*x[:, k].T, **options)[0] for k in range(min(most, x.shape[1]))]
    return ax.plot(times, x.reshape(len(times), -1)[:, :most], **options)


def field(ax: Any, f: Any, box: tuple[float, float] = (-3.0, 3.0), arrows: int = 18, **kwargs: Any) -> Any:
    """Arrows of a vector field on a square: f maps points (n, 2) to vectors (n, 2), a score or a drift at one time."""
    axis = torch.linspace(*box, arrows, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    v = points(to_numpy(f(x)), "the field")
    options = {"angles": "xy", "color": "0.25", "width": 0.003, **kwargs}
    return square(ax).quiver(*x.numpy().T, *v.T, **options)


def order(ax: Any, h: Any, errors: Any, claimed: float | None = None, **kwargs: Any) -> float:
    """Errors against step size on logarithmic axes, with a triangle of the claimed order; returns the order."""
    h, errors = to_numpy(h), to_numpy(errors)
    measured = slope(h, errors)
    (line,) = ax.loglog(h, errors, **{"marker": "o", **kwargs})
    ax.set(xlabel="step h", ylabel="error")
    shown = np.sort(h)[:: 1 + len(h) // 6]  # the steps taken, not powers of ten; few enough to be read
    ax.set_xticks(shown, [f"{v:.2g}" for v in shown])
    ax.minorticks_off()
    if claimed is not None:
        a, b = np.sort(h)[[0, -1]]
        left, right = a * (b / a) ** 0.55, a * (b / a) ** 0.9
        low = math.exp(np.interp(math.log(left), np.log(np.sort(h)), np.log(errors[np.argsort(h)]))) / 2.5
        high = low * (right / left) ** claimed
        ax.plot([left, right, right, left], [low, low, high, low], color=line.get_color(), lw=0.8)
        ax.annotate(
            f"{claimed:g}", (right, math.sqrt(low * high)), xytext=(4, 0), textcoords="offset points", va="center"
        )
    return measured


def slope(h: Any, errors: Any) -> float:
    """Order measured: slope of log error against log h, by least squares. Raises ValueError for errors <= 0."""
    h, errors = to_numpy(h), to_numpy(errors)
    if h.shape != errors.shape or h.ndim != 1 or len(h) < 2 or not (h > 0).all() or not (errors > 0).all():
        raise ValueError("an order needs at least two positive steps, and as many positive errors")
    return float(np.polyfit(np.log(h), np.log(errors), 1)[0])


def images(ax: Any, x: Any, columns: int = 8, vmin: float = -1.0, vmax: float = 1.0, **kwargs: Any) -> Any:
    """Grey images (n, side, side) or (n, 1, side, side) as one sheet by rows: white at vmin, black at vmax."""
    x = to_numpy(x)
    x = x[:, 0] if x.ndim == 4 and x.shape[1] == 1 else x
    if x.ndim != 3 or len(x) == 0:
        raise ValueError(f"images need shape (n, side, side) or (n, 1, side, side), not {x.shape}")
    n, height, width = x.shape
    rows = -(-n // columns)
    sheet = np.full((rows * columns, height + 1, width + 1), float(vmin))  # a line of paper between images
    sheet[:n, :height, :width] = x
    sheet = sheet.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2).reshape(rows * (height + 1), -1)
    ax.set_axis_off()
    return ax.imshow(sheet, **{"cmap": "gray_r", "vmin": vmin, "vmax": vmax, "interpolation": "nearest", **kwargs})


def square(ax: Any) -> Any:
    """Equal units on both axes."""
    ax.set_aspect("equal")
    return ax


def points(x: np.ndarray, what: str) -> np.ndarray:
    """x as an (n, 2) array."""
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(f"{what} has shape {x.shape}: a drawing in the plane needs (n, 2)")
    return x
