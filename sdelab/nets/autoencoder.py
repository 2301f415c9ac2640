"""A small autoencoder: images to latents of a quarter of their side, and back."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .base import at_zero, blank, initialise
from .unet import norm

# exp of more would overflow, of less means a variance of 0 to every purpose.
_FARTHEST = 20.0


class Residual(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h))))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), at_zero(nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.conv2(silu(self.norm2(self.conv1(silu(self.norm1(h))))))


class Autoencoder(nn.Module):
    """Encoder q(z | x) = N(mean(x), var(x)) and decoder of images x (n, channels, H, W), z (n, latent, H/4, W/4).

    Squares of 2 x 2 pixels become channels; ``blocks`` residual blocks of ``width`` channels at H/2, as many of twice
    that at H/4. ``encode`` gives latents that have been shifted and scaled, per channel, to mean 0 and variance 1 on
    the images shown to ``measure`` (before, they are as they come); ``decode`` undoes that first. H and W must be
    multiples of 4. The weights are a function of ``seed`` alone. ``ValueError``: shapes that do not fit.

    Kingma and Welling (2014); latents for diffusion and their scale: Rombach et al. (2022), appendix G.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, channels: int = 1, latent: int = 4, width: int = 48, blocks: int = 1, *, seed: int = 0):
        super().__init__()
        if min(channels, latent, width, blocks) < 1:
            raise ValueError("channels, latent, width and blocks must be at least 1")
        self.channels, self.latent = channels, latent
        self.settings = {"channels": channels, "latent": latent, "width": width, "blocks": blocks}

        def stage(size: int) -> list[nn.Module]:
            return [Residual(size) for _ in range(blocks)]

        with blank():
            self.encoder = nn.Sequential(
                nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1), *stage(width),
                nn.Conv2d(width, 2 * width, 2, stride=2), *stage(2 * width), norm(2 * width), nn.SiLU(),
                nn.Conv2d(2 * width, 2 * latent, 3, padding=1),
            )  # fmt: skip
            self.decoder = nn.Sequential(
                nn.Conv2d(latent, 2 * width, 3, padding=1), *stage(2 * width), nn.Conv2d(2 * width, 4 * width, 1),
                nn.PixelShuffle(2), *stage(width), norm(width), nn.SiLU(),
                nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2),
            )  # fmt: skip
        initialise(self, seed)
        self.register_buffer("shift", torch.zeros(latent, 1, 1))
        self.register_buffer("scale", torch.ones(latent, 1, 1))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log variance) of q(z | x), before shift and scale, each (n, latent, H/4, W/4)."""
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % 4 or x.shape[3] % 4:
            raise ValueError(
                f"x must have shape (n, {self.channels}, H, W) with H and W multiples of 4, not {tuple(x.shape)}"
            )
        mean, log_var = self.encoder(x).chunk(2, 1)
        return mean, log_var.clamp(-_FARTHEST, _FARTHEST)

    def image(self, z: Tensor) -> Tensor:
        """The decoder's image of a latent before shift and scale."""
        return self.decoder(self._latents(z))

    def encode(self, x: Tensor) -> Tensor:
        """The mean of q(z | x), shifted and scaled: (z - shift)/scale."""
        return (self.posterior(x)[0] - self.shift) / self.scale

    def decode(self, z: Tensor) -> Tensor:
        """The image of a shifted and scaled latent."""
        return self.decoder(self._latents(z) * self.scale + self.shift)

    def _latents(self, z: Tensor) -> Tensor:
        if z.ndim != 4 or z.shape[1] != self.latent:
            raise ValueError(f"z must have shape (n, {self.latent}, h, w), not {tuple(z.shape)}")
        return z

    @torch.no_grad()
    def measure(self, images: Tensor, batch: int = 512) -> None:
        """Set shift and scale to the mean and standard deviation, per channel, of the means of these images."""
        z = torch.cat([self.posterior(x)[0] for x in images.split(batch)]).double()
        self.shift.copy_(z.mean((0, 2, 3)).view_as(self.shift))
        self.scale.copy_(z.std((0, 2, 3), correction=0).view_as(self.scale))
