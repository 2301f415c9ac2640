"""The Fokker-Planck equation on a 1-D or 2-D grid, and its adjoint, the backward Kolmogorov equation.

    dp/dt = -div J,   J_i = mu_i p - (1/2) d(b_i^2 p)/dx_i          (Ito, diagonal noise, dX = mu dt + b dW)

Space: finite volumes with exponentially fitted fluxes (Scharfetter and Gummel 1969, eq. 27; Chang and Cooper 1970):
second order where the noise resolves the drift over a cell, positive always, first-order upwind where b = 0. A law
exp(-V) with b constant and V a polynomial of degree at most 4 is stationary on the grid exactly.
Time: one step multiplies by R(dt L), R the rational function of the chosen row of `SCHEMES`, the rates L of the walk
taken at the middle of the step. In 2-D the axes take turns: x then y for order 1, x/2 y x/2 (Strang) for order 2.
The mass lost in a step is eps * dt * rate at most: with no absorbing boundary, mass is kept to rounding.

Times that increase run the SDE forward; times that decrease run it as a reverse-time SDE (dt < 0 in its drift), as
`solve` does: `Reverse` needs no change of sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .finite_volumes import BOUNDARIES, SCHEMES, Grid, Walk, jump_rate, to_numpy

__all__ = [
    "BOUNDARIES", "SCHEMES", "Grid", "backward", "current", "forward", "generator", "mass", "moments", "residual",
]  # fmt: skip

MAX_STEPS = 1_000_000


def forward(sde: Any, p0: Any, grid: Grid, times: Any, scheme: str = "implicit", substeps: int = 1) -> torch.Tensor:
    """Density of X at each of `times`, from the density p0 at times[0]: dp/dt = -div(mu p) + (1/2) sum_i d_i^2(b_i^2 p).

    sde: has drift(x, t) and diffusion(x, t) for x of shape (N, d); drift returns (N, d), diffusion what broadcasts to
    it. p0: density of shape grid.cells, or a law (`grid.density`). scheme: a key of `SCHEMES`; substeps: equal
    steps in each interval of times ("explicit" cuts them further to stay positive). Returns float64 (len(times), *cells).

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
    """u(x, t) = E[h(X_T) | X_t = x] at each t of `times`, T = times[-1]: -du/dt = mu . grad u + (1/2) sum_i b_i^2 d_i^2 u.

    h: array of shape grid.cells or function of grid.centres. The other arguments are `forward`'s. Returns float64
    (len(times), *cells) in the order of `times`: the last entry is h. Every step is the transpose of `forward`'s step
    with the same arguments, so (u * p).sum() keeps its value over time to rounding. Behind an absorbing boundary u is 0.
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
    at="centres": mean of the two faces of each cell: (n,) in 1-D, (n1, n2, 2) in 2-D. reverse: time runs down (see `residual`).
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
    for k, (s, t) in enumerate(zip(times[:-1], times[1:], strict=True)):
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
            mf[:, [0, -1]] = (m[:, [0, -2]] + m[:, [1, -1]]) / 2
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
    for k, (start, end) in enumerate(zip(times[:-1], times[1:], strict=True)):
        # Steps equal to 12 digits are the same step, so that one factorisation serves all intervals.
        dt = full = float(f"{abs(end - start) / substeps:.12e}")
        done = 0.0
        while done < abs(end - start) - 1e-9 * full:
            if SCHEMES[scheme].limited:
                dt = min(full, abs(end - start) - done)
                while (
                    dt * (rate := max((w.up + w.down).max() for w in walks(start + walks.sign * (done + dt / 2)))) > 1
                ):
                    dt = 0.95 / rate
            if (steps := steps + 1) > MAX_STEPS:
                raise ValueError(f"scheme={scheme!r} needs more than {MAX_STEPS} steps here: use scheme='implicit'")
            yield k, start + walks.sign * (done + dt / 2), dt
            done += dt


def advance(walks: list[Walk], dt: float, p: np.ndarray, scheme: str, transpose: bool) -> np.ndarray:
    """One step for all axes: x then y (order 1; the transpose takes y then x), or x/2, y, x/2 (order 2)."""
    _, _, _, step = row = SCHEMES[scheme]
    parts = [(k, dt) for k in range(len(walks))]
    if len(parts) == 2:
        parts = [(0, dt / 2), (1, dt), (0, dt / 2)] if row.order == 2 else parts[:: -1 if transpose else 1]
    for k, h in parts:
        q, shape = lines_of(p, k)
        p = np.moveaxis(step(walks[k], h, q, transpose).reshape(shape), -1, k)
    return p


def lines_of(p: np.ndarray, axis: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """p as rows along an axis, (lines, n), and the shape to put it back with (`axis` last)."""
    moved = np.moveaxis(p, axis, -1)
    return np.ascontiguousarray(moved).reshape(-1, moved.shape[-1]), moved.shape


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
