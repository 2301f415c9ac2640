"""Pseudo-numerical methods: the classical multistep method with the DDIM step in place of x + h f, and with it in t."""

import math
from itertools import pairwise

from ..process import Process
from .exponential import eps_at, through
from .linear import Entry, Linear, Point, Stage, Step, points
from .multistep import IPNDM
from .row import Row


def ddim(s: Point, t: Point) -> tuple[float, float]:
    """(keep, weight) of the DDIM step x_t = keep x_s + weight eps."""
    return t.alpha / s.alpha, -t.sigma * math.expm1(t.lam - s.lam)


class PLMS(IPNDM):
    """iPNDM whose first step is the pseudo improved Euler method: DDIM to t and again with the mean of both eps.

    Order: 2. NFE: 1, and 1 more at the start. Only eta = 0. Reference: Liu et al. (2022), PNDM, eq. 12, started as in
    latent diffusion (diffusers' PNDM with skip_prk_steps).
    """

    def calls(self, steps: int) -> int:
        return steps + min(steps, 1)

    def entry(self, step: Step) -> Entry:
        if step.past:
            return super().entry(step)
        s, t = step.s, step.t
        keep, w = ddim(s, t)
        return Entry((Stage(s.t, eps_at(s), keep, (w,)), Stage(t.t, eps_at(t), keep, (w / 2, w / 2))))


class PNDM(IPNDM):
    """Three steps of the pseudo Runge–Kutta method, then the Adams–Bashforth combination of four eps (PLMS).

    The pseudo Runge–Kutta step is the classical one with DDIM in place of x + h f, its midpoint halfway in t.

    Order: 2. NFE: 1, and 3 more in each of the first three steps. Only eta = 0.
    Reference: Liu et al. (2022), PNDM (F-PNDM), algorithm 2; its theorem states order 2.
    """

    def calls(self, steps: int) -> int:
        return steps + 3 * min(steps, 3)

    def inner(self, process: Process, knots: list[Point]) -> list[list[Point]]:
        return [[m] for m in points(process, [(s.t + t.t) / 2 for s, t in pairwise(knots)])]

    def entry(self, step: Step) -> Entry:
        if len(step.past) == 3:
            return super().entry(step)
        s, (m,), t = step.s, step.inner, step.t
        (half, v), (keep, w) = ddim(s, m), ddim(s, t)
        stages = (
            Stage(s.t, eps_at(s), half, (v,)),
            Stage(m.t, eps_at(m), half, (v,)),
            Stage(m.t, eps_at(m), keep, (w,)),
            Stage(t.t, eps_at(t), keep, (w / 6, w / 3, w / 3, w / 6)),
        )
        return Entry(stages)


class FON(Linear):
    """The classical fourth-order multistep method on dx/dt: Runge–Kutta for three steps, then Adams–Bashforth.

    The weights are those of the grid at hand (on equal steps the paper's 55, -59, 37, -9 over 24).

    Order: 4. NFE: 1, and 3 more in each of the first three steps. Only eta = 0, and any process that has slopes.
    Reference: Liu et al. (2022), PNDM, section 3.1 (FON).
    """

    order, history = 4, 3
    ode_only = in_time = True

    def calls(self, steps: int) -> int:
        return steps + 3 * min(steps, 3)

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        middles = [(s + t) / 2 for s, t in pairwise(times[:4])]
        rates = dict(zip([*times, *middles], equation.prepare([*times, *middles]), strict=True))

        def stage(t: float, *weights: float) -> Stage:
            return Stage(t, rates[t][:2], 1.0, weights)

        entries = []
        for n, (s, t) in enumerate(pairwise(times)):
            h = t - s
            if n < 3:
                m = middles[n]
                entries.append(Entry((
                    stage(s, h / 2), stage(m, h / 2), stage(m, h), stage(t, h / 6, h / 3, h / 3, h / 6),
                )))  # fmt: skip
            else:
                weights = through([(times[n - j] - s) / h for j in range(4)], [1, 1 / 2, 1 / 3, 1 / 4])
                entries.append(Entry((stage(s, *(h * w for w in weights)),)))
        return entries


_LIU = "Liu et al. (2022), PNDM"

ROWS = (
    Row("plms", "PLMS", "multistep", PLMS, 2, 1, f"{_LIU}, eq. 12", oracle="diffusers PNDM, skip_prk_steps"),
    Row("pndm", "PNDM", "multistep", PNDM, 2, 1, f"{_LIU}, alg. 2", oracle="diffusers PNDM"),
    Row("fon", "FON", "multistep", FON, 4, 1, f"{_LIU}, section 3.1", measure={"steps": (480, 960, 1920)}),
)
