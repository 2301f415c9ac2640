"""Analytic-DPM: the variance of a reverse step that is optimal for the given mean.

A chain's step x_t = keep x_s + w D(x_s) + std z puts D where the posterior would put x_0. What it forgets is the spread
of x_0 around D, so the best isotropic Gaussian step has

    variance = std^2 + w^2 V(s),     V(s) = E |x_0 - D(x_s)|^2 / d       (mean variance of x_0 given x_s)

which is Bao et al.'s optimal variance: they write V = (sigma/alpha)^2 (1 - sigma^2 E|score|^2/d).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from .. import noise
from ..process import Process
from .discrete import DDIM
from .linear import Point, Stage, ticks
from .row import Row


def posterior_variance(
    denoise, process: Process, x0: Tensor, times: Sequence[float] | Tensor, seed: int, *, route: str = "loss"
) -> Callable[[float], float]:
    """V(t) estimated from data ``x0`` (n, ...) at ``times``, as a function of t (linear between them).

    route="loss":  the denoising error E|x_0 - D|^2/d itself, right for any denoiser and where alpha = 0.
    route="score": (sigma/alpha)^2 (1 - E|eps|^2/d) from the predicted noise, as published; it needs an exact denoiser
    and cancels where sigma/alpha is large. One network call on the whole batch per time, noise from ``seed``.

    Reference: Bao et al. (2022), Analytic-DPM, theorem 1; "loss" as in Bao et al. (2022b), "Estimating the optimal
    covariance with imperfect mean". Raises ``ValueError`` for another route, an empty batch, "score" where alpha = 0.
    """
    if route not in ("loss", "score"):
        raise ValueError(f"route must be 'loss' or 'score', not {route!r}")
    if x0.numel() == 0:
        raise ValueError("the variance is estimated from data: x0 must not be empty")
    knots = sorted(float(t) for t in times if float(t) > 0)
    if route == "score" and float(process.alpha(knots[-1])) == 0:
        raise ValueError(f"where alpha = 0 (t = {knots[-1]}) the score says nothing about x_0: use route='loss'")
    values = []
    for n, t in enumerate(knots):
        z = noise.normal(x0.shape, seed, (noise.STEP, n), 0, x0.dtype, x0.device)
        x = process.perturb(x0, t, z)
        D, alpha, sigma = denoise(x, t), float(process.alpha(t)), float(process.sigma(t))
        if route == "loss":
            values.append(float((x0 - D).square().mean()))
        else:
            values.append((sigma / alpha) ** 2 * (1 - float(((x - alpha * D) / sigma).square().mean())))
    table = np.maximum(values, 0.0)
    return lambda t: float(np.interp(t, knots, table))


class AnalyticDPM(DDIM):
    """The chain of DDIM (whose eta is the equation's) with the optimal variance std^2 + w^2 V(s) of its steps.

    ``variance``: V as a function of t, from :func:`posterior_variance` on data of yours or in closed form; or a number,
    the variance c of data N(m, c I), for which V = c sigma^2/(alpha^2 c + sigma^2). On such data the chain is exact in
    law, however few its steps; on any other its steps have the right second moment. At eta = 0 the mean is DDIM's, and
    noise is still added.

    Order: 1 (weak). NFE: 1; one more call per time to estimate V, once.
    Reference: Bao et al. (2022), Analytic-DPM, theorem 1. Raises ``ValueError`` for eta > 1 and a negative variance.
    """

    noisy = True

    def __init__(self, variance: float | Callable[[float], float] = 0.25):
        if not callable(variance) and not 0 <= variance < math.inf:
            raise ValueError(f"the data's variance must be a number >= 0 or a function of t, not {variance!r}")
        self.variance = variance

    def spread_of_data(self, s: Point) -> float:
        """V(s)."""
        if callable(self.variance):
            return self.variance(s.t)
        c = self.variance
        return c * s.sigma**2 / (s.alpha**2 * c + s.sigma**2)

    def stage(self, s: Point, t: Point, e2: float) -> Stage:
        stage = super().stage(s, t, e2)
        std, w = (stage.noise[0] if e2 else 0.0), stage.weights[0]
        total = math.sqrt(std**2 + w**2 * self.spread_of_data(s))
        return stage._replace(draws=(ticks(s, t, e2) if e2 else None,), noise=(total,))


ROWS = (
    Row("analytic_dpm", "Analytic-DPM (DDPM)", "discrete", AnalyticDPM, 1, 1, "Bao et al. (2022), theorem 1", True, 1.0,
        note="Runs with the variance of Gaussian data of deviation 0.5 unless given what posterior_variance measures."),
    Row("analytic_ddim", "Analytic-DPM (DDIM)", "discrete", AnalyticDPM, 1, 1, "Bao et al. (2022), theorem 1", True,
        dial=0.0, note="DDIM's mean, and the noise that its D leaves out; V as in analytic_dpm."),
)  # fmt: skip
