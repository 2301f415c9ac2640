"""Latent diffusion: encode, diffuse, decode.

    q(z | x) = N(mean(x), var(x)),      x_hat = decode(z),      then diffusion on z = (mean(x) - shift)/scale

A denoiser of latents is a denoiser like any other, so that every process, solver and guidance takes it. Rombach et al.
(2022).
"""

from functools import partial

import torch
from torch import Tensor

from .nets import Autoencoder


def autoencoder_loss(model: Autoencoder, x0: Tensor, t: Tensor, eps: Tensor, kl: float = 1e-3) -> Tensor:
    """mean over pixels of |x_hat - x|^2 + kl (mean over latents of KL(q(z | x) || N(0, 1))): shape (n,).

    KL = (mean^2 + var - 1 - log var)/2 per number; z = mean + sqrt(var) eps, with the first numbers of ``eps``, which
    has x's shape. kl = 0 makes a plain autoencoder: z = mean, and the variance is not trained. ``t`` is not used.

    Kingma and Welling (2014), eq. 10.
    """
    mean, log_var = model.posterior(x0)
    if not kl:
        return (model.image(mean) - x0).square().flatten(1).mean(1)
    noise = eps.flatten(1)[:, : mean[0].numel()].view_as(mean)
    error = (model.image(mean + (0.5 * log_var).exp() * noise) - x0).square().flatten(1).mean(1)
    divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).flatten(1).mean(1)
    return error + kl * divergence


def objective(kl: float = 1e-3):
    """:func:`autoencoder_loss` with this weight, for ``sd.train.fit(..., objective=..., times=sd.latent.no_times)``."""
    if not kl >= 0:
        raise ValueError(f"the weight of the divergence must not be negative, and is {kl}")
    return partial(autoencoder_loss, kl=kl)


def no_times(u: Tensor) -> Tensor:
    """The times of a training that knows none."""
    return u


@torch.no_grad()
def encode(model: Autoencoder, images: Tensor, batch: int = 512) -> Tensor:
    """Latents of many images, a part at a time."""
    return torch.cat([model.encode(x) for x in images.split(batch)])


@torch.no_grad()
def decode(model: Autoencoder, latents: Tensor, batch: int = 512) -> Tensor:
    """Images of many latents, a part at a time, held within [-1, 1]."""
    return torch.cat([model.decode(z) for z in latents.split(batch)]).clamp_(-1, 1)


def psnr(x: Tensor, y: Tensor) -> float:
    """Peak signal-to-noise ratio in decibels of images in [-1, 1]: 10 log10(2^2/mean |x - y|^2), over all of them."""
    if x.shape != y.shape:
        raise ValueError(f"images of shapes {tuple(x.shape)} and {tuple(y.shape)}: compare pairs")
    return float(10 * torch.log10(4 / (x.double() - y.double()).square().mean()))
