"""A solver whose times and weights were fitted to the model at hand: numbers instead of a rule (:mod:`sdelab.fit`)."""

import math
from collections.abc import Sequence

import torch

from .linear import Entry, Linear, Stage


class Tuned(Linear):
    """Linear multistep by its numbers: x_t = keep x_s + sum_j w_j D_j, newest value first, (keep, w) of every step.

    Order: none, the numbers are right at their own ``times`` only, and other times raise ``ValueError``. NFE: 1.
    Only eta = 0. Reference: the search space is that of Wang et al. (2025), "Differentiable solver search for fast
    diffusion sampling"; the fit (:func:`sdelab.fit.tune`) is ours.
    """

    ode_only = True

    def __init__(self, times, recipe: Sequence[tuple[float, Sequence[float]]]):
        self.times = torch.as_tensor(times, dtype=torch.float64)
        self.recipe = [(float(keep), tuple(map(float, w))) for keep, w in recipe]
        self.history = max(len(w) for _, w in self.recipe) - 1

    def plan(self, equation, times) -> list[Entry]:
        self.check(equation)
        own = self.times.tolist()[: len(times)]
        if len(times) != len(self.recipe) + 1 or not all(map(math.isclose, own, times)):
            raise ValueError("a tuned solver is right at its own times only: solve(ode, tuned, x_T, tuned.times)")
        return [Entry((Stage(t, None, keep, w),)) for t, (keep, w) in zip(own, self.recipe, strict=False)]
