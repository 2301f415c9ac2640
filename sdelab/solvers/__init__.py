"""Solvers: one class each, and the table of the names that users know."""

from .classical import RK4, Adaptive, Bosh3, Dopri5, Euler, EulerMaruyama, Heun, Milstein, RungeKutta
from .exponential import DPMpp2M, ExpAdams, ExpEuler
from .row import Row
from .table import row, table

__all__ = [
    "RK4",
    "Adaptive",
    "Bosh3",
    "DPMpp2M",
    "Dopri5",
    "Euler",
    "EulerMaruyama",
    "ExpAdams",
    "ExpEuler",
    "Heun",
    "Milstein",
    "Row",
    "RungeKutta",
    "row",
    "table",
]  # fmt: skip
