"""The Fokker-Planck equation on a 1-D or 2-D grid, and its adjoint, the backward Kolmogorov equation.

    dp/dt = -div J,   J_i = mu_i p - (1/2) d(b_i^2 p)/dx_i          (Ito, diagonal noise, dX = mu dt + b dW)

Space: finite volumes with exponentially fitted fluxes (Scharfetter and Gummel 1969; Chang and Cooper 1970):
second order where the noise resolves the drift over a cell, positive always, first-order upwind where b = 0. A law
exp(-V) with b constant and V a polynomial of degree at most 4 is stationary on the grid exactly.
Time: one step multiplies by R(dt L), R the rational function of the chosen row of `SCHEMES`, the rates L of the walk
taken at the middle of the step. In 2-D the axes take turns: x then y for order 1, x/2 y x/2 (Strang) for order 2.
The mass lost in a step is eps * dt * rate at most: with no absorbing boundary, mass is kept to rounding.

Times that increase run the SDE forward; times that decrease run it as a reverse-time SDE (dt < 0 in its drift), as
`solve` does: `Reverse` needs no change of sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch

from .cells import BOUNDARIES, Grid, to_numpy
from .random_walk import Walk, generator, lines_of

__all__ = [
    "BOUNDARIES", "SCHEMES", "Grid", "backward", "current", "forward", "generator", "mass", "moments", "residual",
]  # fmt: skip

MAX_STEPS = 200_000


def forward(sde: Any, p0: Any, grid: Grid, times: Any, scheme: str = "implicit", substeps: int = 1) -> torch.Tensor:
    """Density of X at each of `times`, from the density p0 at times[0], by the Fokker-Planck equation.

        dp/dt = -div(mu p) + (1/2) sum_i d_i^2 (b_i^2 p)

    sde: has drift(x, t) and diffusion(x, t) for x of shape (N, d); drift returns (N, d), diffusion what broadcasts to
    it. p0: density of shape grid.cells, or a law (see `Grid.density`). scheme: a key of `SCHEMES`; substeps: equal
    steps in each interval of times ("explicit" cuts them further to stay positive): the interval itself is the
    default step, so refine until the answer stands still. Returns a float64 tensor (len(times), *cells).

    Order: 2 in space; 1 ("explicit", "implicit") or 2 ("crank_nicolson", "sdirk2") in time. "implicit" and "explicit"
    never make a negative density; no linear scheme of order 2 can promise that for every step, so the other two
    may undershoot zero when dt * rate > 2 (see `SCHEMES`), most of all just after a jagged p0.
    Raises ValueError for p0 negative, not finite or not of mass 1, bad times, an unknown scheme, or an SDE that
    returns values which are not finite or not diagonal.
    """
    times, sign = check_times(times)
    p = check_density(p0, grid)
    walks = Generator(sde, grid, sign)
    frames = np.empty((len(times), *grid.cells))
    frames[0] = p
    for k, t, dt in plan(walks, times, scheme, substeps):
        frames[k + 1] = p = advance(walks(t), dt, p, scheme, transpose=False)
    return torch.from_numpy(frames)


def backward(sde: Any, h: Any, grid: Grid, times: Any, scheme: str = "implicit", substeps: int = 1) -> torch.Tensor:
    """u(x, t) = E[h(X_T) | X_t = x], T = times[-1], at each t of `times`, by the backward Kolmogorov equation.

        -du/dt = sum_i mu_i du/dx_i + (1/2) sum_i b_i^2 d_i^2 u,      u(x, T) = h(x)

    h: array of shape grid.cells or function of grid.centres. The other arguments are `forward`'s. Returns a float64
    tensor (len(times), *cells) in the order of `times`: the last entry is h. Every step is the transpose of
    `forward`'s step with the same arguments, so (u * p).sum() * grid.volume = E[h(X_T)] keeps its value over time to
    rounding. A path that reaches an absorbing wall counts as h = 0; a reflecting one turns paths back.
    """
    times, sign = check_times(times)
    u = to_numpy(grid.values(h, "h"))
    walks = Generator(sde, grid, sign)
    frames = np.empty((len(times), *grid.cells))
    frames[-1] = u
    for k, t, dt in reversed(list(plan(walks, times, scheme, substeps))):
        frames[k] = u = advance(walks(t), dt, u, scheme, transpose=True)
    return torch.from_numpy(frames)


def current(sde: Any, p: Any, grid: Grid, t: float, at: str = "faces", reverse: bool = False) -> Any:
    """Probability current J_i = mu_i p - (1/2) d_i(b_i^2 p) at time t, as the scheme sees it.

    at="faces": mass per time and length across the faces: (n+1,) in 1-D, in 2-D a pair (n1+1, n2), (n1, n2+1).
    at="centres": mean of the two faces of each cell: (n,) in 1-D, (n1, n2, 2) in 2-D.
    reverse=True: the SDE is run with times that decrease, and J is the current in that direction of time.
    """
    p = to_numpy(grid.values(p, "p"))
    faces = []
    for k, walk in enumerate(generator(sde, grid, t, -1 if reverse else 1)):
        q, shape = lines_of(p, k)
        up, down = walk.up * q, walk.down * q
        up = np.concatenate([up[:, -1:] * walk.periodic, up], 1)  # outside a wall there is nothing to come in
        down = np.concatenate([down, down[:, :1] * walk.periodic], 1)
        flux = grid.widths[k] * np.moveaxis((up - down).reshape(*shape[:-1], -1), -1, k)
        faces.append(torch.from_numpy(np.ascontiguousarray(flux)))
    if at == "faces":
        return faces[0] if grid.dim == 1 else tuple(faces)
    if at != "centres":
        raise ValueError(f"at={at!r}: choose 'faces' or 'centres'")
    means = [(j.narrow(k, 1, grid.cells[k]) + j.narrow(k, 0, grid.cells[k])) / 2 for k, j in enumerate(faces)]
    return means[0] if grid.dim == 1 else torch.stack(means, -1)


def residual(p: Any, sde: Any, grid: Grid, times: Any) -> torch.Tensor:
    """dp/dt + div J of a given density, in the middle of each interval of times: shape (len(times) - 1, *cells).

    p: densities (len(times), *cells) at `times`, or a function of (centres, t). Central in time, the scheme's fluxes in
    space: for the true density it is O(dt^2 + dx^2) inside the grid; at a wall that the true density does
    not respect it is not small. dt is |times[k+1] - times[k]|: times that decrease are a reverse-time SDE.
    """
    times, sign = check_times(times)
    p = [p(grid.centres, float(t)) for t in times] if callable(p) else p
    p = np.stack([to_numpy(grid.values(q, "p")) for q in p])
    if len(p) != len(times):
        raise ValueError(f"p has {len(p)} densities for {len(times)} times")
    out = np.empty_like(p[1:])
    for k, (s, t) in enumerate(pairwise(times)):
        out[k] = (p[k + 1] - p[k]) / abs(t - s)
        for axis, walk in enumerate(generator(sde, grid, (s + t) / 2, sign)):
            q, shape = lines_of((p[k] + p[k + 1]) / 2, axis)
            out[k] -= np.moveaxis(walk.apply(q).reshape(shape), -1, axis)
    return torch.from_numpy(out)


def mass(p: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Mass on the grid of densities (..., *cells): 1 with closed walls; 1 - mass is what absorbing walls have taken."""
    return p.sum(tuple(range(-grid.dim, 0))) * grid.volume


