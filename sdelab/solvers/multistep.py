"""Linear multistep methods on the predicted noise: LMS, DEIS, iPNDM and their kin.

With y = x/alpha and rho = sigma/alpha = e^{-lam} the probability-flow ODE is dy/drho = eps, so a step from s to t is

    x_t = (alpha_t/alpha_s) x_s + alpha_t int_{rho_s}^{rho_t} eps drho

and a method says how eps goes on from its past values: as a polynomial in lam, in rho, in t, or by the weights of
equal steps, whatever the steps. The integral of the constant 1 is the DDIM step.
"""

import math

import numpy as np

from .exponential import ExpAdams, through
from .linear import Step
from .row import Row

_X, _W = np.polynomial.legendre.leggauss(10)  # on [-1, 1]

AB = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


class DEIS(ExpAdams):
    """eps as a polynomial in log rho = -lam through the last p points, integrated exactly.

    Order: p. NFE: 1. Only eta = 0. Reference: Zhang & Chen (2022), DEIS, section 3.2, in the variable log rho, as in
    diffusers. ``order`` counts the points (diffusers' solver_order); one point is DDIM.
    """

    def __init__(self, order: int = 3):
        super().__init__(order, noise=True)


class LMS(DEIS):
    """eps as a polynomial in rho = sigma/alpha through the last p points: Adams–Bashforth in rho with exact weights.

    k-diffusion's LMS, by exact integration instead of adaptive quadrature, and the rhoAB method of DEIS.

    Order: p. NFE: 1. Only eta = 0. Reference: Crowson (2022), k-diffusion; Zhang & Chen (2022), DEIS, rhoAB.
    """

    def predict(self, step: Step, k: float) -> list[float]:
        mass, span = -math.expm1(-k * step.h), math.expm1(-step.h)
        nodes = [0.0, *(math.expm1(step.s.lam - p.lam) / span for p in step.past)]
        return through(nodes, [mass / (n + 1) for n in range(len(nodes))])


class DEISTime(DEIS):
    """eps as a polynomial in the process's own time t through the last p points (tAB), by Gauss–Legendre quadrature.

    The paper counts the degree: its tAB1, tAB2, tAB3 are ``order`` 2, 3, 4 here.

    Order: p. NFE: 1. Only eta = 0. Reference: Zhang & Chen (2022), DEIS, eq. 15.
    """

    nodes = tuple((0.5 + 0.5 * _X).tolist())

    def predict(self, step: Step, k: float) -> list[float]:
        (s, t, *_), h = (step.s.t, step.t.t), step.h
        mass = [0.5 * w * k * h * math.exp(-k * h * (1 - r)) for w, r in zip(_W.tolist(), self.nodes, strict=True)]
        tau = [(p.t - s) / (t - s) for p in step.inner]
        nodes = [0.0, *((p.t - s) / (t - s) for p in step.past)]
        return through(nodes, [sum(m * u**n for m, u in zip(mass, tau, strict=True)) for n in range(len(nodes))])


class IPNDM(DEIS):
    """The DDIM step along the Adams–Bashforth combination of eps for equal steps, with fewer points at the start.

    The weights suit steps of equal length in rho. On any other grid they lose the mean of eps against the varying
    length of the steps, an error of h^3 each, so the order is 2 however many points are used.

    Order: 2 (1 with one point). NFE: 1. Only eta = 0. Reference: Zhang & Chen (2022), iPNDM; weights of Adams (1883).
    """

    def __init__(self, points: int = 4):
        super().__init__(points)
        self.order = min(points, 2)

    def predict(self, step: Step, k: float) -> list[float]:
        mass = -math.expm1(-k * step.h)
        return [mass * w for w in AB[len(step.past)]]


