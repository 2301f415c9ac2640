"""The problems of the benchmarks: exact laws in 2 and 64 dimensions under VP and EDM, with converged solutions.

Solvers are judged by the mean distance of 1024 end points (256 in 64 dimensions) to the probability-flow ODE solved by
scipy's DOP853 from the same starts. Nothing was tuned to these laws; ring8 and aniso5 are fixed by their seeds.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

import sdelab as sd
from sdelab.distributions import GaussianMixture

F64 = torch.float64
BUDGETS = (5, 8, 10, 15, 20, 35, 50)


def aniso5() -> GaussianMixture:
    """Five anisotropic components in the plane."""
    draw = np.random.default_rng(1005)
    means = 0.9 * draw.standard_normal((5, 2))
    variances = np.exp(draw.uniform(math.log(0.05), math.log(0.5), (5, 2))) ** 2
    axes = np.linalg.qr(draw.standard_normal((5, 2, 2)))[0]
    weights = draw.uniform(0.5, 1.5, 5)
    return GaussianMixture(weights, means, np.einsum("kij,kj,klj->kil", axes, variances, axes))


def lowrank64() -> GaussianMixture:
    """Six components near 4-dimensional subspaces of a 64-dimensional space."""
    draw = np.random.default_rng(64)
    means = 0.5 * draw.standard_normal((6, 64))
    factors = draw.standard_normal((6, 64, 4)) / 8 * np.exp(draw.uniform(math.log(0.3), math.log(3), (6, 1, 4)))
    return GaussianMixture(
        draw.uniform(0.5, 1.5, 6), means, np.einsum("kij,klj->kil", factors, factors) + 0.05**2 * np.eye(64)
    )


def balls64() -> GaussianMixture:
    """Sixteen balls of different sizes in 64 dimensions."""
    draw = np.random.default_rng(65)
    means = 0.25 * draw.standard_normal((16, 64))
    return GaussianMixture(np.ones(16), means, np.exp(draw.uniform(math.log(0.08), math.log(0.5), 16)))


LAWS = {"ring8": sd.distributions.ring, "aniso5": aniso5, "lowrank64": lowrank64, "balls64": balls64}
PROCESSES = {"VP": sd.process.DiscreteBetas, "EDM": sd.process.EDM}


def converged(law, process, x: Tensor, t_end: float, rtol: float = 1e-10) -> Tensor:
    """The ODE from x at T to t_end (0 included) in y = x/alpha against log(sigma/alpha): dy = (y - D) dlog."""
    denoise = law.denoiser(process)
    end = max(t_end, float(process.t_of_lam(math.log(1e6))))  # below a noise level of 1e-6 the denoiser's answer stands

    def slope(log_sigma: float, flat: np.ndarray) -> np.ndarray:
        t = float(process.t_of_lam(-log_sigma))
        y = torch.from_numpy(flat).view(x.shape)
        return (y - denoise(y * float(process.alpha(t)), t)).flatten().numpy()

    ends = (-float(process.lam(process.T)), -float(process.lam(end)))
    start = (x / float(process.alpha(process.T))).flatten().numpy()
    solution = solve_ivp(slope, ends, start, "DOP853", rtol=rtol, atol=1e-2 * rtol)
    y = torch.from_numpy(solution.y[:, -1].copy()).view(x.shape) * float(process.alpha(end))
    return y if t_end > 0 else denoise(y, end)


class Problem(NamedTuple):
    """A law under a process, with starts and where the ODE takes them: at t_min and at 0."""

    law: GaussianMixture
    process: sd.process.Process
    x_T: Tensor
    at_min: Tensor
    at_zero: Tensor


@functools.cache
def problem(law: str, process: str, starts: int | None = None, seed: int = 11) -> Problem:
    made, path = LAWS[law](), PROCESSES[process]()
    count = starts or (1024 if made.dim <= 2 else 256)
    x = sd.noise.prior(path, (count, made.dim), seed=seed, dtype=F64)
    at_min = converged(made, path, x, path.t_min)
    return Problem(made, path, x, at_min, converged(made, path, x, 0.0))


def distance(x: Tensor, truth: Tensor) -> float:
    """Mean L2 distance over the starts."""
    return float((x - truth).norm(dim=1).mean())
