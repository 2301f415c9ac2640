"""SEEDS: exponential Runge–Kutta methods in eps whose stages share the noise of one path."""

from collections.abc import Sequence
from itertools import pairwise

from .dpmpp_sde import spread_eps
from .exp_rk import EULER, ExpRK, dpm3, midpoint
from .linear import Linear, Point, Stage, ticks
from .row import Row


class SEEDS(ExpRK):
    """SEEDS-1, -2, -3: DPM-Solver-1, -2, -3 with the noise that one path makes up to each node. From s to a node i

        x_i = (alpha_i/alpha_s) x_s - sigma_i int_0^{lam_i - lam_s} k e^{lam_i - lam_s - u} eps du
              + eta alpha_i [sum over the intervals (a, b) up to the node of sqrt(ratio_a^2 - ratio_b^2) z_ab]

    with ratio = sigma/alpha, and eps as DPM-Solver interpolates it. The paper has eta = 1; every eta is served, and
    eta = 0 is DPM-Solver. A path drives it on the clock e^{2 eta^2 lam}, each interval's increment at the scale above.

    Order: 1, 2, 2 (weak); 1, 2, 3 (ODE). NFE: 1, 2, 3.
    Reference: Gonzalez et al. (2023), SEEDS-1, SEEDS-2 and SEEDS-3 for noise prediction.
    Raises ``ValueError`` for other numbers of stages.
    """

    def __init__(self, stages: int = 3):
        if stages not in (1, 2, 3):
            raise ValueError(f"stages must be 1, 2 or 3, not {stages!r}")
        super().__init__((EULER, midpoint(), dpm3())[stages - 1], "eps")
        self.order = min(stages, 2)

    def check(self, equation) -> None:
        Linear.check(self, equation)

    def stages(self, s: Point, inner: Sequence[Point], t: Point, e2: float = 0.0) -> list[Stage]:
        ends = [*inner, t]
        stages = super().stages(s, inner, t)
        return [
            stage._replace(
                weights=[(1 + e2) * w for w in stage.weights],
                draws=(ticks(a, p, e2),) if e2 else (),
                noise=[spread_eps(b, c, p, e2) for b, c in pairwise([s, *ends[: i + 1]])] if e2 else (),
            )
            for i, (stage, a, p) in enumerate(zip(stages, [s, *inner], ends, strict=True))
        ]


# From eps the variance converges late at both ends of the default range, and then from above.
_MIDDLE = {"weak_range": (0.6, 0.1), "strong_steps": (128, 256, 512)}

ROWS = tuple(
    Row(f"seeds_{n}", f"SEEDS-{n}", "exponential", lambda n=n: SEEDS(n), min(n, 2), n,
        f"Gonzalez et al. (2023), SEEDS-{n}, noise prediction", True, 1.0, measure=_MIDDLE, note=note,
        oracle="diffusers DPMSolverMultistep, algorithm_type sde-dpmsolver" if n == 1 else "closed form")
    for n, note in ((1, "the same solver as sde_dpm_solver_1"), (2, ""),
                    (3, "ODE order 3, but the noise inside a step is seen at two inner nodes only: weak order 2"))
)  # fmt: skip
