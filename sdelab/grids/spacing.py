"""Grids in t as samplers of trained chains space them: knots, shifts, and rules that end at 0 by themselves.

A chain's knots are t = T n/N: N betas of a :class:`DiscreteBetas`, 1000 on processes in continuous time. The networks
of the image tools know the knot n as "timestep" n - 1.
"""

import math

import torch
from torch import Tensor

from ..process import DiscreteBetas, Process
from .base import grid_rule


def _knots(process: Process, t: Tensor, how=torch.round) -> Tensor:
    """Times moved to the chain's knots; ``how`` rounds a number of knots."""
    n = len(process.betas) if isinstance(process, DiscreteBetas) else 1000
    return how(torch.round(t * (n / process.T), decimals=9)) * (process.T / n)  # half a knot is half, not nearly half


@grid_rule()
def linspace(process, r, start, end):
    """Equal steps in t, rounded to the knots of the chain: diffusers' "linspace". Lin et al. (2024), table 2."""
    return _knots(process, start + r * (end - start), lambda n: torch.round(n - 1) + 1)  # ties as in timesteps


@grid_rule(to_zero=True)
def trailing(process, r, start, end):
    """Equal steps in t down to t = 0 itself, rounded to knots: diffusers' "trailing". Lin et al. (2024), table 2."""
    return _knots(process, start + r * (end - start))


@grid_rule(to_zero=True)
def simple(process, r, start, end):
    """Every (N/steps)-th knot from the noise end, rounded up: ComfyUI's "simple", :func:`trailing` to a knot."""
    return _knots(process, start + r * (end - start), torch.ceil)


@grid_rule(to_zero=True, inside=True)
def leading(process, r, start, end, offset: int = 1):
    """Every floor(N/steps)-th knot counted from the data, so it starts below T: diffusers' "leading".

    ``offset`` is diffusers' steps_offset (1 for Stable Diffusion). The state drawn at T meets a network told an
    earlier time: the flaw that Lin et al. (2024), section 3.3, describe. It is kept because it is what was published.
    """
    chain = len(process.betas) if isinstance(process, DiscreteBetas) else 1000
    steps = len(r) - 1
    if not 0 <= offset < chain:
        raise ValueError(f"offset counts knots of the chain, 0 to {chain - 1}, not {offset}")
    ratio = int(start * chain / process.T + 1e-9) // steps
    n = torch.arange(steps, -1, -1, dtype=torch.float64) - 1  # the last one is put at the end by the caller
    return (n * ratio + 1 + offset).clamp_max(chain) * (process.T / chain)


@grid_rule(to_zero=True, inside=True)
def ddim_uniform(process, r, start, end):
    """ComfyUI's name of :func:`leading` with offset 1 (which takes more steps than asked for where they do not fit)."""
    return leading(process, len(r) - 1, t_start=start, t_end=end)


@grid_rule(to_zero=True)
def sgm_uniform(process, r, start, end):
    """Equal steps in t from T to t_min with the last one at 0 instead: ComfyUI's and sgm's "SGM Uniform"."""
    return start + r * ((end or process.t_min) - start)


@grid_rule(to_zero=True)
def beta(process, r, start, end, a: float = 0.6, b: float = 0.6):
    """Quantiles of Beta(0.6, 0.6) in t: dense at both ends. Lee et al. (2024), "Beta sampling is all you need"."""
    from scipy.special import betaincinv

    if not (a > 0 and b > 0):
        raise ValueError(f"a beta distribution has parameters a, b > 0, not {a} and {b}")
    return end + (start - end) * torch.from_numpy(betaincinv(a, b, 1 - r.numpy()))


def dynamic_shift(tokens: int, low=(256, 0.5), high=(4096, 1.15)) -> float:
    """The shift e^mu of :func:`flow_shift` for an image of that many tokens; mu is linear between two resolutions.

    Esser et al. (2024), as FLUX.1 uses it: mu = 0.5 at 256 tokens and 1.15 at 4096.
    """
    (n0, mu0), (n1, mu1) = low, high
    return math.exp(mu0 + (mu1 - mu0) * (tokens - n0) / (n1 - n0))


@grid_rule(to_zero=True)
def flow_shift(process, r, start, end, shift: float = 3.0):
    """Equal steps on a straight flow, then sigma/alpha times ``shift``: SD3's and FLUX's static or dynamic shift.

    On the flow t -> shift t/(1 + (shift - 1) t); elsewhere the times of the same sigma/alpha. ``dynamic_shift`` gives
    the shift of a resolution. Esser et al. (2024), eq. 23.
    """
    if not shift > 0:
        raise ValueError(f"shift multiplies the noise-to-signal ratio: it must be positive, not {shift}")
    ends = torch.tensor([start, end], dtype=r.dtype)
    u0, u1 = (process.sigma(ends) / (shift * process.alpha(ends) + process.sigma(ends))).tolist()
    u = u0 + r * (u1 - u0)
    return process.t_of_lam(((1 - u) / (shift * u)).log())


@grid_rule(to_zero=True)
def linear_quadratic(process, r, start, end, threshold: float = 0.025):
    """Half of the steps in the first 2.5 %, linear in t, then quadratic: Movie Gen (2024), Mochi."""
    n = len(r) - 1
    m = n // 2  # linear steps, of threshold/m each
    i = torch.arange(n + 1, dtype=r.dtype)
    if m == 0:
        done = i / n
    else:  # the parabola through (m, threshold) with the line's slope there, and through (n, 1)
        slope = threshold / m
        bend = (1 - slope * n) / (n - m) ** 2
        done = slope * i + bend * (i - m).clamp_min(0) ** 2
    return start + done * (end - start)


@grid_rule(to_zero=True)
def cosine(process, r, start, end, sway: float = -1.0):
    """t = cos(pi r/2): small steps near the noise, as flow-matching speech models take them (sway sampling at -1).

    1 - t = r + sway (cos(pi r/2) - 1 + r); sway = 0 is uniform. Chen et al. (2024), F5-TTS.
    """
    if not -1 <= sway <= 2 / (math.pi - 2):
        raise ValueError(f"sway must lie in [-1, 1.75] for times that decrease, not {sway}")
    return start + (r + sway * (torch.cos(0.5 * math.pi * r) - 1 + r)) * (end - start)
