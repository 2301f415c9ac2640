"""Where to evaluate: decreasing times from noise (t_start, default T) to data (t_end, default the process's t_min).

Every grid returns ``steps + 1`` float64 times on the CPU. ``zero=True`` spends the last step on t = 0, where it is a
denoising step: ``steps`` times from t_start to t_end, then 0. Rules that were published as ending at 0 (trailing, beta,
flow_shift, the tables, …; their ``to_zero`` says so) do that with ``zero=True`` unless t_end is given. Rules that live
in the noise-to-signal ratio sigma/alpha = e^{-lam} start where alpha > 0 and put the first time at t_start itself.

Grids for the model at hand are not in the table, since they ask it: ``optimise`` (least end-point error of a given
solver), ``tune`` (with its weights), ``gits`` and ``ays`` (dynamic programmes); ``save`` and ``load`` keep them.
"""

import importlib

from .base import make, table
from .published import ays_sd15, ays_sdxl, ays_svd, gits_sd15
from .rules import exponential, karras, kl_optimal, laplace, logsnr, normal, polyexponential, quadratic, uniform, vp
from .spacing import (
    beta,
    cosine,
    ddim_uniform,
    dynamic_shift,
    flow_shift,
    leading,
    linear_quadratic,
    linspace,
    sgm_uniform,
    simple,
    trailing,
)

__all__ = [
    "ays_sd15", "ays_sdxl", "ays_svd", "beta", "cosine", "ddim_uniform", "dynamic_shift", "exponential",
    "flow_shift", "gits_sd15", "karras", "kl_optimal", "laplace", "leading", "linear_quadratic", "linspace",
    "logsnr", "make", "normal", "polyexponential", "quadratic", "sgm_uniform", "simple",
    "table", "trailing", "uniform", "vp",
]  # fmt: skip


def __getattr__(name: str):
    if name in ("ays", "equal_error", "gits", "load", "optimise", "save", "tune"):  # they run solvers: above the loop
        return getattr(importlib.import_module("sdelab.fit"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
