"""Samplers that run backwards to rounding, and the inversion of those that do not.

All of them are made of DDIM's move from s to t with the denoiser's answer at s, which is linear in x and D:

    move(x, D; s -> t) = (sigma_t/sigma_s) x + (alpha_t - alpha_s sigma_t/sigma_s) D

DDIM itself cannot be undone by arithmetic: the way back needs D at the state that is sought. A second state can be
carried along (EDICT, BDIA, O-BELM), or the state be found by iteration (:mod:`sdelab.solvers.implicit`).

:func:`generate` and :func:`invert` run any of them forwards and backwards; under ``solve`` they are ordinary solvers.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .. import _checks
from ..reverse import Reverse
from .linear import Point, points
from .row import Row

Coefficients = tuple[float, float]


def move(s: Point, t: Point) -> Coefficients:
    """Coefficients of x and D in DDIM's move from s to t, upwards as well as downwards in noise."""
    keep = t.sigma / s.sigma
    return keep, t.alpha - s.alpha * keep


def combine(x: Tensor, D: Tensor, c: Coefficients) -> Tensor:
    return torch.add(x * c[0], D, alpha=c[1])


class Reversible:
    """Base: ``forth`` makes a step and ``back`` undoes it; both carry the state and its companion (None at the start).

    ``second`` tells that the companion at the noise end is the state at the second time.
    """

    order, nfe, ode_only, in_time = 1, 1, True, False
    second = False

    def forth(self, equation, x: Tensor, other: Tensor | None, entry) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def back(self, equation, x: Tensor, other: Tensor | None, entry) -> tuple[Tensor, Tensor | None]:
        raise NotImplementedError

    def entries(self, knots: Sequence[Point]) -> list:
        raise NotImplementedError

    def plan(self, equation, times) -> list:
        if not isinstance(equation, Reverse):
            raise ValueError(f"{type(self).__name__} needs a Reverse equation (denoiser and process), not any SDE")
        return self.entries(points(equation.process, times))

    def start(self):
        return {"other": None}

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        x, memory["other"] = self.forth(equation, x, memory["other"], entry)
        return x


class DDIMInverse(Reversible):
    """DDIM, undone naively: each move upwards takes D at the state where it stands, the wrong end of the step.

    Order: 1, and the round trip is off by O(h) too: no inverse but that of the ODE. NFE: 1.
    Reference: Song, Meng & Ermon (2021), section 4.3; Dhariwal & Nichol (2021), appendix F.
    """

    def entries(self, knots):
        return [(s.t, move(s, t), t.t, move(t, s)) for s, t in pairwise(knots)]

    def forth(self, equation, x, other, entry):
        return combine(x, equation.denoise(x, entry[0]), entry[1]), None

    def back(self, equation, x, other, entry):
        return combine(x, equation.denoise(x, entry[2]), entry[3]), None


class EDICT(Reversible):
    """Two coupled states: each is moved with the noise predicted at the other, then they are mixed by p.

    x' = a x + b eps(y, s),   y' = a y + b eps(x', s),   x_t = p x' + (1 - p) y',   y_t = p y' + (1 - p) x_t

    with x_t = a x + b eps DDIM's move; where alpha_s = 0 it is written with D instead. Every line can be undone.
    Undoing it divides the difference of the two by p^2 a step, so rounding grows like p^{-2N}: in float64, up to some
    100 steps stay below 1e-8 at p = 0.93. Long steps drive the two apart, and the result is then far off: 50 steps are
    the least. ``ValueError`` unless 0 < p <= 1.

    Order: 1. NFE: 2. Reference: Wallace, Gokul & Naik (2023), EDICT.
    """

    nfe = 2

    def __init__(self, p: float = 0.93):
        if not 0 < p <= 1:
            raise ValueError(f"the mixing weight p lies in (0, 1], not {p}")
        self.p = p

    def entries(self, knots):
        """Time, and the coefficients of the state itself, of the other and of D there."""
        rows = []
        for s, t in pairwise(knots):
            keep, on_D = move(s, t)
            a = t.alpha / s.alpha if s.alpha else keep
            rows.append((s.t, a, keep - a, on_D))
        return rows

    def _push(self, equation, other: Tensor, entry) -> Tensor:
        time, _, on_other, on_D = entry
        return combine(other, equation.denoise(other, time), (on_other, on_D))

    def forth(self, equation, x, other, entry):
        y, a, p = x if other is None else other, entry[1], self.p
        x = torch.add(self._push(equation, y, entry), x, alpha=a)
        y = torch.add(self._push(equation, x, entry), y, alpha=a)
        x = torch.lerp(y, x, p)
        return x, torch.lerp(x, y, p)

    def back(self, equation, x, other, entry):
        y, a, p = x if other is None else other, entry[1], self.p
        y = torch.lerp(x, y, 1 / p)
        x = torch.lerp(y, x, 1 / p)
        y = (y - self._push(equation, x, entry)) / a
        return (x - self._push(equation, y, entry)) / a, y