def moments(p: torch.Tensor, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of densities (..., n) in 1-D; mean (..., 2) and covariance (..., 2, 2) in 2-D."""
    x = grid.centres.reshape(-1, grid.dim)
    w = p.reshape(*p.shape[: p.ndim - grid.dim], -1) * grid.volume
    w = w / w.sum(-1, keepdim=True)
    mean = w @ x
    off = x - mean.unsqueeze(-2)
    cov = (w.unsqueeze(-1) * off).mT @ off
    return (mean[..., 0], cov[..., 0, 0]) if grid.dim == 1 else (mean, cov)


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


class Generator:
    """t -> walks, evaluated once for each t; while the rates do not change, neither do the factorisations."""

    def __init__(self, sde: Any, grid: Grid, sign: int) -> None:
        self.sde, self.grid, self.sign = sde, grid, sign
        self.t, self.walks = None, []

    def __call__(self, t: float) -> list[Walk]:
        if t != self.t:
            new = generator(self.sde, self.grid, t, self.sign)
            pairs = list(zip(self.walks, new, strict=bool(self.walks)))
            if not pairs or any((v.up != w.up).any() or (v.down != w.down).any() for v, w in pairs):
                self.walks = new
            self.t = t
        return self.walks


def plan(walks: Generator, times: np.ndarray, scheme: str, substeps: int) -> Iterator[tuple[int, float, float]]:
    """The steps: (interval, time in the middle of the step, dt > 0)."""
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}: choose {', '.join(SCHEMES)}")
    if substeps != int(substeps) or substeps < 1:
        raise ValueError(f"substeps={substeps}: give a whole number of at least 1")
    steps = 0
    for k, (start, end) in enumerate(pairwise(times)):
        # Steps equal to 12 digits are the same step, so that one factorisation serves all intervals.
        dt = full = float(f"{abs(end - start) / substeps:.12e}")
        done = 0.0
        while done < abs(end - start) - 1e-9 * full:
            if SCHEMES[scheme].limited:
                dt = min(full, abs(end - start) - done)
                while dt * (rate := fastest(walks(start + walks.sign * (done + dt / 2)))) > 1:
                    dt = 0.95 / rate
            steps += 1
            if steps + (abs(end - start) - done) / dt > MAX_STEPS:
                raise ValueError(f"scheme={scheme!r} needs more than {MAX_STEPS} steps here: use scheme='implicit'")
            yield k, start + walks.sign * (done + dt / 2), dt
            done += dt


def fastest(walks: list[Walk]) -> float:
    """The highest rate at which a cell is left."""
    return max(float((w.up + w.down).max()) for w in walks)


def advance(walks: list[Walk], dt: float, p: np.ndarray, scheme: str, transpose: bool) -> np.ndarray:
    """One step for all axes: x then y (order 1; the transpose takes y then x), or x/2, y, x/2 (order 2)."""
    row = SCHEMES[scheme]
    parts = [(k, dt) for k in range(len(walks))]
    if len(parts) == 2:
        parts = [(0, dt / 2), (1, dt), (0, dt / 2)] if row.order == 2 else parts[:: -1 if transpose else 1]
    for k, h in parts:
        q, shape = lines_of(p, k)
        p = np.moveaxis(row.step(walks[k], h, q, transpose).reshape(shape), -1, k)
    return p


def check_times(times: Any) -> tuple[np.ndarray, int]:
    """Times as an array, and +1 if they increase or -1 if they decrease."""
    times = to_numpy(times)
    steps = np.diff(times) if times.ndim == 1 else np.zeros(0)
    if len(steps) == 0 or not np.isfinite(times).all() or not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(
            "times must be at least two finite numbers, all increasing (an SDE run forward) "
            "or all decreasing (a reverse-time SDE)"
        )
    return times, 1 if steps[0] > 0 else -1


def check_density(p0: Any, grid: Grid) -> np.ndarray:
    """p0 as a density on the grid: finite, non-negative, mass 1."""
    if callable(p0) or hasattr(p0, "log_prob"):
        return to_numpy(grid.density(p0))
    p = to_numpy(grid.values(p0, "p0"))
    if (p < 0).any():
        raise ValueError(f"p0 has negative values (the least is {p.min():.3g}): a density is >= 0")
    if abs(p.sum() * grid.volume - 1) > 1e-5:
        raise ValueError(f"p0 has mass {p.sum() * grid.volume:.6g}, not 1: divide it by p0.sum() * grid.volume")
    return p
