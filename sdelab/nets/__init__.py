"""Small networks F(x, c) of a state and a noise level, and the denoisers D(x, t) made of them."""

from .autoencoder import Autoencoder
from .base import Features, initialise
from .classifier import Classifier
from .denoiser import Denoiser
from .mlp import MLP
from .unet import UNet

__all__ = ["MLP", "Autoencoder", "Classifier", "Denoiser", "Features", "UNet", "initialise"]