class IPNDMv(DEIS):
    """iPNDM with weights for steps of different lengths, as every public code has them.

    The Newton form of Adams–Bashforth in rho is d_0 + (h/h_1)/2 (d_0 - d_1) + c_2 Delta_2 + c_3 Delta_3. As published,
    a bracket of c_2 is misplaced, c_3 has a wrong sign within, and the last factor of Delta_3 takes h_1/h_2 for
    h_2/h_3. On geometric grids that leaves order 3; on others the weights do not even add up to 1, which leaves 2.
    ``LMS(4)`` is what is meant, of order 4.

    Order: 3 on geometric grids (claimed: 4). NFE: 1. Only eta = 0.
    Reference: Zhou et al. (2024), AMED-Solver, code diff-sampler.
    """

    def __init__(self):
        super().__init__(4)
        self.order = 3

    def predict(self, step: Step, k: float) -> list[float]:
        rho = [math.exp(step.s.lam - p.lam) for p in (step.t, step.s, *step.past)]
        h, h1, h2, h3, *_ = [*np.subtract(rho[:-1], rho[1:]).tolist(), 1.0, 1.0, 1.0]
        a, b, c = h1 / h2, h1 * (h1 + h2) / (h2 * (h2 + h3)), h2 / h3
        third = (1 - h / (3 * (h + h1))) / 2 + (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
        newton = [
            (1.0, (1.0,)),
            (h / h1 / 2, (1.0, -1.0)),
            ((1 - h / (3 * (h + h1)) * h * (h + h1) / (h1 * (h1 + h2))) / 2, (1.0, -1 - a, a)),
            (third * h * (h + h1) * (h + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3)),
             (1.0, -1 - a - b, a + b * (1 + c), -b * a)),
        ][: len(step.past) + 1]  # fmt: skip
        mass = -math.expm1(-k * step.h)
        return [mass * sum(f * w[j] for f, w in newton if j < len(w)) for j in range(len(newton))]


class GradientEstimation(DEIS):
    """gamma eps_s + (1 - gamma) eps_old held constant over the step: an averaged estimate of the noise's direction.

    Order: 1 (2 at gamma = 3/2, where it is Adams–Bashforth for equal steps). NFE: 1. Only eta = 0.
    Reference: Permenter & Yuan (2023), "Interpreting and improving diffusion models from an optimization perspective".
    """

    def __init__(self, gamma: float = 2.0):
        if not math.isfinite(gamma):
            raise ValueError(f"gamma must be a finite number such as 2, not {gamma!r}")
        super().__init__(2)
        self.gamma, self.order = gamma, 1

    def predict(self, step: Step, k: float) -> list[float]:
        mass = -math.expm1(-k * step.h)
        return [mass * self.gamma, mass * (1 - self.gamma)] if step.past else [mass]


_ZHANG, _LMS = "Zhang & Chen (2022), DEIS", "Crowson (2022), k-diffusion"
_UNEQUAL = "weights of equal steps in sigma/alpha, on a graded grid"

# Where the slopes settle: later than usual for Adams–Bashforth in rho and t; DEIS before its leading error passes
# through zero on Gaussian data, or on a grid where it does not.
_FINE, _COARSE, _KARRAS = {"steps": (240, 480, 960)}, {"steps": (60, 120, 240)}, {"grid": "karras"}


def _row(key, name, make, order, paper, **fields) -> Row:
    return Row(key, name, "multistep", make, order, 1, paper, **fields)


ROWS = (
    _row("lms", "LMS", lambda: LMS(4), 4, _LMS, oracle="k-diffusion sample_lms, diffusers LMSDiscrete", measure=_FINE),
    *(_row(f"lms_{p}", f"LMS, order {p}", lambda p=p: LMS(p), p, _LMS, oracle="k-diffusion sample_lms")
      for p in (1, 2, 3)),
    *(_row("deis" if p == 2 else f"deis_{p}", f"DEIS (log rho, order {p})", lambda p=p: DEIS(p), p,
           f"{_ZHANG}, section 3.2", oracle="diffusers DEISMultistep" if p < 4 else "closed form",
           measure=({}, _KARRAS, _COARSE)[p - 2]) for p in (2, 3, 4)),
    *(_row(f"deis_tab_{p}", f"DEIS tAB{p}", lambda p=p: DEISTime(p + 1), p + 1, f"{_ZHANG}, eq. 15",
           note=f"tAB{p} is of degree {p}, and so of order {p + 1}", measure=_FINE if p == 3 else {})
      for p in (1, 2, 3)),
    *(_row(f"deis_rhoab_{p}", f"DEIS rhoAB{p}", lambda p=p: LMS(p + 1), p + 1, f"{_ZHANG}, rhoAB",
           oracle="k-diffusion sample_lms", note=f"a polynomial in sigma/alpha: the same numbers as LMS, order {p + 1}",
           measure=_FINE if p == 3 else {})
      for p in (1, 2, 3)),
    _row("ipndm", "iPNDM", IPNDM, 2, f"{_ZHANG}, iPNDM", claimed=4, oracle="diffusers IPNDM", note=_UNEQUAL),
    _row("ipndm_v", "iPNDM v", IPNDMv, 3, "Zhou et al. (2024), AMED-Solver, code", claimed=4,
         note="the public weights have three slips: order 3 on geometric grids and 2 on others; lms is what is meant"),
    _row("gradient_estimation", "gradient estimation", GradientEstimation, 1,
         "Permenter & Yuan (2023), gradient-estimation sampler"),
)  # fmt: skip