class BDIA(Reversible):
    """Two steps at once: DDIM's move down from x_s, corrected by what its move up missed of the state before, x_q.

    x_t = move(x_s; s -> t) + gamma [x_q - move(x_s; s -> q)]

    One network call serves both moves, and x_q follows from x_s and x_t. The first step is DDIM's. Undoing a step
    divides by gamma, so below 1 rounding grows like gamma^{-N}. ``ValueError`` unless 0 < gamma <= 1, as published.

    Order: 2 at gamma = 1, where the h^2 terms of both moves cancel up to h^3; 1 below. NFE: 1.
    Reference: Zhang, Lewis & Kleijn (2023), BDIA-DDIM.
    """

    order, second = 2, True

    def __init__(self, gamma: float = 1.0):
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma lies in (0, 1], not {gamma}: at 0 the step cannot be undone")
        self.gamma = gamma
        self.order = 2 if gamma == 1 else 1

    def weight(self, q: Point, s: Point, t: Point) -> float:
        return self.gamma

    def entries(self, knots):
        """Time, the move down, and for all but the first step the move up and gamma; last, how to start at the end."""
        rows = []
        for n, (s, t) in enumerate(pairwise(knots)):
            q = knots[n - 1] if n else None
            rows.append((s.t, move(s, t), q and (move(s, q), self.weight(q, s, t)), (t.t, move(t, s))))
        return rows

    def forth(self, equation, x, other, entry):
        time, down, up, _ = entry
        D = equation.denoise(x, time)
        new = combine(x, D, down)
        if other is not None:
            new = new.add(other - combine(x, D, up[0]), alpha=up[1])
        return new, x

    def back(self, equation, x, other, entry):
        time, down, up, (end, naive) = entry
        s = combine(x, equation.denoise(x, end), naive) if other is None else other
        D = equation.denoise(s, time)
        return s, combine(s, D, up[0]).add(x - combine(s, D, down), alpha=1 / up[1])


class BELM(BDIA):
    """BDIA with the gamma that cancels the h^2 terms of both moves; with r = sigma/alpha,

    gamma = (h_t/h_s)^2 alpha_t/alpha_q,    h_t = r_s - r_t,  h_s = r_q - r_s    (1 where alpha_q = 0)

    Where steps shrink towards the data gamma is small, and undoing N steps amplifies by about (h_1/h_N)^2: rounding
    (1e-16 becomes 1e-9 of sigma_max on EDM's grids), and the error of a companion that had to be made, so that noise
    found from data alone is far from the ODE's though it leads back to the data.

    Order: 2. NFE: 1. Reference: Wang et al. (2024), O-BELM.
    """

    def __init__(self):
        super().__init__()

    def weight(self, q: Point, s: Point, t: Point) -> float:
        return ((s.ratio - t.ratio) / (q.ratio - s.ratio)) ** 2 * t.alpha / q.alpha if q.alpha else 1.0


States = Tensor | tuple[Tensor, Tensor]


def generate(equation: Reverse, solver: Reversible, states: States, times) -> States:
    """From noise at times[0] to data at times[-1] > 0, with the companion that :func:`invert` needs.

    states: the state x, or the pair that :func:`invert` returned. Returns x, or the pair (x, companion).
    """
    entries, (x, other) = _prepared(equation, solver, states, times)
    if solver.second and other is not None:
        x, other, entries = other, x, entries[1:]
    for entry in entries:
        x, other = solver.forth(equation, x, other, entry)
    return x if other is None else (x, other)


def invert(equation: Reverse, solver: Reversible, states: States, times) -> States:
    """From data at times[-1] > 0 back to noise at times[0]; ``times`` decrease, as for ``solve``.

    states: what :func:`generate` returned, or a single x, for which a companion is made. Returns x, or the pair of x
    and companion at the noise end; feed all of it to :func:`generate` to come back to the same data to rounding.
    Raises ``TypeError`` for a solver that is not of this file, ``ValueError`` for noise or a last time of 0.
    """
    entries, (x, other) = _prepared(equation, solver, states, times)
    for entry in reversed(entries[1:] if solver.second else entries):
        x, other = solver.back(equation, x, other, entry)
    if solver.second:
        assert other is not None
        return other, x
    return x if other is None else (x, other)


def _prepared(equation, solver, states, times) -> tuple[list, tuple[Tensor, Tensor | None]]:
    if not isinstance(solver, Reversible):
        raise TypeError(
            f"{type(solver).__name__} does not run backwards: Implicit(solver) does, over a single-step one"
        )
    if equation.stochastic:
        raise ValueError("what noise did cannot be undone: use eta=0")
    ts = torch.as_tensor(times, dtype=torch.float64).tolist()
    if len(ts) < 3 or any(s <= t for s, t in pairwise(ts)) or float(equation.process.var(ts[-1])) == 0:
        raise ValueError("times must decrease, be three at least, and end where sigma > 0: the step to 0 forgets x")
    x, other = states if isinstance(states, tuple) else (states, None)
    _checks.state(x)
    return solver.plan(equation, ts), (x, other)


ROWS = (
    Row("ddim_inverse", "DDIM inversion", "invertible", DDIMInverse, 1, 1, "Song, Meng & Ermon (2021), section 4.3",
        oracle="diffusers DDIMInverseScheduler"),
    Row("edict", "EDICT", "invertible", EDICT, 1, 2, "Wallace, Gokul & Naik (2023)"),
    Row("bdia", "BDIA", "invertible", BDIA, 2, 1, "Zhang, Lewis & Kleijn (2023), BDIA-DDIM"),
    Row("belm", "O-BELM", "invertible", BELM, 2, 1, "Wang et al. (2024), O-BELM"),
)  # fmt: skip
