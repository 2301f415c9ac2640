"""Small networks F(x, c) of a state and a noise level, and the denoisers D(x, t) made of them."""

from .autoencoder import Autoencoder
from .base import Features, initialise
from .denoiser import Denoiser
from .mlp import MLP
from .unet import UNet

__all__ = ["MLP", "Autoencoder", "Denoiser", "Features", "UNet", "initialise"]
