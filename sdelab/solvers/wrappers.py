"""Noise put in on the way: the state is diffused forwards, exactly in law, and an ODE solver brings it back.

In r = sigma/alpha, from the level r to the higher one r^:   x <- (alpha^/alpha) x + alpha^ s_noise sqrt(r^^2 - r^2) z
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..reverse import Reverse
from .ancestral import planned, single_step
from .linear import Entry, Linear, Point, Stage, points
from .row import Row
from .runge_kutta import Euler, Heun
from .sigma import SigmaRK


def raised(s: Point, hat: Point, s_noise: float) -> tuple[float, float]:
    """(factor of x, factor of z) of the way up from s to hat."""
    return hat.alpha / s.alpha, hat.alpha * s_noise * math.sqrt(hat.ratio**2 - s.ratio**2)


def raised_to(process, ratios: Sequence[float]) -> list[Point]:
    """The points where sigma/alpha has the given values."""
    return points(process, process.t_of_lam(-torch.tensor(ratios, dtype=torch.float64).log()).tolist())


class Churn(Linear):
    """EDM's stochastic sampler over any single-step ODE solver: raise the noise level a little, then step down from it.

    r^ = (1 + gamma) r_s,   gamma = min(s_churn/N, sqrt 2 - 1) while s_tmin <= r_s <= s_tmax, else 0

    with r = sigma/alpha and N the number of steps, the last, denoising one to sigma = 0 not counted (EDM counts it:
    its s_churn is ours times N/(N + 1)). The level is never raised above that of t = T, of which a network knows
    nothing. With s_noise = 1 the way up is exact in law, so the weak order is the ODE solver's; s_noise > 1 makes up
    for networks that remove too much noise, and leaves a bias that no number of steps removes. The noise is fresh:
    no Brownian path drives it. Raises ``ValueError`` for parameters out of range and over multistep solvers.

    Order: weak, the solver's (0 unless s_noise = 1). NFE: the solver's. Reference: Karras et al. (2022), alg. 2.
    """

    ode_only = noisy = True

    def __init__(self, solver: Linear | None = None, s_churn=40.0, s_tmin=0.0, s_tmax=math.inf, s_noise=1.0):
        if s_churn < 0 or s_noise < 0 or not 0 <= s_tmin <= s_tmax:
            raise ValueError("need s_churn >= 0, s_noise >= 0 and 0 <= s_tmin <= s_tmax")
        self.solver = single_step(solver or SigmaRK(), "churn")
        self.order = self.solver.order if s_noise == 1 else 0
        self.nfe, self.in_time = self.solver.nfe, self.solver.in_time
        self.s_churn, self.s_tmin, self.s_tmax, self.s_noise = s_churn, s_tmin, s_tmax, s_noise

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        knots, process = points(equation.process, times), equation.process
        gamma = min(self.s_churn / (len(times) - 1), math.sqrt(2) - 1)
        top = points(process, [process.T])[0].ratio
        up = [n for n, s in enumerate(knots[:-1]) if gamma and self.s_tmin <= s.ratio <= self.s_tmax and s.ratio < top]
        hats = dict(zip(up, raised_to(process, [min((1 + gamma) * knots[n].ratio, top) for n in up]), strict=True))
        pairs = [(hats.get(n, s).t, t.t) for n, (s, t) in enumerate(pairwise(knots))]
        entries = planned(self.solver, equation, pairs)
        for n, hat in hats.items():
            keep, c = raised(knots[n], hat, self.s_noise)
            churn = Stage(None, None, keep, draws=(None,), noise=(c,))
            entries[n] = Entry((churn, *entries[n].stages), remember=False)
        return entries


class Restart:
    """Restart over any solver: arrived at the level r = low, diffuse back up to high and come down again, some times.

    ``intervals``: (low, high, rounds, steps) in r = sigma/alpha; a round takes that many steps on Karras's grid, or a
    quarter of the run's steps if ``steps`` is None. The knot nearest to low stands for it; intervals that the run does
    not cover are left out. The solver starts afresh after every jump, so no stale past is used. A round contracts the
    errors made above it, and the jump is exact in law (s_noise = 1). Noise is fresh: no Brownian path drives it.

    Order: weak, the solver's (0 unless s_noise = 1). NFE: the solver's, and that of the rounds (see :meth:`calls`).
    Reference: Xu et al. (2023), alg. 1 (appendix B.2); the default interval is that of common image tools.
    Raises ``ValueError`` for intervals out of range.
    """

    noisy = True

    def __init__(self, solver=None, intervals: Sequence[tuple] = ((0.1, 2.0, 1, None),), s_noise: float = 1.0):
        self.solver = solver or SigmaRK()
        for interval in intervals:
            low, high, rounds, steps = interval
            if not (0 < low < high and rounds >= 1 and (steps is None or steps >= 1)):
                raise ValueError(f"an interval is (low, high, rounds, steps) with 0 < low < high, not {interval}")
        self.intervals, self.s_noise = tuple(intervals), s_noise
        self.order, self.nfe = self.solver.order if s_noise == 1 else 0, self.solver.nfe
        self.ode_only, self.in_time = self.solver.ode_only, self.solver.in_time

    def calls(self, steps: int) -> int:
        """Network calls of a run that covers every interval (solvers with a costlier start: at the fewest)."""

        def cost(n):
            return getattr(self.solver, "calls", lambda n: self.nfe * n)(n)

        return cost(steps) + sum(rounds * cost(own or max(1, steps // 4)) for _, _, rounds, own in self.intervals)

    def plan(self, equation, times) -> list:
        """One entry a step: a list of (jump before it or None, its entry, whether the solver starts afresh)."""
        if not isinstance(equation, Reverse):
            raise ValueError("Restart needs a Reverse equation (denoiser and process), not any SDE")
        process, steps = equation.process, len(times) - 1
        knots = points(process, times)
        loops: dict[int, list] = {}
        for low, high, rounds, own in self.intervals:
            if not knots[-1].ratio <= low < high <= knots[0].ratio:
                continue
            n = min(range(1, steps + 1), key=lambda n: abs(math.log(knots[n].ratio / low)))
            loops.setdefault(n, []).extend([self._round(equation, knots[n], high, own or max(1, steps // 4))] * rounds)
        plan, start = [], 0
        for end in sorted({*loops, steps}):
            entries = self.solver.plan(equation, times[start : end + 1])
            plan += [[(None, entry, i == 0)] for i, entry in enumerate(entries)]
            for loop in loops.get(end, ()):
                plan[-1] += loop
            start = end
        return plan

    def _round(self, equation, low: Point, high: float, steps: int) -> list:
        """Up from ``low`` to the level ``high``, and down again on Karras's grid."""
        roots = torch.linspace(high ** (1 / 7), low.ratio ** (1 / 7), steps + 1, dtype=torch.float64)
        top, *inner, _ = raised_to(equation.process, (roots**7).tolist())
        times = [top.t, *(p.t for p in inner), low.t]
        entries = self.solver.plan(equation, times)
        return [(raised(low, top, self.s_noise) if i == 0 else None, entry, i == 0) for i, entry in enumerate(entries)]

    def start(self):
        return {"inner": None}

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        for jump, inner, afresh in entry:
            if jump is not None:
                z, scale = draw(None, None, x, jump[1])
                x = (x * jump[0]).add_(z, alpha=scale)
                del z
            if afresh:
                memory["inner"] = self.solver.start() | {"keep_states": memory["keep_states"]}
            x = self.solver.step(equation, x, inner, memory["inner"], draw)
        return x


