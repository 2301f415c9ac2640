"""Discrete chains in one stage: ancestral sampling (DDPM), DDIM with its own eta, Song's reverse diffusion.

With h = lam_t - lam_s > 0 the forward kernel over a step is x_s | x_t ~ N(a x_t, b I), and given x_0 the way back is

    a = alpha_s/alpha_t     b = sigma_s^2 (1 - e^{-2h})                               ("beta" of a DDPM chain)
    x_t | x_s, x_0 ~ N((sigma_t/sigma_s) e^{-h} x_s + alpha_t (1 - e^{-2h}) x_0, c I)
    c = sigma_t^2 (1 - e^{-2h}) = b sigma_t^2/sigma_s^2                               ("beta tilde")

Questions often asked. *Is "Euler a" DDPM?* Yes, at eta = 1: its sigma_down = sigma_t^2/sigma_s and sigma_up^2 = c are
the posterior step. *Is Euler DDIM?* Yes where alpha and sigma are linear in t (EDM, straight flows), not on VP.
*Is ancestral sampling the reverse SDE?* In the limit of short steps; the chain is not its Euler–Maruyama step.
"""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from .linear import Entry, Linear, Point, Stage, decay, one_node, points, spread, ticks
from .row import Row


class OneStage(Linear):
    """Base of chains without memory that evaluate once per step; subclasses write the stage from s to t."""

    def stage(self, s: Point, t: Point, e2: float) -> Stage:
        raise NotImplementedError

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        return [Entry((self.stage(s, t, equation.eta**2),)) for s, t in pairwise(points(equation.process, times))]


def _posterior_only(equation, name: str) -> None:
    if equation.eta != 1:
        raise ValueError(f"{name} is ancestral sampling: use eta=1 (not {equation.eta}), or DDIM, which takes eta")


class DDPM(OneStage):
    """The mean of the posterior step, and a variance between beta tilde ("small", v = 0) and beta ("large", v = 1).

    x_t = (sigma_t/sigma_s) e^{-h} x_s + alpha_t (1 - e^{-2h}) D + std z
    std^2 = c^{1-v} b^v = c (sigma_s/sigma_t)^{2v}

    Small is right for data that are one point, large for data N(0, I) on a variance-preserving process; on data that
    are nearly either, :class:`sdelab.solvers.AnalyticDPM` knows better. ``variance`` is "small", "large" or v.

    Order: 1 (weak). NFE: 1. Reference: Ho et al. (2020), eq. 6–7 and section 3.2; Nichol & Dhariwal (2021), eq. 15.
    Raises ``ValueError`` unless eta = 1 and 0 <= v <= 1.
    """

    def __init__(self, variance: str | float = "small"):
        v = {"small": 0.0, "large": 1.0}.get(variance) if isinstance(variance, str) else variance
        if v is None or not 0 <= v <= 1:
            raise ValueError(f"variance is 'small', 'large' or a fraction between 0 and 1, not {variance!r}")
        self.v = float(v)

    def check(self, equation) -> None:
        super().check(equation)
        _posterior_only(equation, "DDPM")

    def stage(self, s: Point, t: Point, e2: float) -> Stage:
        return one_node(s, t, 1.0)._replace(noise=(spread(s, t, 1.0) * (s.sigma / t.sigma) ** self.v,))


class LearnedDDPM(DDPM):
    """DDPM with a learned variance: ``fraction(x, t)`` gives v in [0, 1], of x's shape or one that broadcasts to it.

    A network with twice the channels, as diffusers' ``learned_range``, gives w in [-1, 1]: v = (w + 1)/2. Its two
    halves are asked for separately here; let it remember its last answer if both come from one call.

    Order: 1 (weak). NFE: 1, and one call of ``fraction``. Reference: Nichol & Dhariwal (2021), eq. 15.
    """

    def __init__(self, fraction: Callable[[Tensor, float], Tensor]):
        super().__init__()
        self.fraction = fraction

    def plan(self, equation, times) -> list:
        self.check(equation)
        ends = pairwise(points(equation.process, times))
        return [(self.stage(s, t, 1.0), math.log(s.sigma / t.sigma)) for s, t in ends]

    def step(self, equation, x: Tensor, entry: tuple, memory, draw) -> Tensor:
        stage, log_ratio = entry
        z, scale = draw(*stage.draws[0], x, stage.noise[0])
        std = (self.fraction(x, stage.t) * log_ratio).exp().mul(scale)
        return (x * stage.keep).add(equation.denoise(x, stage.t), alpha=stage.weights[0]).addcmul(std, z)


