"""The order of a solver, measured without statistics, on Gaussian data where everything is known.

Data N(MEAN, STD^2) make the denoiser affine: the ODE has a closed form, and a stochastic sampler is affine in x_T and
its noises, so that its output's mean and variance come from basis vectors instead of random numbers.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from . import distributions, grids, process
from .brownian import Brownian
from .levy import LevyBrownian
from .noise import normal
from .reverse import Reverse
from .solve import run, solve
from .solvers import ExpEuler
from .solvers.linear import clock
from .solvers.row import Row

MEAN, STD = 2.0, 0.3
F64 = torch.float64

# Solvers with a past start with one node, so their order shows when the run starts where D is nearly constant (noise);
# schemes in t need a range where the drift's derivatives are moderate. Both end where sigma > 0.
FROM_NOISE = {"vp": (1.0, 0.02), "edm": (80.0, 0.05), "flow": (0.999, 0.02), "cosine": (0.9946, 0.02),
              "subvp": (1.0, 0.05), "ve": (1.0, 0.4)}  # fmt: skip
MIDDLE = {"vp": (0.9, 0.1), "edm": (5.0, 0.5), "flow": (0.9, 0.2), "cosine": (0.9, 0.2), "subvp": (0.9, 0.2),
          "ve": (0.9, 0.5)}  # fmt: skip
STEPS = {True: {1: (160, 320, 640, 1280), 2: (80, 160, 320), 3: (60, 120, 240), 4: (40, 80, 160), 5: (20, 40, 80)},
         False: {1: (480, 960, 1920), 2: (480, 960, 1920), 3: (960, 1920, 3840), 4: (480, 960, 1920)}}  # fmt: skip


def slope(steps, errors) -> float:
    """Least-squares order of the errors against the step counts."""
    return float(-np.polyfit(np.log(steps), np.log(errors), 1)[0])


def outer(steps):
    """First and last of three step counts in geometric progression: the one between has no weight in a slope."""
    return steps[::2] if len(steps) == 3 and steps[1] ** 2 == steps[0] * steps[2] else steps


def linear_problem(process, eta: float, mean: float = MEAN) -> Reverse:
    """The family on data N(mean, STD^2), whose denoiser is affine: D = (alpha STD^2 x + sigma^2 mean)/spread^2."""
    law = distributions.gaussian((mean,), STD).denoiser(process)

    def denoise(x: Tensor, t) -> Tensor:
        if torch.is_tensor(t):  # one time per sample, or to be differentiated
            return law(x, t)
        alpha, var = float(process.alpha(t)), float(process.var(t))
        total = alpha * alpha * STD * STD + var
        return (alpha * STD * STD / total) * x + var * mean / total

    return Reverse(process, denoise, eta)


def spread(process, t: float) -> float:
    """Standard deviation of x_t."""
    return math.sqrt(float(process.alpha(t) ** 2 * STD**2 + process.var(t)))


def _grid(row: Row, process, steps: int, ranges) -> Tensor:
    start, end = row.measure.get("range") or ranges[process.name]
    return grids.make(row.measure.get("grid", "logsnr"), process, steps, t_start=start, t_end=end)


def ode_error(solver, process, times) -> float:
    """Largest error at the end of ``times`` against the closed form of the probability-flow ODE."""
    start, end = float(times[0]), float(times[-1])
    x = torch.linspace(-2, 2, 9, dtype=F64)[:, None]
    growth = spread(process, end) / spread(process, start)
    exact = process.alpha(end) * MEAN + (x - process.alpha(start) * MEAN) * growth
    return float((solve(linear_problem(process, 0.0), solver, x, times) - exact).abs().max())


def ode_order(row: Row, name: str = "vp") -> float:
    """Slope of the ODE error on the process of that name."""
    made, in_time = process.make(name), row.make().in_time
    steps = outer(row.measure.get("steps") or STEPS[in_time][min(round(row.order), 5 if in_time else 4)])
    ranges = MIDDLE if in_time else FROM_NOISE
    return slope(steps, [ode_error(row.make(), made, _grid(row, made, n, ranges)) for n in steps])


def moments(solver, process, eta: float, times) -> tuple[float, float]:
    """Exact (mean, standard deviation) of the sampler's output, if it is started at the exact law of x at times[0]."""
    equation, start = linear_problem(process, eta), float(times[0])
    made = 0

    def silent(n):
        def draw(a, b, x, std, area=False):
            nonlocal made
            made += 1
            return torch.zeros_like(x), std

        return draw

    def last(x, drawer) -> Tensor:
        *_, (_, out) = run(equation, solver, x, times.tolist(), drawer, progress=False)
        return out

    origin = torch.full((1, 1), float(process.alpha(start)) * MEAN, dtype=F64)
    mean = last(origin, silent)
    rows = made + 2  # the mean, x_T moved by its standard deviation, and each noise once
    x = origin.repeat(rows, 1)
    x[1] += spread(process, start)
    calls = 1

    def basis(n):
        def draw(a, b, x, std, area=False):
            nonlocal calls
            calls += 1
            z = torch.zeros_like(x)
            z[calls] = 1.0
            return z, std

        return draw

    return float(mean), float((last(x, basis) - mean).square().sum().sqrt())


