"""Noise levels that were optimised once, for one model, and printed: they are read off, not computed.

Sabour et al. (2024), "Align your steps", and Chen et al. (2024), "On the trajectory regularity of ODE-based diffusion
sampling" (GITS). Levels are sigma/alpha; other step counts interpolate their logarithm, as the authors do. The first
and last time are the caller's. A table is of use to processes that reach its levels; others get a ``ValueError``.
"""

import numpy as np
import torch

from .base import grid_rule

AYS = {
    "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}
GITS = (  # coefficient 1.20, 2 to 10 steps
    (14.61464119, 0.803307, 0.02916753),
    (14.61464119, 1.56271636, 0.52423614, 0.02916753),
    (14.61464119, 2.36326075, 0.92192322, 0.36617002, 0.02916753),
    (14.61464119, 2.84484982, 1.24153244, 0.59516323, 0.25053367, 0.02916753),
    (14.61464119, 5.85520077, 2.05039096, 0.95350921, 0.45573691, 0.17026083, 0.02916753),
    (14.61464119, 5.85520077, 2.45070267, 1.24153244, 0.64427125, 0.29807833, 0.09824532, 0.02916753),
    (14.61464119, 5.85520077, 2.45070267, 1.36964464, 0.803307, 0.45573691, 0.25053367, 0.09824532, 0.02916753),
    (14.61464119, 5.85520077, 2.84484982, 1.61558151, 0.95350921, 0.59516323, 0.36617002, 0.19894916, 0.09824532,
     0.02916753),
    (14.61464119, 5.85520077, 2.84484982, 1.67050016, 1.08895338, 0.74807048, 0.50118381, 0.32104823, 0.19894916,
     0.09824532, 0.02916753),
)  # fmt: skip


def _read(levels, process, r):
    at = np.linspace(0, 1, len(levels))
    return process.t_of_lam(torch.from_numpy(-np.interp(r.numpy(), at, np.log(levels))))


@grid_rule(to_zero=True)
def ays_sd15(process, r, start, end):
    """Align Your Steps for Stable Diffusion 1.5, published for 10 steps. Sabour et al. (2024)."""
    return _read(AYS["sd15"], process, r)


@grid_rule(to_zero=True)
def ays_sdxl(process, r, start, end):
    """Align Your Steps for Stable Diffusion XL, published for 10 steps. Sabour et al. (2024)."""
    return _read(AYS["sdxl"], process, r)


@grid_rule(to_zero=True)
def ays_svd(process, r, start, end):
    """Align Your Steps for Stable Video Diffusion, published for 10 steps. Sabour et al. (2024)."""
    return _read(AYS["svd"], process, r)


@grid_rule(to_zero=True)
def gits_sd15(process, r, start, end):
    """GITS for Stable Diffusion 1.5 at its default coefficient 1.2, published for 2 to 10 steps. Chen et al. (2024)."""
    steps = min(max(len(r) - 1, 2), len(GITS) + 1)
    return _read(GITS[steps - 2], process, r)
