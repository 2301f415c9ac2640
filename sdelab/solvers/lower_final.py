"""Multistep solvers whose order is lowered towards the end, as diffusers takes them by default."""

from .exponential import DPMpp2M, DPMpp3M
from .linear import Linear
from .multistep import DEIS
from .row import Row
from .sa import SASolver
from .unipc import UniPC


def lower_final(solver: Linear) -> Linear:
    """The same multistep solver with order 1 at the last step, at most 2 at the one before, and so on.

    A polynomial through past nodes says little about D on a long last step; on fine grids the lowered order costs
    more than it saves. The local error of the last step bounds the order at 2.
    Reference: Lu et al. (2022), DPM-Solver++, section 4.1; ``lower_order_final`` of diffusers.
    """
    solver.lower_final, solver.order = True, min(solver.order, 2)
    return solver


_NOTE = (
    "The steps at the end are of lower order, as diffusers takes them by default; the last one bounds the order at 2."
)
_SHOWN = ("vp", "edm", "flow")  # elsewhere the error of the last step crosses zero


def _row(key: str, name: str, make, claimed: int, twin: str, coarsest: int = 480) -> Row:
    return Row(
        f"{key}_low", f"{name}, lower order at the end", "multistep", lambda: lower_final(make()), 2, 1,
        "Lu et al. (2022), DPM-Solver++, section 4.1", claimed=claimed, oracle=f"diffusers {twin}, lower_order_final",
        note=_NOTE, measure={"steps": (coarsest, 2 * coarsest, 4 * coarsest), "processes": _SHOWN},
    )  # fmt: skip


ROWS = (
    _row("dpmpp_2m", "DPM++ 2M", DPMpp2M, 2, "DPMSolverMultistep"),
    _row("dpmpp_3m", "DPM++ 3M", DPMpp3M, 3, "DPMSolverMultistep"),
    _row("dpm_solver_2m", "DPM-Solver 2M", lambda: DPMpp2M(True), 2, "DPMSolverMultistep"),
    _row("dpm_solver_3m", "DPM-Solver 3M", lambda: DPMpp3M(True), 3, "DPMSolverMultistep"),
    _row("deis", "DEIS", lambda: DEIS(2), 2, "DEISMultistep"),
    _row("deis_3", "DEIS (order 3)", lambda: DEIS(3), 3, "DEISMultistep"),
    _row("unipc_2", "UniPC-2 (bh2)", lambda: UniPC(2), 3, "UniPCMultistep", 240),
    _row("unipc_3", "UniPC-3 (bh2)", lambda: UniPC(3), 4, "UniPCMultistep"),
    _row("sa_solver_ode", "SA-Solver, tau = 0", lambda: SASolver(2, 2, 0.0), 2, "SASolverScheduler"),
    _row("sa_solver_ode_3", "SA-Solver 3, tau = 0", lambda: SASolver(3, 3, 0.0), 3, "SASolverScheduler"),
)
