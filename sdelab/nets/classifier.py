"""A small classifier of images, whose features serve to judge others."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import log_softmax, silu

from .autoencoder import Residual
from .base import blank, initialise
from .unet import norm


class Classifier(nn.Module):
    """Logits (n, classes) of images x (n, channels, H, W): a linear map of ``FEATURES`` numbers, ``features(x)``.

    Squares of 2 x 2 pixels become channels; ``blocks`` residual blocks of ``width`` channels at H/2, as many of twice
    that at H/4 and of four times that at H/8; the mean over all places. H and W must be multiples of 8. The weights are
    a function of ``seed`` alone. ``ValueError``: shapes that do not fit.

    Residual blocks with the norm first: He et al. (2016), "Identity mappings in deep residual networks".
    """

    FEATURES = 64

    def __init__(self, channels: int = 1, classes: int = 10, width: int = 32, blocks: int = 1, *, seed: int = 0):
        super().__init__()
        if min(channels, classes, width, blocks) < 1:
            raise ValueError("channels, classes, width and blocks must be at least 1")
        self.channels, self.classes = channels, classes
        self.settings = {"channels": channels, "classes": classes, "width": width, "blocks": blocks}

        def stage(size: int) -> list[nn.Module]:
            return [Residual(size) for _ in range(blocks)]

        with blank():
            self.body = nn.Sequential(
                nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1), *stage(width),
                nn.Conv2d(width, 2 * width, 2, stride=2), *stage(2 * width),
                nn.Conv2d(2 * width, 4 * width, 2, stride=2), *stage(4 * width), norm(4 * width), nn.SiLU(),
            )  # fmt: skip
            self.inner, self.leave = nn.Linear(4 * width, self.FEATURES), nn.Linear(self.FEATURES, classes)
        initialise(self, seed)

    def features(self, x: Tensor) -> Tensor:
        """What the classes are told by: (n, 64), before the last layer."""
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % 8 or x.shape[3] % 8:
            raise ValueError(
                f"x must have shape (n, {self.channels}, H, W) with H and W multiples of 8, not {tuple(x.shape)}"
            )
        return silu(self.inner(self.body(x).mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.features(x))

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(y | x) of one class per image, y (n,): shape (n,)."""
        return log_softmax(self(x), 1).gather(1, y[:, None])[:, 0]

    def of(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        """x -> log p(y | x), for classes y (n,)."""
        return partial(self.log_prob, y=y)
