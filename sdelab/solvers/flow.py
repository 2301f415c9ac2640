"""Flow matching: steps along the velocity in t, and SDEs of the same marginals with a noise level of one's choice.

The velocity of the probability-flow ODE, and the family of SDEs that share its marginals (run with decreasing times):

    v(x, t) = dx/dt = alpha' D + sigma' eps      (x - D)/t on the straight path alpha = 1 - t, sigma = t
    dx = [v - w/2 score] dt + sqrt(w) dw         any w(t) >= 0; w = eta^2 g^2 is the family of :class:`sdelab.Reverse`

The ODE samplers are the Runge–Kutta methods of :mod:`sdelab.solvers.runge_kutta` under the names that users know:
:class:`sdelab.Reverse` is linear in D, so one class steps every affine path.

*Which sign has the velocity?* Here data are at t = 0 and noise at t = T, so v points from data to noise, eps - x_0 on a
straight path, as in diffusers and Stable Diffusion 3, and sampling steps dt < 0. Papers with noise at 0 and data at 1
(Lipman et al. 2023; Liu et al. 2023) have the velocity x_1 - x_0, ours at time 1 - t with the other sign. A network of
theirs run with the wrong sign walks away from the data: ``sd.targets.convert(-v, x, t, process, "velocity", "x0")``.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from .._checks import named
from ..process import Process
from . import runge_kutta
from .linear import Entry, Linear, Stage, fold
from .row import Row

Level = Callable[[Process, Tensor], Tensor]

LEVELS: dict[str, Level] = {
    "sigma": lambda process, t: process.sigma(t),
    "constant": lambda process, t: torch.ones_like(t),
    "sin2": lambda process, t: torch.sin(math.pi * t / process.T) ** 2,
    "g2": lambda process, t: process.g2(t),
}


class FlowSDE(Linear):
    """Euler–Maruyama on the SDE with noise level w: x + [v - w/2 score] dt + sqrt(w dt) z.

    ``level``: "sigma", "constant", "sin2" (sin^2(pi t/T)), "g2" (the reverse SDE itself) or a function (process, t) ->
    w(t); the noise is eta^2 ``size`` w(t), and SiT's code calls w/2 its diffusion. Where alpha(T) = 0 the drift of the
    reverse SDE is infinite at T, and with the other levels it is not: these start at T. Where sigma is small, w/sigma^2
    is the stiffness that steps must resolve: "sigma" lets it grow as 1/sigma, "constant" as 1/sigma^2.

    Order: 1 (weak), 1 (strong, noise is additive). NFE: 1. A path on the clock t drives it.
    Reference: Albergo, Boffi & Vanden-Eijnden (2023), "Stochastic interpolants", section 2; Ma et al. (2024), SiT,
    section 2. Raises ``ValueError`` for an unknown level, and where w is negative or infinite.
    """

    def __init__(self, level: str | Level = "sigma", size: float = 1.0):
        self.level = level if callable(level) else named(LEVELS, level, "noise level")
        if not 0 < size < math.inf:
            raise ValueError(f"size is a positive number, not {size!r}: eta = 0 gives the ODE")
        self.size = size
        self.in_time = level == "g2"  # alone cannot start where alpha = 0

    def rates(self, equation, times) -> list[tuple[float, tuple[float, float], float]]:
        """(t, (p, q), w) at ``times``: the drift is p x + q D."""
        process, t = equation.process, torch.as_tensor(times, dtype=torch.float64)
        sigma, alpha = process.sigma(t), process.alpha(t)
        w = equation.eta**2 * self.size * self.level(process, t) if equation.eta else torch.zeros_like(t)
        if not ((w >= 0) & w.isfinite()).all():
            raise ValueError(f"the noise level must be finite and not negative: w = {w.tolist()} at t = {t.tolist()}")
        p = (process.d_sigma(t) + 0.5 * w / sigma) / sigma
        q = process.d_alpha(t) - alpha * p
        return list(zip(t.tolist(), zip(p.tolist(), q.tolist(), strict=True), w.tolist(), strict=True))

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        known = self.rates(equation, times)
        return [Entry(self.stages(s, t), remember=False) for s, t in pairwise(known)]

    def stages(self, s, t) -> tuple[Stage, ...]:
        dt = t[0] - s[0]
        return fold([Stage(s[0], s[1], 1.0, [dt], **_noise(s[0], t[0], s[2]))])


def _noise(s: float, t: float, w: float) -> dict:
    """The arguments of a stage that adds sqrt(w |dt|) z, z driven by W(t) - W(s)."""
    return {"draws": ((s, t),), "noise": (math.sqrt(w * abs(t - s)),)} if w else {}


class FlowSDEHeun(FlowSDE):
    """Heun on the SDE with noise level w: both slopes see the step's noise, whose variance is the mean of w dt.

    y = x + f(x, s) dt + c z,   x + [f(x, s) + f(y, t)] dt/2 + c z,   c^2 = |dt| (w_s + w_t)/2

    Order: 2 (ODE and weak, the noise being additive), 1 (strong). NFE: 2. Levels and errors as in :class:`FlowSDE`.
    Reference: Kloeden & Platen (1992), 15.1, with additive noise.
    """

    order, nfe = 2, 2

    def stages(self, s, t) -> tuple[Stage, ...]:
        dt = t[0] - s[0]
        noise = _noise(s[0], t[0], 0.5 * (s[2] + t[2]))
        again = {"noise": noise["noise"]} if noise else {}
        return fold([Stage(s[0], s[1], 1.0, [dt], **noise), Stage(t[0], t[1], 1.0, [dt / 2, dt / 2], **again)])


class SiTHeun(FlowSDE):
    """The Heun sampler of SiT's public code: the whole noise of the step first, then Heun's rule on the drift.

    y = x + sqrt(w_s |dt|) z,   y + [f(y, s) + f(y + f(y, s) dt, t)] dt/2

    Order: 2 where w = 0; the weak order is 1, since noise that is added first is carried by the whole step.
    NFE: 2. Levels and errors as in :class:`FlowSDE`. Reference: Ma et al. (2024), SiT, public code.
    """

    nfe = 2

    def stages(self, s, t) -> tuple[Stage, ...]:
        dt, noise = t[0] - s[0], _noise(s[0], t[0], s[2])
        first = (Stage(None, None, 1.0, **noise),) if noise else ()
        return first + fold([Stage(s[0], s[1], 1.0, [dt]), Stage(t[0], t[1], 1.0, [dt / 2, dt / 2])])


_RK = {row.key: row for row in runge_kutta.ROWS}
_FLOW = "Lipman et al. (2023), eq. 1"
_CLOCK = {"clock": "t"}  # though they start at alpha = 0 as no other solver in t does
_SIT = "Ma et al. (2024), SiT, section 2"

ROWS = (
    replace(_RK["euler"], key="flow_euler", name="Flow matching Euler", family="flow", paper=_FLOW,
            oracle="diffusers FlowMatchEulerDiscreteScheduler"),
    replace(_RK["heun"], key="flow_heun", name="Flow matching Heun", family="flow", paper=_FLOW,
            oracle="diffusers FlowMatchHeunDiscreteScheduler"),
    replace(_RK["midpoint"], key="flow_midpoint", name="Flow matching midpoint", family="flow", paper=_FLOW),
    Row("flow_sde", "SDE flow Euler (w = sigma)", "flow", FlowSDE, 1, 1, _SIT, True, 1.0, measure=_CLOCK),
    Row("flow_sde_g2", "SDE flow Euler (w = g^2)", "flow", lambda: FlowSDE("g2"), 1, 1, _SIT, True, 1.0,
        oracle="euler_maruyama"),
    Row("flow_sde_heun", "SDE flow Heun (w = sigma)", "flow", FlowSDEHeun, 2, 2, "Kloeden & Platen (1992), 15.1", True,
        1.0, measure={**_CLOCK, "strong_steps": (64, 128, 256)}),
    Row("sit_heun", "SiT SDE Heun (w = sigma)", "flow", SiTHeun, 1, 2, "Ma et al. (2024), SiT, public code", True,
        1.0, measure=_CLOCK,
        note="The step's noise goes in before Heun's rule, which costs the second weak order; flow_sde_heun has it."),
)  # fmt: skip
