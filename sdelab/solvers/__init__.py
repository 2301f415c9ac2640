"""Solvers: one class each, and the table of the names that users know."""

from .adaptive import Adaptive
from .classical import EulerMaruyama, Milstein
from .corrector import HMC, MALA, PC, AnnealedLangevin, Langevin
from .discrete import DDIM, DDPM, LearnedDDPM, ReverseDiffusion
from .exponential import DPMpp2M, DPMpp3M, ExpAdams, ExpEuler
from .multistep import DEIS, IPNDM, LMS, DEISTime, GradientEstimation, IPNDMv
from .pndm import FON, PLMS, PNDM
from .row import Row
from .runge_kutta import RK3, RK4, Bosh3, Dopri5, Euler, Heun, Midpoint, Ralston, RungeKutta, Tsit5
from .table import row, table
from .unipc import UniC, UniPC

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "FON",
    "HMC",
    "IPNDM",
    "LMS",
    "MALA",
    "PC",
    "PLMS",
    "PNDM",
    "RK3",
    "RK4",
    "Adaptive",
    "AnnealedLangevin",
    "Bosh3",
    "DEISTime",
    "DPMpp2M",
    "DPMpp3M",
    "Dopri5",
    "Euler",
    "EulerMaruyama",
    "ExpAdams",
    "ExpEuler",
    "GradientEstimation",
    "Heun",
    "IPNDMv",
    "Langevin",
    "LearnedDDPM",
    "Midpoint",
    "Milstein",
    "Ralston",
    "ReverseDiffusion",
    "Row",
    "RungeKutta",
    "Tsit5",
    "UniC",
    "UniPC",
    "row",
    "table",
]  # fmt: skip
