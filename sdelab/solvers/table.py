"""Every solver by the name that users know: one row each, which drives tests, menus, citations and the book's page.

A table that cannot be silently wrong: the order tests measure every row against what it states. A row stands in the
file of its class; this file only gathers them.
"""

from .._checks import named
from . import (
    adams_bashforth,
    adaptive,
    adaptive_sde,
    amed,
    analytic,
    ancestral,
    classical,
    corrector,
    discrete,
    dpm,
    dpm_v3,
    dpmpp_sde,
    er_sde,
    exp_rk,
    exponential,
    flow,
    implicit,
    implicit_sde,
    invertible,
    lower_final,
    multistep,
    parallel,
    pndm,
    runge_kutta,
    sa,
    seeds,
    sigma,
    srk,
    stratonovich,
    taylor,
    unipc,
    weak,
    wrappers,
)
from .row import Row

table: tuple[Row, ...] = (
    *classical.ROWS,
    *stratonovich.ROWS,
    *srk.ROWS,
    *weak.ROWS,
    *runge_kutta.ROWS,
    *adams_bashforth.ROWS,
    *adaptive.ROWS,
    *adaptive_sde.ROWS,
    *implicit_sde.ROWS,
    *exponential.ROWS,
    *exp_rk.ROWS,
    *dpm.ROWS,
    *dpmpp_sde.ROWS,
    *seeds.ROWS,
    *sa.ROWS,
    *er_sde.ROWS,
    *taylor.ROWS,
    *parallel.ROWS,
    *unipc.ROWS,
    *multistep.ROWS,
    *lower_final.ROWS,
    *pndm.ROWS,
    *dpm_v3.ROWS,
    *discrete.ROWS,
    *corrector.ROWS,
    *sigma.ROWS,
    *amed.ROWS,
    *ancestral.ROWS,
    *wrappers.ROWS,
    *invertible.ROWS,
    *implicit.ROWS,
    *flow.ROWS,
    *analytic.ROWS,
)

_by_key = {r.key: r for r in table}


def row(key: str) -> Row:
    """The row of that key; an unknown one raises ``ValueError`` listing the near ones."""
    return named(_by_key, key, "solver")