_EDM = "Karras et al. (2022), alg. 2"
_BIAS = "Noise inflated by 1.007 leaves a bias in the law that no number of steps removes; edm_heun_churn has none."
# gamma = s_churn/N must be well below its cap before the order shows
_MANY, _MORE = {"weak_steps": (400, 800)}, {"weak_steps": (800, 1600)}


def _churn(tableau, s_churn=40.0, s_noise=1.0):
    return lambda: Churn(SigmaRK(tableau), s_churn, 0.05, 50.0, s_noise)


ROWS = (
    Row("edm_euler_churn", "Euler, churned", "sigma", _churn(Euler), 1, 1, _EDM, True, dial=0.0,
        oracle="k-diffusion sample_euler", measure=_MANY),
    Row("edm_heun_churn", "Heun, churned", "sigma", _churn(Heun), 2, 2, _EDM, True, dial=0.0,
        oracle="k-diffusion sample_heun", measure=_MANY),
    Row("karras_ve", "Karras VE", "sigma", _churn(Heun, 80.0, 1.007), 0, 2, _EDM, True, dial=0.0, claimed=2,
        note=_BIAS, oracle="diffusers KarrasVeScheduler", measure=_MORE),
    Row("restart", "Restart", "sigma", Restart, 2, 2, "Xu et al. (2023), alg. 1", True, dial=0.0, oracle="own loop"),
)  # fmt: skip
