"""What the networks share: weights that are a pure function of a seed, and features of the noise level."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .. import noise


@contextmanager
def blank() -> Iterator[None]:
    """Layers made inside have shapes and no numbers yet, so PyTorch's own initialisation draws nothing from its global
    generator; :func:`initialise` gives them their numbers."""
    with torch.device("meta"):
        yield


def initialise(network: nn.Module, seed: int) -> None:
    """Give every parameter its number: matrices N(0, 1/fan_in), biases 0, scales of norms 1; a function of seed alone.

    Parameters are drawn in the order of ``network.named_parameters()``, in float32. Layers with ``.at_zero = True``
    start at 0.
    """
    network.to_empty(device="cpu")
    layers = dict(network.named_modules())
    with torch.no_grad():
        for number, (name, parameter) in enumerate(network.named_parameters()):
            layer = layers[name.rpartition(".")[0]]
            if getattr(layer, "at_zero", False):
                parameter.zero_()
            elif parameter.ndim > 1:
                z = noise.normal(parameter.shape, seed, key=(noise.WEIGHTS, number), dtype=torch.float32)
                parameter.copy_(z / math.sqrt(parameter[0].numel()))
            else:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def at_zero(layer: nn.Module) -> nn.Module:
    """Mark a layer to start at 0: a residual branch that is silent at first, or an output that begins at 0."""
    layer.at_zero = True  # type: ignore[assignment]
    return layer


class Features(nn.Module):
    """Fourier features of the noise level, (cos 2 pi f_k c, sin 2 pi f_k c) at frequencies f_k from 1/8 to 4.

    c: shape () or (n,); gives (2 count,) or (n, 2 count). The frequencies are spaced geometrically. Noise levels
    log(sigma/alpha)/4 span about two units, so that the lowest makes less than a turn.
    """

    def __init__(self, count: int = 16):
        super().__init__()
        self.count, self.size = count, 2 * count

    def forward(self, c: Tensor) -> Tensor:
        f = torch.logspace(-3, 2, self.count, base=2.0, dtype=c.dtype, device=c.device)
        phase = 2 * math.pi * f * c[..., None]
        return torch.cat([phase.cos(), phase.sin()], -1)

    def extra_repr(self) -> str:
        return f"count={self.count}"


def level(c, x: Tensor) -> Tensor:
    """c as a tensor of x's dtype and device, of shape () or (n,); anything else is a ``ValueError``."""
    c = torch.as_tensor(c).to(x)
    if c.ndim > 1 or (c.ndim == 1 and len(c) != len(x)):
        raise ValueError(f"c of shape {tuple(c.shape)} for a batch of {len(x)}: give one number, or one per sample")
    return c
