"""Training a denoiser: what to weigh, at which times, and a loop that goes on after a kill as if it had not been."""

from . import ranks
from .augment import augmented
from .ema import EMA, constant_ema, power_ema, power_exponent
from .loop import Run, cosine, fit, load
from .times import TIMES, draw_times, lognormal
from .weighting import WEIGHTINGS, loss, weight

__all__ = [
    "EMA", "TIMES", "WEIGHTINGS", "Run", "augmented", "constant_ema", "cosine", "draw_times", "fit", "load",
    "lognormal", "loss", "power_ema", "power_exponent", "ranks", "weight",
]  # fmt: skip
