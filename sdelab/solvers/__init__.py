"""Solvers: one class each, and the table of the names that users know."""

from .adaptive import Adaptive
from .classical import EulerMaruyama, Milstein
from .corrector import HMC, MALA, PC, AnnealedLangevin, Langevin
from .discrete import DDIM, DDPM, LearnedDDPM, ReverseDiffusion
from .exponential import DPMpp2M, ExpAdams, ExpEuler
from .row import Row
from .runge_kutta import RK3, RK4, Bosh3, Dopri5, Euler, Heun, Midpoint, Ralston, RungeKutta, Tsit5
from .table import row, table

__all__ = [
    "DDIM",
    "DDPM",
    "HMC",
    "MALA",
    "PC",
    "RK3",
    "RK4",
    "Adaptive",
    "AnnealedLangevin",
    "Bosh3",
    "DPMpp2M",
    "Dopri5",
    "Euler",
    "EulerMaruyama",
    "ExpAdams",
    "ExpEuler",
    "Heun",
    "Langevin",
    "LearnedDDPM",
    "Midpoint",
    "Milstein",
    "Ralston",
    "ReverseDiffusion",
    "Row",
    "RungeKutta",
    "Tsit5",
    "row",
    "table",
]  # fmt: skip
