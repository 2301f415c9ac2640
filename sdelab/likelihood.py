"""Likelihoods by the probability-flow ODE: the instantaneous change of variables, and bits per dimension.

Along dx = v dt the log-density changes by -div v (Liouville), so that with x_T the encoding of x

    log p(x) = log p_T(x_T) + int div v dt

It is integrated together with x, in the coordinates of :mod:`sdelab.encoding`.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from . import _checks, noise
from .encoding import ZERO, Angle, span
from .reverse import Reverse

_DRAWS: dict[str, Callable[..., Tensor]] = {"rademacher": noise.uniform, "gaussian": noise.normal}
_CHUNK = 1 << 16  # numbers in one batch of cotangents: small states share the price of a backward pass


class LogProb(NamedTuple):
    """What :func:`log_prob` finds out about n states.

    value (n,): log-densities in nats. error (n,): standard errors of ``value`` from the spread of the probes; 0 for the
    exact divergence, NaN for a single probe, whose error is unknown. z (n, ...): the encodings x_T. samples (K, n): the
    estimate by each probe, of which ``value`` is the mean. nfe: calls of the denoiser. products: reverse-mode products
    with its Jacobian, each of them for the whole batch.
    """

    value: Tensor
    error: Tensor
    z: Tensor
    samples: Tensor
    nfe: int
    products: int


def log_prob(
    ode: Reverse, x: Tensor, *, divergence: str = "exact", probes: int = 1, seed: int = 0, first: int = 0,
    rtol: float = 1e-6, atol: float = 1e-6, t_start: float | None = None, prior=None, solver=None, times=None,
) -> LogProb:  # fmt: skip
    """Log-densities of the states x (n, ...) under the model of a probability-flow ODE, a Reverse with eta = 0.

        log p(x) = log p_T(x_T) + d log(r_T/r_s) + int_s^T div(du/dphi) dphi,     x = r u, r^2 = alpha^2 + sigma^2

    t_start = s: the density is that of the model's law *at s*. By default s is the process's t_min, and the law that of
    data with a little noise, alpha_s x_0 + sigma_s eps; s = 0 gives the law of the data itself where that has a smooth
    density. prior: p_T, an object with ``log_prob``; by default N(0, sigma_T^2 I), which forgets the alpha_T x_0 that
    is left at T (nothing is left in flows), as sampling from the prior does.

    divergence: "exact", by d reverse-mode products; "rademacher" or "gaussian", by Hutchinson's estimate v' J v with
    ``probes`` random vectors, each held along the whole path, so that the ODE stays one. The estimate of log p is
    unbiased, its exponential is not. With S the symmetric part of the integral of J, one probe has the variance
    2 (|S|^2 - sum_i S_ii^2) or 2 |S|^2. Probes are a pure function of (seed, row); ``first`` is the number of row 0.

    rtol, atol: of the default solver, for each sample's mean over (u, log p); solver, times: as in
    :func:`sdelab.encoding.encode`. The result has x's dtype and carries no gradient. ``ValueError`` for eta > 0, for a
    denoiser that cuts the graph from x to D, and for times that do not end at T where no prior is given.

    Reference: Chen et al. (2018), eq. 8; Grathwohl et al. (2019), eq. 8; Song et al. (2021), eq. 39 and 40.
    """
    ts = span(ode, t_start, times)
    T = float(ode.process.T)
    if prior is None and ts[-1] != T:
        raise ValueError(f"times end at {ts[-1]}, where the law is not the prior: end them at T = {T}, or give prior=")
    shape, d = _checks.state(x).shape, x[:1].numel() or math.prod(x.shape[1:])
    with torch.inference_mode(False), torch.no_grad():
        x = x.clone()  # also out of inference mode
        v = None
        if _checks.named({"exact": None, **_DRAWS}, divergence, "divergence"):
            v = draw_probes(divergence, shape, probes, seed, first, x.dtype, x.device)
        angle, calls = Angle(ode, ts), []
        norms = d if v is None else v.square().flatten(2).sum(2)  # v' I v

        def field(state: Tensor, phi: float) -> Tensor:
            if phi < ZERO:
                return torch.zeros_like(state)
            t, r = angle.at(phi)
            calls.append(t)
            u = state[:, :d].reshape(shape)
            D, along = _with_divergence(lambda x: ode.denoise(x, t), r * u, v)
            velocity, change = math.cos(phi) * u - D, math.cos(phi) * norms - r * along
            return torch.cat([velocity.reshape(-1, d), change.T], 1) / math.sin(phi)

        start = torch.cat([x.reshape(-1, d) / angle.radii[0], x.new_zeros(len(x), 1 if v is None else len(v))], 1)
        end = angle.carry(field, start, solver, rtol, atol, times is not None)
        z = (end[:, :d] * angle.radii[-1]).reshape(shape)
        log_z = _log_normal(z, float(ode.process.sigma(T))) if prior is None else prior.log_prob(z)
        if log_z.shape != shape[:1]:
            raise ValueError(f"the prior's log_prob gave shape {tuple(log_z.shape)} for {shape[0]} states")
        samples = log_z + d * math.log(angle.radii[-1] / angle.radii[0]) + end[:, d:].T
    error = torch.zeros_like(log_z)
    if v is not None:
        error = samples.std(0) / math.sqrt(len(v)) if len(v) > 1 else error + math.nan
    return LogProb(samples.mean(0), error, z, samples, len(calls), len(calls) * (d if v is None else len(v)))


def _log_normal(z: Tensor, sigma: float) -> Tensor:
    """log N(z; 0, sigma^2 I), shape (n,)."""
    z = z.reshape(len(z), math.prod(z.shape[1:])) / sigma
    return -0.5 * z.square().sum(1) - z.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))


def draw_probes(
    kind: str, shape, count: int, seed: int = 0, first: int = 0, dtype: torch.dtype | None = None, device=None
) -> Tensor:
    """Random vectors v with E[v v'] = I, shape (count, n, ...): "rademacher" (signs) or "gaussian".

    A pure function of (seed, number of the probe, row); ``first`` is the number of row 0. ``ValueError`` for other
    kinds or count < 1.
    """
    draw = _checks.named(_DRAWS, kind, "kind of probe")
    if count < 1:
        raise ValueError(f"an estimate needs at least one probe, not {count}")
    v = torch.stack([draw(shape, seed, (noise.PROBE, k), first, dtype, device) for k in range(count)])
    return 1 - 2 * (v < 0.5).to(v.dtype) if kind == "rademacher" else v


def divergence(field: Callable[[Tensor], Tensor], x: Tensor, probes: Tensor | None = None) -> Tensor:
    """div field at the states x (n, ...): exact, shape (n,), or v' J v for each v of ``probes`` (K, n, ...), (K, n).

    ``field`` maps x to a tensor of its shape, row by row. ``ValueError`` if no gradient leads from its value to x.

    Reference: Hutchinson (1990); Skilling (1989).
    """
    change = _with_divergence(field, _checks.state(x), probes)[1]
    return change[0] if probes is None else change


def _with_divergence(field, x: Tensor, probes: Tensor | None) -> tuple[Tensor, Tensor]:
    """field(x) and its divergence, (1, n) or (K, n): the products e_i' J e_i summed, or v_k' J v_k one by one."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.clone().detach().requires_grad_()
        value = field(x)
        if value.shape != x.shape:
            raise ValueError(f"a field has the shape of its states: not {tuple(value.shape)} for x {tuple(x.shape)}")
        rows = torch.cat([(v * g).flatten(2).sum(2) for v, g in _products(value, x, probes)])
    return value.detach(), rows.sum(0, keepdim=True) if probes is None else rows


def _products(value: Tensor, x: Tensor, probes: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """(v, J' v) for the probes or, without any, the unit vectors, as many at a time as _CHUNK allows."""
    d = math.prod(x.shape[1:])
    count, size = d if probes is None else len(probes), max(1, _CHUNK // max(1, x.numel()))
    for start in range(0, count, size):
        stop = min(start + size, count)
        if probes is None:
            v = x.new_zeros(stop - start, len(x), d)
            v[range(stop - start), :, range(start, stop)] = 1
            v = v.reshape(stop - start, *x.shape)
        else:
            v = probes[start:stop]
        yield v, _pulled(value, x, v)


def _pulled(value: Tensor, x: Tensor, v: Tensor) -> Tensor:
    """J' v for a stack of v: in one batched backward pass or, where an operation has none, one by one."""
    if len(v) > 1:
        try:
            return _pull(value, x, v, batched=True)
        except RuntimeError:  # what is wrong with the function itself shows again below
            pass
    return torch.stack([_pull(value, x, one) for one in v])


def _pull(value: Tensor, x: Tensor, v: Tensor, batched: bool = False) -> Tensor:
    if value.requires_grad:
        (g,) = torch.autograd.grad(value, x, v, retain_graph=True, is_grads_batched=batched, allow_unused=True)
        if g is not None:
            return g
    raise ValueError(
        "no gradient leads from the field's value to x: a denoiser must not detach x nor run under no_grad "
        "(add 0 * x to one that is constant)"
    )


def bits_per_dim(log_prob: Tensor, dims: int, width: float = 2 / 256) -> Tensor:
    """Bits per dimension of data whose grey levels stand ``width`` apart, from log-densities in nats, shape as given.

        bits = -log2 p(x)/dims - log2(width)

    A cell of dequantised data has the volume width^dims. With u uniform in the cell, E[log p] + dims log(width) is at
    most the log of the cell's mass (Jensen), so the mean of these bits bounds from above those of the model as a law
    of the levels. The default is for 256 levels over [-1, 1), whose offset is log2(256/2) = 7. Images x = k/127.5 - 1
    have the width 2/255 and the offset 6.994, 256 levels over [0, 1) have 8, and grey levels k themselves 0.

    Reference: Theis, van den Oord & Bethge (2016), section 3.1.
    """
    if dims < 1 or not width > 0:
        raise ValueError(f"dims must be at least 1 and the width of a level positive, not {dims} and {width}")
    return -log_prob / (dims * math.log(2)) - math.log2(width)


def dequantise(
    k: Tensor, levels: int = 256, *, seed: int, first: int = 0, low: float = -1.0, high: float = 1.0,
    dtype: torch.dtype | None = None,
) -> Tensor:  # fmt: skip
    """Integers k (n, ...) in 0 … levels - 1 made continuous: low + (high - low)(k + u)/levels, u uniform on (0, 1).

    The width for :func:`bits_per_dim` is (high - low)/levels. u is a pure function of (seed, row). Integers other than
    these raise ``ValueError``, other dtypes ``TypeError``.
    """
    if not torch.is_tensor(k) or k.is_floating_point() or k.is_complex() or k.dtype == torch.bool:
        raise TypeError("k must be a tensor of integers: the levels as they were stored, not yet scaled")
    if k.ndim == 0 or levels < 1 or (k.numel() and not 0 <= int(k.min()) <= int(k.max()) < levels):
        raise ValueError(f"k must have shape (n, ...) and values in 0 … {levels - 1}")
    if not low < high:
        raise ValueError(f"low must be below high, not {low} and {high}")
    u = noise.uniform(k.shape, seed, noise.DEQUANTISE, first, dtype, k.device)
    return low + (high - low) / levels * (k + u)
