"""Kinetic diffusions: noise enters through a velocity, and the state is the pair u = (x, v), a tensor (n, 2, ...).

process = sd.kinetic.CLD()
edm = sd.process.EDM()
equation = sd.kinetic.KineticReverse(process, process.denoiser(law.denoiser(edm), edm), eta=0.0)
u = sd.solve(equation, sd.kinetic.GDDIM(2), process.prior((512, 2), seed=0), sd.grids.quadratic(process, 20))
x = equation.denoise(u, process.t_min)
"""

from .._checks import named
from ..solvers.row import Row
from .process import CLD, PSLD, Kinetic
from .reverse import KineticReverse
from .solvers import GDDIM, ROWS, SSCS

table: tuple[Row, ...] = ROWS


def row(key: str) -> Row:
    """The row of that key; an unknown one raises ``ValueError`` listing the near ones."""
    return named({r.key: r for r in table}, key, "kinetic solver")


__all__ = ["CLD", "GDDIM", "PSLD", "SSCS", "Kinetic", "KineticReverse", "row", "table"]
