"""Losses for learning a score s(x, t), each of them a number per sample whose mean is to be made small.

With p = p_t the law of x, and J = E|grad log p|^2, which no parameter of s changes, the means are

    explicit    E  1/2 |s - grad log p|^2                                    =: ESM
    implicit    E [1/2 |s|^2 + div s]                                        = ESM - J/2
    sliced      E [1/2 |s|^2 + v . grad (v . s)],  E v v^T = I               = ESM - J/2
    denoising   E  1/2 |s(alpha x_0 + sigma eps) + eps/sigma|^2              = ESM + (d/sigma^2 - J)/2

so they differ by constants and have one optimum. The first needs the unknown score; the implicit ones need only samples
of x, but ask s to vanish with p far out (integration by parts); the last needs samples of x_0 as well. None needs the
normalising constant of a density: :func:`of_energy` is a score of one known up to that.

Everywhere ``score`` is a function of (x, t), x has shape (n, d) or (n, ...), t is one time or one per sample, sums run
over all axes but the first, and the result, of shape (n,), can be differentiated in the parameters of the score.
"""

from collections.abc import Callable
from typing import SupportsIndex

import torch
from torch import Tensor

from . import noise
from .process import Process, Time, as_time, like

Score = Callable[[Tensor, Time], Tensor]


def explicit(score: Score, x: Tensor, t: Time, exact: Tensor | Score) -> Tensor:
    """ESM: 1/2 |s(x, t) - exact|^2, the Fisher divergence to the exact score (its values at x, or a function)."""
    s = _held(score(x, t), x)
    true = exact if torch.is_tensor(exact) else exact(x, t)
    return 0.5 * _dot(s - _held(true, x, "the exact score"), s - true)


def implicit(score: Score, x: Tensor, t: Time) -> Tensor:
    """ISM: 1/2 |s|^2 + div s, with the exact divergence, by one reverse-mode product per dimension.

    Rows must not look at each other (no normalisation over the batch). Hyvärinen (2005), theorem 1.
    """
    with torch.enable_grad():
        x = _leaf(x)
        s = _held(score(x, t), x)
        flat, div = s.flatten(1), x.new_zeros(len(x))
        for i in range(flat.shape[1]):
            div = div + _slope(flat[:, i].sum(), x).flatten(1)[:, i]
        return 0.5 * _dot(s, s) + div


def sliced(
    score: Score,
    x: Tensor,
    t: Time,
    seed: SupportsIndex,
    key: SupportsIndex = 0,
    *,
    projections: int = 1,
    reduced: bool = True,
) -> Tensor:
    """Sliced score matching: 1/2 |s|^2 + v . grad(v . s), with random v instead of the trace: one product each.

    v is N(0, I), a function of (seed, key, row): in training, let ``key`` be the step. The mean over ``projections`` of
    them is taken. reduced=True is Song et al.'s variance-reduced form; False has 1/2 (v . s)^2 in place of
    1/2 |s|^2. The mean over v is :func:`implicit`. Song, Garg, Shi and Ermon (2019), section 3.
    """
    if projections < 1:
        raise ValueError(f"projections must be at least 1, not {projections}")
    with torch.enable_grad():
        x = _leaf(x)
        s = _held(score(x, t), x)
        total = x.new_zeros(len(x))
        for j in range(projections):
            v = noise.normal(x.shape, seed, key=(noise.SLICE, key, j), dtype=x.dtype, device=x.device)
            along = _dot(v, s)
            total = total + (0.5 * _dot(s, s) if reduced else 0.5 * along**2) + _dot(v, _slope(along.sum(), x))
        return total / projections


def denoising(score: Score, process: Process, x0: Tensor, t: Time, eps: Tensor) -> Tensor:
    """DSM: 1/2 |s(x_t, t) + eps/sigma|^2 at x_t = alpha x_0 + sigma eps: grad log p(x_t | x_0) is -eps/sigma.

    x0, eps (n, ...); ``ValueError`` where sigma = 0: nothing to denoise. Vincent (2011), section 4.
    """
    t = as_time(t)
    sigma = process.sigma(t)
    if not (sigma > 0).all():
        raise ValueError(f"sigma = 0 at a time among t = {t.tolist()}: the loss is infinite there; take times t > 0")
    x = process.perturb(x0, t, eps)
    r = _held(score(x, t), x) + eps / like(sigma, x)
    return 0.5 * _dot(r, r)


def of_energy(energy: Callable[[Tensor, Time], Tensor]) -> Score:
    """The score -grad E of the density exp(-E(x, t))/Z(t), whatever Z: energy (x, t) -> (n,), one number per sample."""

    def score(x: Tensor, t: Time) -> Tensor:
        with torch.enable_grad():
            at = x if x.requires_grad else _leaf(x)
            E = energy(at, t)
            if E.shape != (len(x),):
                raise ValueError(f"an energy is one number per sample: shape ({len(x)},), not {tuple(E.shape)}")
            return -_slope(E.sum(), at)

    return score


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _slope(y: Tensor, x: Tensor) -> Tensor:
    """dy/dx, itself differentiable; 0 where y does not depend on x."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    return torch.autograd.grad(y, x, create_graph=True, allow_unused=True, materialize_grads=True)[0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _held(s: Tensor, x: Tensor, what: str = "the score") -> Tensor:
    if s.shape != x.shape:
        raise ValueError(f"{what} has shape {tuple(s.shape)} for x of shape {tuple(x.shape)}: they must be the same")
    return s
