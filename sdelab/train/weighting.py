"""The loss w(t) |D(x_t, t) - x_0|^2 and its weights: what a network predicts is only a choice of w."""

from collections.abc import Callable

import torch
from torch import Tensor

from .. import targets
from .._checks import named
from ..process import Process, Time, as_time, like

Weight = Callable[[Process, Tensor], Tensor]


def target_weight(process: Process, t: Time, name: str) -> Tensor:
    """w with |y_predicted - y|^2 = w |D - x_0|^2 for the target y = p x_0 + q eps called ``name``.

    Where D is off by e, the noise (x - alpha D)/sigma is off by -(alpha/sigma) e, and y by (p - q alpha/sigma) e:

        w = ((alpha q - sigma p)/sigma)^2

    1 for x0, (alpha/sigma)^2 for eps, (alpha^2 + sigma^2)^2/sigma^2 for v.
    """
    t = as_time(t)
    p, q = targets.basis(process, t, name)
    return (p - q * process.alpha(t) / process.sigma(t)) ** 2


def _edm(process: Process, t: Tensor, sigma_data: float) -> Tensor:
    """1/c_out^2 = (alpha^2 d^2 + sigma^2)/(sigma d)^2. Karras et al. (2022), eq. 8 and table 1."""
    return 1 / targets.Preconditioning(process, sigma_data).c_out(t) ** 2


def _min_snr(process: Process, t: Tensor, _: float) -> Tensor:
    """min(alpha^2/sigma^2, 5). Hang et al. (2023), section 3.4."""
    return (process.alpha(t) ** 2 / process.var(t)).clamp_max(5.0)


def _likelihood(process: Process, t: Tensor, _: float) -> Tensor:
    """g^2 alpha^2/sigma^4: g^2 times the loss on the score, a bound on -log p(x_0). Song et al. (2021b), theorem 1."""
    return process.g2(t) * target_weight(process, t, "score")


def _sigmoid(process: Process, t: Tensor, _: float) -> Tensor:
    """sigmoid(2 - 2 lam) times the loss on eps. Kingma and Gao (2023); Hoogeboom et al. (2024), with bias 2."""
    return torch.sigmoid(2.0 - 2 * process.lam(t)) * target_weight(process, t, "eps")


_OTHERS = {"edm": _edm, "min_snr": _min_snr, "likelihood": _likelihood, "sigmoid": _sigmoid}
WEIGHTINGS = (*targets.NAMES, *_OTHERS)


def weight(weighting: str | Weight, process: Process, t: Time, sigma_data: float = 1.0) -> Tensor:
    """w(t) in w |D - x_0|^2: a number per time, in float64 for numbers.

    weighting: a target ("x0", "eps", "v", "velocity", "score"), whose plain squared error this is; "edm"; "min_snr";
    "likelihood" (for times drawn uniformly); "sigmoid"; or a function of (process, t). ``ValueError``: unknown names,
    and times at which w is infinite (most are where sigma = 0) or negative.
    """
    t = as_time(t)
    if callable(weighting):
        w = weighting(process, t)
    else:
        named(dict.fromkeys(WEIGHTINGS), weighting, "weighting")
        w = _OTHERS[weighting](process, t, sigma_data) if weighting in _OTHERS else target_weight(process, t, weighting)
    if not (w >= 0).all() or not w.isfinite().all():
        raise ValueError(
            f"the weighting {weighting!r} is negative, infinite or not a number at a time among those given: "
            "keep away from sigma = 0 (t >= process.t_min) and, for 'likelihood', from alpha = 0"
        )
    return w


def loss(denoiser, x0: Tensor, t: Time, eps: Tensor, weighting: str | Weight | None = None) -> Tensor:
    """w(t) |D(x_t, t) - x_0|^2 / d at x_t = alpha x_0 + sigma eps: one number per sample, shape (n,).

    x0, eps (n, ...) with d numbers a row; t is one time or one per sample. weighting: see :func:`weight`; None is the
    plain squared error of what the denoiser's network predicts (1/c_out^2 for "edm"). The network's dtype decides
    nothing here: all is in x0's.
    """
    process, weighting = denoiser.process, denoiser.predicts if weighting is None else weighting
    D = denoiser(process.perturb(x0, t, eps), t)
    if D.shape != x0.shape:
        raise ValueError(f"the denoiser returned shape {tuple(D.shape)} for x_0 of shape {tuple(x0.shape)}")
    w = weight(weighting, process, t, denoiser.sigma_data)
    return like(w, x0).flatten() * ((D - x0) ** 2).flatten(1).mean(1)
