"""sdelab: diffusion models in continuous time, in code that reads like the theory.

import sdelab as sd
law = sd.distributions.ring()
process = sd.process.VP()
ode = sd.Reverse(process, law.denoiser(process), eta=0.0)
x = sd.solve(ode, sd.ExpAdams(2), sd.noise.prior(process, (512, 2), seed=0), sd.grids.logsnr(process, 20))
"""

import importlib

from . import distributions, grids, noise, process, sde, solvers, targets
from .brownian import Brownian
from .levy import LevyBrownian
from .reverse import Reverse
from .sde import GBM, OU, SDE, DoubleWell, Langevin
from .solve import NFE, path, sample, solve, trajectory
from .solvers import (
    RK4,
    Adaptive,
    Bosh3,
    Dopri5,
    DPMpp2M,
    Euler,
    EulerMaruyama,
    ExpAdams,
    ExpEuler,
    Heun,
    Milstein,
)

__version__ = "0.1.0"

# Modules that need more than torch, or are rarely needed, are imported on first use.
_LATER = {
    "checkpoint", "claims", "classify", "data", "early_exit", "encoding", "exercises", "fit", "fokker_planck",
    "guidance", "kinetic", "latent", "ledger", "letters", "likelihood", "metrics", "models", "nets", "notation",
    "orders", "plot", "quality", "race", "score_matching", "stability", "train", "widgets",
}  # fmt: skip

__all__ = [
    "GBM", "NFE", "OU", "RK4", "SDE", "Adaptive", "Bosh3", "Brownian", "DPMpp2M", "Dopri5", "DoubleWell", "Euler",
    "EulerMaruyama", "ExpAdams", "ExpEuler", "Heun", "Langevin", "LevyBrownian", "Milstein", "Reverse", "distributions",
    "grids", "noise", "path", "process", "sample", "sde", "solve", "solvers", "targets", "trajectory",
    *sorted(_LATER), "show",
]  # fmt: skip


def __getattr__(name: str):
    if name in _LATER:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "show":
        value = importlib.import_module(f"{__name__}.show").show
        globals()[name] = value  # the import has put the module of the same name there
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
