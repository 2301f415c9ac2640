"""One denoiser for every process: the same state in other units, at the time of the same signal-to-noise ratio."""

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Process, Time, as_time, like


def transfer(
    denoise: Callable[[Tensor, Time], Tensor], source: Process, target: Process
) -> Callable[[Tensor, Time], Tensor]:
    """The denoiser of ``target`` for the data of ``denoise``, a denoiser of ``source``; exact, nothing is fitted.

        D_target(x, t) = D_source(x r_source(t')/r_target(t), t'),   lam_source(t') = lam_target(t)

    with r = sqrt(alpha^2 + sigma^2), whose ratio at equal lam is that of the alphas and is defined where alpha or sigma
    is 0. Noisier states than the source has are shown to it as if they were at its T. x (n, ...); t one time or one per
    sample. Kingma et al. (2021), section 5.1; chapter 7, eq. transfer.
    """

    def size(process: Process, t: Tensor) -> Tensor:
        return torch.hypot(process.alpha(t), process.sigma(t))

    def moved(x: Tensor, t: Time) -> Tensor:
        t = as_time(t)
        there = source.t_of_lam(target.lam(t)).clamp(0.0, source.T)
        return denoise(like(size(source, there) / size(target, t), x) * x, there)

    return moved
