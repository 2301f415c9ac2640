"""Every solver by the name that users know: one row each, which drives tests, menus, citations and the book's page.

A table that cannot be silently wrong: the order tests measure every row against what it states.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .._checks import named
from . import classical as c
from . import exponential as e


@dataclass(frozen=True)
class Row:
    """``order``: order as an ODE method (of the weak error for stochastic rows); ``strong``: strong order on additive
    noise; ``nfe``: network calls per step; ``eta``: the noise dial that the row runs at by default."""

    key: str
    name: str
    family: str
    make: Callable
    order: float
    nfe: int
    paper: str
    stochastic: bool = False
    strong: float | None = None

    @property
    def eta(self) -> float:
        return 1.0 if self.stochastic else 0.0


_LU, _ZHAO = "Lu et al. (2022), exact weights", "Zhao et al. (2023), exact weights"

table: tuple[Row, ...] = (
    Row("euler_maruyama", "Euler–Maruyama", "classical", c.EulerMaruyama, 1, 1, "Maruyama (1955)", True, 1.0),
    Row("milstein", "Milstein", "classical", c.Milstein, 1, 1, "Milstein (1975)", True, 1.0),
    Row("euler", "Euler (in t)", "classical", c.Euler, 1, 1, "Euler (1768)"),
    Row("heun", "Heun", "classical", c.Heun, 2, 2, "Heun (1900); Karras et al. (2022), alg. 1"),
    Row("rk4", "RK4", "classical", c.RK4, 4, 4, "Kutta (1901)"),
    Row("bosh3", "Bogacki–Shampine 3(2)", "classical", c.Bosh3, 3, 4, "Bogacki & Shampine (1989)"),
    Row("dopri5", "Dormand–Prince 5(4)", "classical", c.Dopri5, 5, 7, "Dormand & Prince (1980)"),
    Row("ddim", "DDIM", "exponential", e.ExpEuler, 1, 1, "Song, Meng & Ermon (2021), eq. 12"),
    Row("ddpm", "DDPM", "exponential", e.ExpEuler, 1, 1, "Ho et al. (2020), eq. 6–7", True, 1.0),
    Row("dpmpp_2m", "DPM++ 2M", "exponential", e.DPMpp2M, 2, 1, "Lu et al. (2022), DPM-Solver++, alg. 2"),
    Row("exp_adams_2", "exponential Adams 2", "exponential", lambda: e.ExpAdams(2), 2, 1, _LU),
    Row("exp_adams_3", "exponential Adams 3", "exponential", lambda: e.ExpAdams(3), 3, 1, _LU),
    Row("exp_adams_1c", "exponential Adams 1 + corrector", "exponential", lambda: e.ExpAdams(1, True), 2, 1,
        _ZHAO),
    Row("exp_adams_2c", "exponential Adams 2 + corrector", "exponential", lambda: e.ExpAdams(2, True), 3, 1,
        _ZHAO),
    Row("exp_adams_3c", "exponential Adams 3 + corrector", "exponential", lambda: e.ExpAdams(3, True), 4, 1,
        _ZHAO),
)  # fmt: skip

_by_key = {r.key: r for r in table}


def row(key: str) -> Row:
    """The row of that key; an unknown one raises ``ValueError`` listing the near ones."""
    return named(_by_key, key, "solver")