def weak_error(solver, process, eta: float, times) -> float:
    """The larger of the errors of mean and standard deviation at the end of ``times``."""
    mean, std = moments(solver, process, eta, times)
    end = float(times[-1])
    return max(abs(mean - float(process.alpha(end)) * MEAN), abs(std - spread(process, end)))


def weak_order(row: Row, name: str = "vp", eta: float | None = None) -> float:
    """Slope of the weak error."""
    made, steps = process.make(name), outer(row.measure.get("weak_steps", (100, 200, 400)))
    start, end = row.measure.get("weak_range", (0.9, 0.02))
    times = [grids.logsnr(made, n, t_start=start * made.T, t_end=end * made.T) for n in steps]
    return slope(steps, [weak_error(row.make(), made, row.eta if eta is None else eta, t) for t in times])


_ROWS = (1000, 1)  # fewer, and the slope is the seed's


@lru_cache(maxsize=4)
def _path(make, *ends: float):
    return make(_ROWS, *ends, seed=5, dtype=F64, depth=30)


def _on_path(solver, eta: float, name: str, start: float, end: float, steps: int, path) -> Tensor:
    made = process.make(name)
    times = grids.logsnr(made, steps, t_start=start, t_end=end)
    return solve(linear_problem(made, eta), solver, normal(_ROWS, 3, dtype=F64), times, brownian=path)


@lru_cache(maxsize=4)
def _exp_euler(*problem) -> Tensor:
    return _on_path(ExpEuler(), *problem)


def strong_order(row: Row, name: str = "vp") -> float:
    """Slope of the mean error on one Brownian path, against a fine run of the same path.

    The fine run is exponential Euler's, which rows with the same path share; in t, the row's own. A row whose noise
    makes another SDE of the same marginals (``measure``: truth="own") is held against itself.
    """
    made, (start, end) = process.make(name), row.measure.get("strong_range", (0.9, 0.05))
    steps = outer(row.measure.get("strong_steps", (32, 64, 128, 256)))
    in_time = row.make().in_time or row.measure.get("clock") == "t"
    ends = (end, start) if in_time else tuple(clock(row.eta**2, float(made.lam(t))) for t in (start, end))
    path = _path(LevyBrownian if getattr(row.make(), "area", False) else Brownian, *ends)

    fine = (row.eta, name, start, end, max(2048, 8 * steps[-1]), path)  # a coarser one brings its own error
    own = in_time or row.measure.get("truth") == "own"
    truth = _on_path(row.make(), *fine) if own else _exp_euler(*fine)
    runs = [_on_path(row.make(), row.eta, name, start, end, n, path) for n in steps]
    return slope(steps, [float((x - truth).abs().mean()) for x in runs])
