"""Averages of the weights over training: exponential, and by a power of the step."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

Decay = Callable[[int], float]


def constant_ema(decay: float) -> Decay:
    """Weights of the average ~ decay^(steps ago), normalised over the steps that have been: no trace of the start.

    That is theta_bar <- b_k theta_bar + (1 - b_k) theta with b_k = b (1 - b^(k-1))/(1 - b^k) at the k-th step, Adam's
    correction of the bias; b_1 = 0.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"the decay of an average must be at least 0 and below 1, not {decay}")
    return lambda k: decay * (1 - decay ** (k - 1)) / (1 - decay**k)


def power_exponent(sigma_rel: float) -> float:
    """gamma of the average whose weights ~ k^gamma have the standard deviation sigma_rel times the number of steps.

    sigma_rel^2 = (gamma + 1)/((gamma + 2)^2 (gamma + 3)): the positive root of a cubic. Karras et al.
    (2024), section 3.1.
    """
    if not 0 < sigma_rel < 12**-0.5:
        raise ValueError(f"sigma_rel must lie between 0 and 12^(-1/2) = 0.2887 (a plain mean), not {sigma_rel}")
    a = sigma_rel**-2
    return float(np.roots([1, 7, 16 - a, 12 - a]).real.max())


def power_ema(sigma_rel: float) -> Decay:
    """Average in which the k-th step weighs ~ k^gamma: its width is a share ``sigma_rel`` of training, however long.

    b_k = (1 - 1/k)^(gamma + 1), gamma from :func:`power_exponent`. Karras et al. (2024), "Analyzing and improving the
    training dynamics of diffusion models", section 3.1; widths of 0.05 to 0.15 are usual.
    """
    gamma = power_exponent(sigma_rel)
    return lambda k: math.exp((gamma + 1) * math.log1p(-1 / k)) if k > 1 else 0.0


class EMA:
    """theta_bar <- b_k theta_bar + (1 - b_k) theta after the k-th step, for all ``parameters``, given by name."""

    def __init__(self, parameters: Mapping[str, Tensor], decay: Decay):
        self.decay = decay
        self.averages: dict[str, Tensor] = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self, parameters: Mapping[str, Tensor], k: int) -> None:
        """Take in the parameters after step k = 1, 2, …"""
        b = self.decay(k)
        for average, p in zip(self.averages.values(), parameters.values(), strict=True):
            average.lerp_(p, 1 - b)
