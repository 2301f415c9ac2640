"""Affine Gaussian processes, x_t = alpha(t) x_0 + sigma(t) eps, by name."""

from .._checks import named
from .base import Process, Time, as_time, like
from .continuous import EDM, VE, VP, Cosine, RectifiedFlow, SubVP
from .discrete import DiscreteBetas, ddpm_betas

table: dict[str, type[Process]] = {c.name: c for c in (VP, SubVP, VE, EDM, Cosine, RectifiedFlow, DiscreteBetas)}


def make(name: str, **parameters) -> Process:
    """The process of that name ("vp", "subvp", "ve", "edm", "cosine", "flow", "ddpm") with the given parameters."""
    return named(table, name, "process")(**parameters)


__all__ = [
    "EDM", "VE", "VP", "Cosine", "DiscreteBetas", "Process", "RectifiedFlow", "SubVP", "Time", "as_time", "ddpm_betas",
    "like", "make", "table",
]  # fmt: skip
