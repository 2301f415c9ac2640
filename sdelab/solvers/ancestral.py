"""Ancestral sampling: step the ODE below the level that is wanted, then diffuse forwards up to it.

With r = sigma/alpha and the noise dial eta, the level below and the noise of the way back are

    r_up = min(r_t, eta r_t sqrt(1 - r_t^2/r_s^2)),   r_down^2 = r_t^2 - r_up^2
    x_t  = (alpha_t/alpha_down) x_down + alpha_t r_up z

so any single-step method for the ODE becomes a sampler for the reverse diffusion.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from ..reverse import Reverse
from .exp_rk import ExpRK, midpoint
from .linear import Entry, Linear, Point, Stage, points, ticks
from .row import Row
from .runge_kutta import RK4, Euler
from .sigma import DPM2, HeunPP2, SigmaRK


def single_step(solver, what: str) -> Linear:
    """``solver`` itself, if a step of it needs nothing but its own start; else ``TypeError`` or ``ValueError``."""
    if not isinstance(solver, Linear):
        raise TypeError(f"{what} takes a single-step solver such as DPM2(), not {solver!r}")
    past = solver.history or getattr(solver, "corrector", False) or isinstance(solver, HeunPP2)
    if past or getattr(solver, "noisy", False):
        raise ValueError(f"{what} moves the state between steps: {type(solver).__name__} is no single-step ODE method")
    return solver


def planned(solver: Linear, equation: Reverse, pairs: Sequence[tuple[float, float]]) -> list[Entry]:
    """Entries of the ODE steps between pairs of times that need not join up, planned together."""
    times, at = [], []
    for s, t in pairs:
        if not times or times[-1] != s:
            times.append(s)
        at.append(len(times) - 1)
        times.append(t)
    entries = solver.plan(Reverse(equation.process, equation.denoise, 0.0), times)
    return [entries[i] for i in at]


class Ancestral(Linear):
    """Ancestral sampler over a single-step ODE solver: its step to r_down, then noise up to r_t; eta is the equation's.

    eta is k-diffusion's. Over Euler in sigma ("Euler a") this is DDIM with its own eta, and at eta = 1 the DDPM
    posterior step; at eta = 0 nothing but the solver is left. Between, the noise of a step differs from that of the
    family of :class:`sdelab.Reverse` by a factor 1 + O(h), and both converge to the same SDE. Above eta = 1 a long
    step may ask for r_down = 0: then it is x_t = alpha_t D + sigma_t z, one network call. Driven by a Brownian path,
    the clock is that of the exponential solvers, e^{2 eta^2 lam}.

    Order: weak, the solver's, whatever it is: the forward kernel is exact, so a step takes the law at s to the law at t
    but for the error of the ODE. Strong 1. NFE: the solver's.
    Reference: Song, Meng & Ermon (2021), eq. 12 and 16; as sigma_up and sigma_down in k-diffusion (Crowson, 2022).
    Raises ``ValueError`` over a multistep solver, ``TypeError`` over what is no linear solver.
    """

    def __init__(self, solver: Linear | None = None):
        self.solver = single_step(solver or SigmaRK(Euler), "an ancestral sampler")
        self.order, self.nfe = self.solver.order, self.solver.nfe

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        process, e2 = equation.process, equation.eta**2
        knots = points(process, times)
        if not e2:
            return self.solver.plan(equation, times)
        steps = [_below(s, t, e2) for s, t in pairwise(knots)]
        inside = [n for n, (left, _) in enumerate(steps) if left]
        lams = torch.tensor([knots[n + 1].lam - math.log(steps[n][0]) for n in inside], dtype=torch.float64)
        down = points(process, process.t_of_lam(lams).tolist())
        found = planned(self.solver, equation, [(knots[n].t, p.t) for n, p in zip(inside, down, strict=True)])
        entries = {n: (entry, p.alpha) for n, entry, p in zip(inside, found, down, strict=True)}
        out = []
        for n, (s, t) in enumerate(pairwise(knots)):
            noise = {"draws": (ticks(s, t, e2),), "noise": (steps[n][1],)}
            if n in entries:
                (*first, last), alpha = entries[n][0].stages, entries[n][1]
                up = t.alpha / alpha
                last = last._replace(keep=up * last.keep, weights=[up * w for w in last.weights], **noise)
                out.append(Entry((*first, last), remember=False))
            else:
                out.append(Entry((Stage(s.t, None, 0.0, (t.alpha,), **noise),), remember=False))
        return out


def _below(s: Point, t: Point, e2: float) -> tuple[float, float]:
    """(r_down/r_t, the noise's standard deviation alpha_t r_up) of the step from s to t."""
    h = t.lam - s.lam
    left = max(0.0, 1 - e2 + e2 * math.exp(-2 * h))  # exact at eta = 1
    return math.sqrt(left), t.sigma * math.sqrt(min(1.0, -e2 * math.expm1(-2 * h)))


_SONG, _CROWSON = "Song, Meng & Ermon (2021), eq. 12 and 16", "Crowson (2022), k-diffusion"

ROWS = (
    Row("euler_ancestral", "Euler a", "ancestral", Ancestral, 1, 1, _SONG, True, 1.0,
        oracle="k-diffusion sample_euler_ancestral; diffusers EulerAncestralDiscreteScheduler",
        note="DDIM with its own eta; at eta = 1 the DDPM posterior step."),
    Row("heun_ancestral", "Heun a", "ancestral", lambda: Ancestral(SigmaRK()), 2, 2, "after " + _CROWSON, True, 1.0),
    Row("rk4_ancestral", "RK4 a", "ancestral", lambda: Ancestral(SigmaRK(RK4)), 4, 4, "after " + _CROWSON, True, 1.0,
        measure={"weak_steps": (50, 100, 200)}),
    Row("dpm_2_ancestral", "DPM2 a", "ancestral", lambda: Ancestral(DPM2()), 2, 2, _CROWSON, True, 1.0,
        oracle="k-diffusion sample_dpm_2_ancestral; diffusers KDPM2AncestralDiscreteScheduler"),
    Row("dpmpp_2s_ancestral", "DPM++ 2S a", "ancestral", lambda: Ancestral(ExpRK(midpoint())), 2, 2,
        "Lu et al. (2022), DPM-Solver++, alg. 1; " + _CROWSON, True, 1.0,
        oracle="k-diffusion sample_dpmpp_2s_ancestral"),
)  # fmt: skip
