"""Solvers: one class each, and the table of the names that users know."""

from .classical import Adaptive, Bosh3, Dopri5, Euler, EulerMaruyama, Heun, Milstein, RK4, RungeKutta
from .exponential import DPMpp2M, ExpAdams, ExpEuler
from .table import Row, row, table

__all__ = [
    "Adaptive", "Bosh3", "DPMpp2M", "Dopri5", "Euler", "EulerMaruyama", "ExpAdams", "ExpEuler", "Heun", "Milstein",
    "RK4", "Row", "RungeKutta", "row", "table",
]  # fmt: skip