class DDIM(OneStage):
    """DDIM with its own eta, which is the equation's ``eta`` here: the variance of the noise is eta^2 times DDPM's.

    x_t = alpha_t D + sqrt(sigma_t^2 - std^2) eps + std z,   eps = (x_s - alpha_s D)/sigma_s,   std^2 = eta^2 c

    At eta = 0 and 1 this is the family of :class:`sdelab.Reverse` to rounding. Between, that family adds
    sigma_t^2 (1 - e^{-2 eta^2 h}) of variance in a step and DDIM eta^2 sigma_t^2 (1 - e^{-2h}): the same SDE in the
    limit of short steps, a different chain for long ones (DDIM's adds less).

    Order: 1 (ODE and weak). NFE: 1. Reference: Song, Meng & Ermon (2021), eq. 12 and 16.
    Raises ``ValueError`` for eta > 1, where sigma_t^2 - std^2 may be negative.
    """

    def check(self, equation) -> None:
        super().check(equation)
        if equation.eta > 1:
            raise ValueError(f"DDIM's eta lies between 0 and 1, not {equation.eta}: use ExpEuler for more noise")

    def stage(self, s: Point, t: Point, e2: float) -> Stage:
        std = math.sqrt(e2) * spread(s, t, 1.0)
        keep = ddim_keep(s, t, e2)
        noise = {"draws": (ticks(s, t, e2),), "noise": (std,)} if e2 else {}
        return Stage(s.t, None, keep, (t.alpha - keep * s.alpha,), **noise)


def ddim_keep(s: Point, t: Point, e2: float) -> float:
    """sqrt(sigma_t^2 - std^2)/sigma_s, what DDIM leaves of x_s."""
    if e2 == 1:
        return decay(s, t, 1.0)
    return t.sigma / s.sigma * math.sqrt(1 + e2 * math.expm1(-2 * (t.lam - s.lam)))


class ReverseDiffusion(OneStage):
    """Song's reverse-diffusion predictor: the forward kernel's own increments, run backwards.

    x_t = x_s - (a - 1) x_s + (1 + eta^2)/2 b score + eta sqrt(b) z,   score = -(x_s - alpha_s D)/sigma_s^2

    The public code of Song et al. takes N steps of length 1/N from a grid of N times with spacing (T - eps)/(N - 1):
    its steps are not as long as the gaps, and one more step starts at eps and lands at eps - 1/N, before the data.
    Here a step is exactly as long as the gap between its two times, and none is taken past the last one.
    diffusers' ``ScoreSdeVeScheduler.step_pred`` is this rule with alpha = 1.

    Order: 1 (ODE and weak). NFE: 1. Reference: Song et al. (2021), eq. 46 and appendix E.
    A path on the clock t drives it, as Euler–Maruyama. It cannot start where alpha = 0.
    """

    in_time = True

    def stage(self, s: Point, t: Point, e2: float) -> Stage:
        if s.alpha == 0:
            raise ValueError(f"alpha = 0 at t = {s.t}, where the forward kernel forgets x_0: start inside (t_start=)")
        share = -math.expm1(-2 * (t.lam - s.lam))  # b/sigma_s^2
        half = 0.5 * (1 + e2) * share
        noise = {"draws": ((s.t, t.t),), "noise": (math.sqrt(e2 * share) * s.sigma,)} if e2 else {}
        return Stage(s.t, None, 2 - s.alpha / t.alpha - half, (half * s.alpha,), **noise)


_SONG = "Song et al. (2021), "

ROWS = (
    Row("ddpm_large", "DDPM (large variance)", "discrete", lambda: DDPM("large"), 1, 1,
        "Ho et al. (2020), section 3.2", True, 1.0, oracle="diffusers DDPMScheduler, fixed_large"),
    Row("ddpm_range", "DDPM (half-way variance)", "discrete", lambda: DDPM(0.5), 1, 1,
        "Nichol & Dhariwal (2021), eq. 15", True, 1.0, oracle="diffusers DDPMScheduler, learned_range"),
    Row("ddim_eta", "DDIM (eta 0.5)", "discrete", DDIM, 1, 1, "Song, Meng & Ermon (2021), eq. 12 and 16", True, 1.0,
        oracle="diffusers DDIMScheduler", dial=0.5,
        note="DDIM's eta scales the chain's variance; the SDE family's eta is another chain of the same limit."),
    Row("ancestral", "ancestral sampling (SMLD)", "discrete", DDPM, 1, 1, _SONG + "appendix F, eq. 47", True, 1.0,
        oracle="k-diffusion sample_euler_ancestral",
        note="On VE this is the posterior step, the same numbers as ddpm; Song's VP version is ddpm_large."),
    Row("reverse_diffusion", "reverse diffusion", "discrete", ReverseDiffusion, 1, 1, _SONG + "eq. 46", True, 1.0,
        oracle="diffusers ScoreSdeVeScheduler.step_pred",
        note="score_sde steps by 1/N over gaps of (T - eps)/(N - 1) and past eps; here a step is its gap."),
)  # fmt: skip
