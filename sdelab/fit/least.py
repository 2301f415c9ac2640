"""Levenberg–Marquardt for a mean of norms: the minimiser behind optimised grids and tuned solvers."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def mean_norm(e: Tensor) -> float:
    """Mean over samples of the L2 norm of e (n, ...)."""
    return float(e.flatten(1).norm(dim=1).mean())


def descend(
    residual: Callable[[Tensor], Tensor], frame: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], theta: Tensor, reach
) -> Iterator[tuple[Tensor, float]]:
    """Minimise f(theta) = mean_i |e_i|, e = residual(theta); yield (theta, f) at the start and after every descent.

    frame(theta, e) gives (J, r): rows de/dtheta (P, n, m) in some m directions per sample, and e (n, m) in the same
    directions. Each sample weighs 1/|e_i| (iteratively reweighted least squares), so that the mean of norms falls and
    the few starts near a watershed, whose errors are far above the others', do not decide alone. ``reach`` (P,) bounds
    one step. Ends when six dampings in a row do not help. Marquardt (1963); for the weights Lawson (1961).
    """
    e = residual(theta)
    f, mu = mean_norm(e), 1e-2
    yield theta, f
    while f > 0:
        J, r = frame(theta, e)
        root = (e.flatten(1).norm(dim=1) + 0.1 * f).rsqrt()
        J, r = (J * root[:, None]).flatten(1), (r * root[:, None]).flatten()
        A, g = J @ J.T, J @ r
        scale = A.diagonal() + 1e-6 * A.diagonal().mean() + 1e-300
        for _ in range(6):
            d = -torch.linalg.solve(A + torch.diag(mu * scale), g)
            d = d / max(1.0, float((d.abs() / reach).max()))
            try:
                trial = residual(theta + d)
                new = mean_norm(trial)
            except (ArithmeticError, ValueError):  # diverged, or two times met
                new = math.inf
            if new < f:
                break
            mu *= 6
        else:
            return
        theta, e, f, mu = theta + d, trial, new, max(mu / 5, 1e-9)
        yield theta, f
