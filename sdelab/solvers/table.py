"""Every solver by the name that users know: one row each, which drives tests, menus, citations and the book's page.

A table that cannot be silently wrong: the order tests measure every row against what it states. A row stands in the
file of its class; this file only gathers them.
"""

import difflib

from .. import grids
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
_spoken = {r.name.casefold(): r.key for r in table} | {key: key for key in _by_key}


def row(key: str) -> Row:
    """The row of that key; another raises ``ValueError`` with near ones, also for the names that image tools show."""
    if key in _by_key:
        return _by_key[key]
    words = str(key).casefold().split()
    for n in range(1, len(words)):  # "DPM++ 2M Karras" is a solver and a grid
        solver, grid = _spoken.get(" ".join(words[:n])), "_".join(words[n:])
        if solver and grid in grids.table:
            raise ValueError(f"unknown solver {key!r}; it is a solver and a grid: {solver!r} and grid={grid!r}")
    text = " ".join(words)
    near = [text] if text in _spoken else difflib.get_close_matches(text, _spoken, 4, 0.5)
    told = " or ".join(map(repr, list(dict.fromkeys(_spoken[name] for name in near))[:3]))
    hint = f"did you mean {told}?" if near else "sd.solvers.table lists them all"
    raise ValueError(f"unknown solver {key!r}; {hint}")
