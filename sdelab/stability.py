"""Stability of a solver on linear test equations: how a step magnifies an error, and from which step size on it grows.

dx = lam x dt (complex lam, z = h lam) for ODE solvers; dx = lam x dt + mu x dw (m = mu sqrt(h)) for schemes with noise.
A solver is run as it stands for one step, so nothing here repeats its formulas; only multistep methods, whose step
needs a past, are taken by their weights.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .sde import SDE
from .solvers import AdamsBashforth

F64 = torch.float64
Complex = Tensor | complex
NODES = 12  # of Gauss and Hermite's rule for each normal: exact for polynomials of degree 23


def one_step(solver, z: Complex) -> Tensor:
    """The stability function R(z) of a one-step ODE solver: x_{n+1} = R(h lam) x_n on dx = lam x dt.

    z: complex, any shape; returns complex128 of that shape. The solver takes one step from 1, as on any ODE, with
    complex numbers written as pairs of real ones. ``ValueError`` for solvers with a past (see :func:`multistep`).
    Reference: Hairer & Wanner (1996), IV.2.
    """
    if getattr(solver, "history", 0):
        raise ValueError(f"{type(solver).__name__} has a past: its growth is that of roots, stability.multistep")
    flat = torch.as_tensor(z, dtype=torch.complex128).reshape(-1)
    x = torch.stack([torch.ones(len(flat)), torch.zeros(len(flat))], 1).to(F64)
    return torch.view_as_complex(_run(solver, SDE(_spiral(flat)), x, None)).reshape(torch.as_tensor(z).shape)


def multistep(z: Complex, past: Sequence[float], slopes: Sequence[float]) -> Tensor:
    """The largest |r| among the roots of r^k = sum_j past_j r^{k-1-j} + z sum_j slopes_j r^{k-1-j}.

    Of the method x_{n+1} = sum_j past_j x_{n-j} + h sum_j slopes_j f_{n-j} on dx = lam x dt, z = h lam of any shape:
    its errors grow by this factor a step. Reference: Hairer & Wanner (1996), V.1.
    """
    k = max(len(past), len(slopes))
    a, b = (torch.tensor([*w, *[0.0] * (k - len(w))], dtype=torch.complex128) for w in (past, slopes))
    z = torch.as_tensor(z, dtype=torch.complex128)
    companion = torch.diag(torch.ones(k - 1, dtype=torch.complex128), -1).repeat(*z.shape, 1, 1)
    companion[..., 0, :] = a + z[..., None] * b
    return torch.linalg.eigvals(companion).abs().amax(-1)


def adams_weights(order: int) -> list[float]:
    """The weights of Adams and Bashforth's method on equal steps, the newest slope first."""
    solver = AdamsBashforth(order)
    times = [float(n) for n in range(order + 1)]
    return list(solver.plan(SDE(lambda x, t: x), times)[-1].stages[0].weights)


def growth(solver, z: Complex) -> Tensor:
    """The factor by which a step with z = h lam magnifies an error, at last: |R(z)|, or the largest root."""
    if isinstance(solver, AdamsBashforth):
        return multistep(z, [1.0], adams_weights(solver.order))
    return one_step(solver, z).abs()


@torch.no_grad()
def moments(solver, z: Complex, m: Tensor | float) -> tuple[Tensor, Tensor]:
    """(E R, E|R|^2) of one step x_{n+1} = R x_n on dx = lam x dt + mu x dw, z = h lam (complex), m = mu sqrt(h) (real).

    R is a polynomial in the step's normals, so Gauss and Hermite's rule gives both without random numbers. The scheme
    is mean-square stable where E|R|^2 < 1; the equation itself where 2 Re lam + mu^2 < 0.
    Reference: Saito & Mitsui (1996), "Stability analysis of numerical schemes for stochastic differential equations".
    """
    wide = torch.as_tensor(z, dtype=torch.complex128), torch.as_tensor(m, dtype=F64)
    at, noise = torch.broadcast_tensors(*wide)
    nodes, weights = (torch.as_tensor(w, dtype=F64) for w in np.polynomial.hermite_e.hermegauss(NODES))
    count = 2 if getattr(solver, "area", False) else 1
    z_nodes = torch.tensor(list(itertools.product(nodes.tolist(), repeat=count)), dtype=F64)
    products = itertools.product((weights / weights.sum()).tolist(), repeat=count)
    w = torch.tensor([math.prod(p) for p in products], dtype=F64)
    flat, mu = (v.reshape(-1).repeat_interleave(len(w)) for v in (at, noise))
    n = at.numel()
    sde = SDE(_spiral(flat), lambda x, t: mu[:, None] * x)
    x = torch.stack([torch.ones(len(flat)), torch.zeros(len(flat))], 1).to(F64)
    normals = [column.repeat(n)[:, None].expand(-1, 2) for column in z_nodes.T]
    R = torch.view_as_complex(_run(solver, sde, x, normals)).reshape(n, len(w))
    return (R * w).sum(1).reshape(at.shape), (R.abs().square() * w).sum(1).reshape(at.shape)


def limit(factor: Callable[[Tensor], Tensor], longest: float = 100.0) -> float:
    """The step size h from which ``factor(h)`` first exceeds 1, to about ten digits.

    ``factor``: growth per step at the step sizes h (n,), for example ``lambda h: growth(solver, -h)`` for lam = -1.
    0 where steps of a hundredth grow already, ``inf`` where none up to ``longest`` does. Growth of less than a part in
    10^12 counts as none.
    """
    low, high = 0.01, float(longest)
    for _ in range(6):
        h = torch.logspace(math.log10(low), math.log10(high), 2001, dtype=F64)
        grows = (factor(h) > 1 + 1e-12).nonzero()
        if not len(grows):
            return math.inf
        first = int(grows[0])
        if first == 0:
            return 0.0 if low == 0.01 else low
        low, high = h[first - 1].item(), h[first].item()
        if high - low < 1e-11 * high:
            break
    return high


def _spiral(flat: Tensor):
    """The drift lam x, of complex numbers as pairs."""

    def drift(x, t):
        return torch.view_as_real(torch.view_as_complex(x.contiguous()) * flat)

    return drift


def _run(solver, sde: SDE, x: Tensor, normals: list[Tensor] | None) -> Tensor:
    """One step of length 1 from x."""

    def draw(a, b, x, std, area=False):
        assert normals is not None
        return normals[int(area)].clone(), std

    memory = solver.start()
    memory["keep_states"] = True
    (entry,) = solver.plan(sde, [0.0, 1.0])
    return solver.step(sde, x, entry, memory, draw)
