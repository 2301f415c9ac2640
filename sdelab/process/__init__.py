"""Affine Gaussian processes, x_t = alpha(t) x_0 + sigma(t) eps, by name."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from .._checks import named
from .base import Process, Time, as_time, like
from .continuous import EDM, VE, VP, Cosine, SubVP, ZeroSNR
from .discrete import DiscreteBetas, cosine_betas, ddpm_betas, stable_diffusion_betas, zero_snr, zero_snr_betas
from .flows import Interpolant, Polynomial, RectifiedFlow, TrigFlow, Trigonometric
from .transfer import transfer

table: dict[str, type[Process]] = {
    c.name: c
    for c in (VP, SubVP, VE, EDM, Cosine, RectifiedFlow, DiscreteBetas, ZeroSNR, Trigonometric, TrigFlow, Polynomial,
              Interpolant)
}  # fmt: skip
# Chains by the names of their betas: DiscreteBetas on other numbers.
chains: dict[str, Callable[..., Tensor]] = {
    "sd": stable_diffusion_betas, "ddpm_cosine": cosine_betas, "sd_zero_snr": zero_snr_betas,
}  # fmt: skip


def make(name: str, **parameters) -> Process:
    """The process of that name ("vp", "subvp", "ve", "edm", "cosine", "flow", "ddpm", "sd", …) with its parameters."""
    made = {**table, **{key: partial(_chain, betas) for key, betas in chains.items()}}
    return named(made, name, "process")(**parameters)


def _chain(betas: Callable[..., Tensor], **parameters) -> DiscreteBetas:
    return DiscreteBetas(betas(**parameters))


__all__ = [
    "EDM", "VE", "VP", "Cosine", "DiscreteBetas", "Interpolant", "Polynomial", "Process", "RectifiedFlow", "SubVP",
    "Time", "TrigFlow", "Trigonometric", "ZeroSNR", "as_time", "chains", "cosine_betas", "ddpm_betas", "like", "make",
    "stable_diffusion_betas", "table", "transfer", "zero_snr", "zero_snr_betas",
]  # fmt: skip
