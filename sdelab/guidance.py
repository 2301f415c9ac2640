"""Guidance: a denoiser in, a denoiser out. Every solver, grid and dial works on what comes out as on any other.

Guided denoisers are denoisers in form only: D + w (…) is the E[x_0 | x_t] of no law in general, so that what is sampled
depends on the path from noise to data as well as on w.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .process import Process, Time, as_time, like

Denoise = Callable[[Tensor, Time], Tensor]


def classifier_free(
    conditional: Denoise,
    unconditional: Denoise,
    w: float | Tensor,
    *,
    interval: tuple[float, float] | None = None,
    process: Process | None = None,
    rescale: float = 0.0,
) -> Denoise:
    """D = D_u + w (D_c - D_u): w = 1 is the conditional denoiser, 0 the other, beyond 1 away from the other.

    w: a number, or a tensor (n,) with one per sample. A denoiser that has no say (w = 1, w = 0, outside the interval)
    is not called. With a worse model of the same condition in place of the unconditional one this is autoguidance
    (Karras et al., 2024).

    interval: (low, high) in sigma/alpha, where guidance acts; elsewhere D = D_c; needs ``process``. rescale: phi in
    D <- (phi std(D_c)/std(D) + 1 - phi) D, with the standard deviation of each sample's numbers, which guidance raises.
    ``ValueError``: weights that are not finite, intervals that are none, phi outside [0, 1].

    Ho and Salimans (2022), eq. 6, whose weight is w - 1 here. Interval: Kynkäänniemi et al. (2024), section 3.
    Rescaling: Lin et al. (2024), eqs. 15 and 16.
    """
    weight = as_time(w)
    if weight.ndim > 1 or not weight.isfinite().all():
        raise ValueError(f"w must be a finite number, or one per sample, not {w!r}")
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale must lie between 0 and 1, not {rescale}")
    low, high = interval or (0.0, float("inf"))
    if not 0 <= low < high:
        raise ValueError(f"interval must be (low, high) in sigma/alpha with 0 <= low < high, not {interval}")
    if interval and process is None:
        raise ValueError("an interval is one of sigma/alpha: give the process, too")

    def acting(t: Time) -> Tensor:
        """w, and 1 outside the interval: shape () or (n,)."""
        if process is None or interval is None:
            return weight
        ratio = (-process.lam(as_time(t))).exp()
        return torch.where((low < ratio) & (ratio <= high), weight.to(ratio), 1.0)

    def denoise(x: Tensor, t: Time) -> Tensor:
        now = acting(t)
        if not now.any():
            return unconditional(x, t)
        D_c = conditional(x, t)
        if (now == 1).all():
            return D_c
        D = unconditional(x, t)
        D = D + like(now, x) * (D_c - D)
        if rescale:
            ratio = D_c.flatten(1).std(1) / D.flatten(1).std(1)
            D = like(rescale * ratio + (1 - rescale), x) * D
        return D

    return denoise


def classifier(
    denoise: Denoise, log_prob: Callable[[Tensor, Time], Tensor], process: Process, w: float = 1.0
) -> Denoise:
    """D + w (sigma^2/alpha) grad_x log p(y | x_t): for w = 1 the denoiser of the data of class y (Bayes, Tweedie).

    log_prob(x, t) -> (n,): log p(y | x_t) of a classifier of noisy states; its gradient comes from automatic
    differentiation. ``ValueError`` where alpha = 0, as pure noise tells no class: start a little later.

    Dhariwal and Nichol (2021), section 4.1, where the noise is corrected instead.
    """

    def guided(x: Tensor, t: Time) -> Tensor:
        alpha = process.alpha(as_time(t))
        if not (alpha > 0).all():
            raise ValueError(f"classifier guidance divides by alpha, which is 0 at t = {float(as_time(t).max())}")
        with torch.inference_mode(False), torch.enable_grad():
            y = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(log_prob(y, t).sum(), y)
        return denoise(x, t) + like(w * process.var(as_time(t)) / alpha, x) * slope

    return guided


def threshold(denoise: Denoise, limit: float = 1.0) -> Denoise:
    """D held within [-limit, limit], the range of the data. Static thresholding, Saharia et al. (2022), section 2.3."""
    _positive(limit)
    return lambda x, t: denoise(x, t).clamp(-limit, limit)


def dynamic_threshold(denoise: Denoise, quantile: float = 0.995, limit: float = 1.0) -> Denoise:
    """D <- (limit/s) clip(D, -s, s) with s the ``quantile`` of each sample's |D|, at least ``limit``.

    Where many numbers lie out of range, all are drawn in instead of being cut off. Saharia et al. (2022), section 2.3.
    """
    _positive(limit)
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must lie in (0, 1], not {quantile}")

    def held(x: Tensor, t: Time) -> Tensor:
        D = denoise(x, t)
        size = D.abs().flatten(1)
        s = like(size.quantile(quantile, 1).clamp_min(limit), D)
        return D.clamp(-s, s) * (limit / s)

    return held


def _positive(limit: float) -> None:
    if not limit > 0:
        raise ValueError(f"limit must be positive, not {limit}")
