"""Schemes in t, each written once as a formula in x, the drift, the diffusion and the step's noise.

On any SDE the formula runs on tensors as it stands. On :class:`sdelab.Reverse` drift and diffusion are p x + q D and a
number b, so the same formula is run once per step on *names* (:class:`Form`) before the states move: out come the
numbers of a :class:`~sdelab.solvers.linear.Linear` step, and the run does only the passes that they need.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..reverse import Reverse
from .linear import Entry, Linear, Stage


class Form:
    """A linear combination of named things: 0 is the step's x, i > 0 the i-th D evaluated, -l the l-th normal."""

    __slots__ = ("of",)

    def __init__(self, of: dict[int, float]):
        self.of = of

    def __add__(self, other: "Form") -> "Form":
        total = dict(self.of)
        for name, c in other.of.items():
            total[name] = total.get(name, 0.0) + c
        return Form(total)

    def __mul__(self, c: float) -> "Form":
        return Form({name: c * a for name, a in self.of.items()})

    __rmul__ = __mul__

    def __sub__(self, other: "Form") -> "Form":
        return self + -1.0 * other

    def __truediv__(self, c: float) -> "Form":
        return self * (1 / c)


class Named:
    """A Reverse equation with D and the noise as names: it notes where D is asked for."""

    def __init__(self, rates, stochastic: bool):
        self.rates, self.stochastic = rates, stochastic
        self.calls: list[tuple[float, Form]] = []

    def D(self, y: Form, t: float) -> Form:
        self.calls.append((t, y))
        return Form({len(self.calls): 1.0})

    def drift(self, y: Form, t: float) -> Form:
        p, q, _ = self.rates(t)
        return p * y + q * self.D(y, t)

    def stratonovich(self, y: Form, t: float, sign: float) -> Form:
        return self.drift(y, t)

    def diffusion(self, y, t: float) -> float:
        return self.rates(t)[2]

    def with_slope(self, y, t: float) -> tuple[float, float]:
        return self.diffusion(y, t), 0.0


def total(x, *terms) -> Any:
    """x plus the product of each term, whose factors are numbers and at most two tensors, or a Form where x is one.

    On tensors a term costs one pass, and only the first makes a new tensor.
    """
    out = x
    for term in terms:
        c = float(math.prod(f for f in term if not isinstance(f, (Tensor, Form))))
        factors: list[Any] = [f for f in term if isinstance(f, (Tensor, Form))]
        if c == 0 or not factors:
            continue
        if not torch.is_tensor(x):
            out = out + c * factors[0]
        elif len(factors) == 1:
            out = torch.add(x, factors[0], alpha=c) if out is x else out.add_(factors[0], alpha=c)
        else:
            out = torch.addcmul(x, *factors, value=c) if out is x else out.addcmul_(*factors, value=c)
    return out


def additive(b, x) -> bool:
    """Whether b is noise that does not depend on the state, by its shape (a number, or not of x's shape)."""
    return not (torch.is_tensor(b) and b.shape == x.shape)


class Scheme(Linear):
    """Base of the schemes in t; subclasses write ``advance(sde, x, s, t, W, H) -> x_t``.

    W = W(t) - W(s), and, where ``area`` is set, H is the space-time Lévy area: the mean over [s, t] of the path less
    its chord, N(0, |t - s|/12) and independent of W; int_s^t (W_r - W_s) dr = (t - s)(W/2 + H), also for t < s. From a
    seed H is a second normal; a path must know it (:class:`sdelab.LevyBrownian`). Only D and what stands linearly in
    x, W and H may appear where the noise is additive.
    """

    ode_only, in_time, area = False, True, False

    def advance(self, sde, x, s: float, t: float, W, H) -> Any:
        raise NotImplementedError

    def plan(self, equation, times) -> list:
        self.check(equation)
        steps = list(pairwise(times))
        if not isinstance(equation, Reverse):
            return steps
        asked: dict[float, None] = {}  # first which times the scheme asks for, so that all rates are computed at once

        def ask(t: float) -> tuple[float, float, float]:
            asked[t] = None
            return 0.0, 0.0, 0.0

        for s, t in steps:
            self.trace(Named(ask, equation.stochastic), s, t)
        rates = dict(zip(asked, equation.prepare(list(asked)), strict=True))
        return [self.trace(Named(rates.__getitem__, equation.stochastic), s, t) for s, t in steps]

    def check(self, equation) -> None:
        """Any equation will do."""

    def trace(self, named: Named, s: float, t: float) -> Entry:
        """The step from s to t as numbers."""
        h, noise = abs(t - s), ((s, t), (s, t, True))[: named.stochastic * (1 + self.area)]
        W, H = (Form({-1: math.sqrt(h)}), Form({-2: math.sqrt(h / 12)})) if noise else (Form({}), Form({}))
        end = self.advance(named, Form({0: 1.0}), s, t, W, H)
        return Entry(stages(named.calls, end, noise), remember=False)

    def asks(self, entry: Any) -> list[tuple | None]:
        return super().asks(entry) if isinstance(entry, Entry) else [entry]

    def step(self, equation, x: Tensor, entry: Any, memory, draw) -> Tensor:
        if isinstance(entry, Entry):
            return super().step(equation, x, entry, memory, draw)
        s, t = entry
        W = H = 0.0
        if equation.stochastic:
            W = scaled(draw(s, t, x, math.sqrt(abs(t - s))))
            H = scaled(draw(s, t, x, math.sqrt(abs(t - s) / 12), True)) if self.area else 0.0
        return self.advance(equation, x, s, t, W, H)


def scaled(drawn: tuple[Tensor, float]) -> Tensor:
    """What ``draw`` returned, as one tensor: a path's increment as it is, fresh noise (nobody else's) in its place.

    The draws of several steps may lie in one tensor, whose version autograd would see change: hence ``data``.
    """
    z, scale = drawn
    return z if scale == 1 else z.data.mul_(scale)


def stages(calls: list[tuple[float, Form]], end: Form, noise) -> tuple[Stage, ...]:
    """Each stage evaluates D at one point and makes the next, the last one ``end``; ``noise``: intervals of the z."""
    names, first = range(-1, -1 - len(noise), -1), calls[0][1].of
    listed = []
    if first != {0: 1.0}:  # D is asked for elsewhere than at x: go there first, and count from there
        listed.append(Stage(None, None, first[0], (), noise, [first.get(l, 0.0) for l in names]))
    for i, ((t, _), y) in enumerate(zip(calls, [*(y for _, y in calls[1:]), end], strict=True), 1):
        keep, D = y.of.get(0, 0.0) / first[0], [y.of.get(j, 0.0) for j in range(i, 0, -1)]
        z = [y.of.get(l, 0.0) - keep * first.get(l, 0.0) for l in names]
        listed.append(Stage(t, None, keep, D, () if listed else noise, z))
    return tuple(listed)
