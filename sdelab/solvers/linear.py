"""The step that nearly every diffusion solver shares: linear combinations whose coefficients the times alone decide.

A step from s to t is a list of stages. Each evaluates the denoiser once and combines what is known,

    v_i = p y_i + q D(y_i, t_i)                                  the value that the method interpolates: D, eps, a slope
    y_{i+1} = keep x + sum_j w_j v_j + sum_l c_l z_l             newest value first, those of past steps after them

with y_1 = x; the last y is the new state. A solver is therefore a rule that writes down numbers, and this file is the
only place that touches states. Numbers are float64 on the CPU, computed once per grid; states stay on their device.
"""

import math
from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from ..process import Process
from ..reverse import Reverse


class Point(NamedTuple):
    """A time, and alpha, sigma and lam = log(alpha/sigma) there."""

    t: float
    alpha: float
    sigma: float
    lam: float

    @property
    def ratio(self) -> float:
        """sigma/alpha, EDM's noise level; infinite where alpha = 0."""
        return self.sigma / self.alpha if self.alpha else math.inf


def points(process: Process, times: Sequence[float]) -> list[Point]:
    """The points at ``times``, all at once."""
    ts = torch.tensor(times, dtype=torch.float64)
    return list(map(Point, ts.tolist(), *(f(ts).tolist() for f in (process.alpha, process.sigma, process.lam))))


def points_at(process: Process, lams: Sequence[float]) -> list[Point]:
    """The points where lam has the given values (kept as given; t by inversion)."""
    lam = torch.tensor(lams, dtype=torch.float64)
    found = points(process, process.t_of_lam(lam).tolist())
    return [p._replace(lam=given) for p, given in zip(found, lam.tolist(), strict=True)]


class Stage(NamedTuple):
    """One evaluation (none if ``t`` is None: then x itself is replaced, as by churn) and the combination after it.

    value: (p, q) of v = p y + q D, or None for v = D. draws: intervals (a, b) of the solver's clock, each giving one
    standard normal z; (a, b, True) for the Lévy area of that increment; None for noise that no path drives. noise:
    coefficients of all z of the step so far, in order.
    """

    t: float | None
    value: tuple[float, float] | None
    keep: float
    weights: Sequence[float] = ()
    draws: Sequence[tuple | None] = ()
    noise: Sequence[float] = ()


class Entry(NamedTuple):
    """One step: its stages; weights of a corrector, [new value, first value of this step, those of past steps], applied
    when the next step evaluates at the new point; whether the first value is kept for later steps, and how many values
    are then held (by default as many as the solver's ``history``)."""

    stages: Sequence[Stage]
    correct: Sequence[float] | None = None
    remember: bool = True
    hold: int | None = None


class Step(NamedTuple):
    """What a solver may look at when it writes an entry: the n-th step of ``steps``, from s to t, with its inner nodes,
    the points of past steps whose values are remembered (newest first), and eta^2."""

    n: int
    steps: int
    s: Point
    t: Point
    inner: Sequence[Point]
    past: Sequence[Point]
    e2: float

    @property
    def h(self) -> float:
        """lam_t - lam_s."""
        return self.t.lam - self.s.lam

    @property
    def last(self) -> bool:
        return self.n + 1 == self.steps


def clock(e2: float, lam: float) -> float:
    """Brownian time e^{2 eta^2 lam} of the exponential solvers (capped where float64 would overflow)."""
    return math.exp(min(2 * e2 * lam, 700.0)) if e2 else 0.0


def decay(s: Point, t: Point, e2: float) -> float:
    """(sigma_t/sigma_s) e^{-eta^2 h}: what is left of x_s."""
    return t.sigma / s.sigma * math.exp(-e2 * (t.lam - s.lam)) if e2 else t.sigma / s.sigma


def spread(s: Point, t: Point, e2: float) -> float:
    """sigma_t sqrt(1 - e^{-2 eta^2 h}): the standard deviation of the noise added from s to t."""
    return t.sigma * math.sqrt(-math.expm1(-2 * e2 * (t.lam - s.lam))) if e2 else 0.0


def ticks(s: Point, t: Point, e2: float) -> tuple[float, float]:
    """The step's interval on the exponential solvers' clock."""
    return clock(e2, s.lam), clock(e2, t.lam)


def noisy(s: Point, t: Point, e2: float) -> dict:
    """The arguments ``draws`` and ``noise`` of a stage that carries the noise of the whole step from s to t."""
    return {"draws": (ticks(s, t, e2),), "noise": (spread(s, t, e2),)} if e2 else {}


def one_node(s: Point, t: Point, e2: float) -> Stage:
    """D held at its value at s: exact where alpha_s = 0, DDIM at eta = 0, the DDPM posterior step at eta = 1."""
    mass = -math.expm1(-(1 + e2) * (t.lam - s.lam))
    return Stage(s.t, None, decay(s, t, e2), (t.alpha * mass,), **noisy(s, t, e2))


def scaled(entries: list[Entry]) -> list[Entry]:
    """The same run with p = 1 in every value p y + q D: the factor goes into the weights, and a pass is saved."""
    if all(stage.value is None for e in entries for stage in e.stages):
        return entries
    factors = [[_factor(stage) for stage in e.stages] for e in entries]
    firsts = [
        next((p for p, stage in zip(ps, e.stages, strict=True) if stage.t is not None), 1.0)
        for ps, e in zip(factors, entries, strict=True)
    ]
    out: list[Entry] = []
    past: list[float] = []  # the factors of the values remembered, newest first
    for n, (stages, correct, remember, hold) in enumerate(entries):
        ps, found = past, []
        for (t, value, keep, weights, draws, noise), p in zip(stages, factors[n], strict=True):
            ps = ps if t is None else [p, *ps]
            value = value if value is None or p == 1 else (1.0, value[1] / p)
            found.append(Stage(t, value, keep, [w * a for w, a in zip(weights, ps, strict=False)], draws, noise))
        correct = correct and [w * a for w, a in zip(correct, [firsts[n + 1], *ps], strict=False)]
        out.append(Entry(found, correct, remember, hold))
        past = [firsts[n], *past[:8]] if remember else past
    return out


def _factor(stage: Stage) -> float:
    return stage.value[0] or 1.0 if stage.value else 1.0


def merged(entries: list[Entry]) -> list[Entry]:
    """The same run with the correction of each one-stage step put into the next step's weights.

    The state y predicted with weights w and corrected with c is y + c_0 v_new + sum_j (c_{j+1} - w_j) v_j: wherever the
    next step takes its start x, it can take y and these values instead, and no pass over the state is spent on it.
    """
    if all(e.correct is None for e in entries):
        return entries
    out = entries[:1]
    for before, entry in pairwise(entries):
        if before.correct is not None and len(before.stages) == 1 and entry.stages[0].t is not None:
            w = before.stages[0].weights
            change = [c - v for c, v in zip_longest(before.correct, [0.0, *w], fillvalue=0.0)]
            stages = [
                stage._replace(weights=[
                    a + stage.keep * b for a, b in zip_longest(stage.weights, [0.0] * i + change, fillvalue=0.0)
                ])
                for i, stage in enumerate(entry.stages)
            ]  # fmt: skip
            out[-1] = out[-1]._replace(correct=None, hold=len(change) - 1)
            entry = entry._replace(stages=stages)
        out.append(entry)
    return out


class Linear:
    """Base of the solvers of :class:`sdelab.Reverse` that are linear in x, D and z; subclasses write :meth:`entry`.

    ``nodes``: inner nodes as fractions of the step in lam. ``history``: how many values of past steps a step may use.
    ``value_is_D``: False if the method interpolates something else, which then is not remembered where alpha = 0.
    A step that starts where alpha = 0 (lam infinite) takes one node, which is exact there.
    """

    order, nfe = 1, 1
    ode_only = in_time = False
    history = 0
    lower_final = False
    nodes: tuple[float, ...] = ()

    def entry(self, step: Step) -> Entry:
        raise NotImplementedError

    def check(self, equation) -> None:
        """Raise ``ValueError`` if this solver cannot run on that equation."""
        if not isinstance(equation, Reverse):
            raise ValueError(f"{type(self).__name__} needs a Reverse equation (denoiser and process), not any SDE")

    def inner(self, process: Process, knots: Sequence[Point]) -> list[list[Point]]:
        """The inner nodes of every step, at lam_s + r h for r in ``nodes``."""
        rows: list[list[Point]] = [[] for _ in knots[1:]]
        finite = [n for n in range(len(rows)) if math.isfinite(knots[n + 1].lam - knots[n].lam)]
        for r in self.nodes:
            lams = [knots[n].lam + r * (knots[n + 1].lam - knots[n].lam) for n in finite]
            for n, point in zip(finite, points_at(process, lams), strict=True):
                rows[n].append(point)
        return rows

    def entries(self, equation, times) -> list[Entry]:
        """What :meth:`entry` writes for every step of the grid."""
        self.check(equation)
        knots = points(equation.process, times)
        inner, e2, steps = self.inner(equation.process, knots), equation.eta**2, len(times) - 1
        entries: list[Entry] = []
        past: list[Point] = []
        for n, (s, t) in enumerate(pairwise(knots)):
            if math.isfinite(t.lam - s.lam):
                held = min(self.history, steps - 1 - n) if self.lower_final else self.history
                step = Step(n, steps, s, t, inner[n], past[:held], e2)
                entries.append(self.entry(step))
            else:
                entries.append(Entry((one_node(s, t, e2),), remember=False))
            if entries[-1].remember:
                past.insert(0, s)
        return entries

    def plan(self, equation, times) -> list[Entry]:
        return merged(scaled(self.entries(equation, times)))

    def asks(self, entry: Entry) -> list[tuple | None]:
        """The intervals of its clock whose noise a step takes; None for noise that no path drives."""
        return [interval for stage in entry.stages for interval in stage.draws]

    def start(self):
        return {"past": [], "correct": None, "base": None, "mine": None, "keep_states": False}

    def step(self, equation, x: Tensor, entry: Entry, memory, draw) -> Tensor:
        past, y, seen = memory["past"], x, 0  # seen: evaluations of this step
        # own: x may be written over
        own, spare = x is memory["mine"] and not (memory["keep_states"] or x.requires_grad), None
        zs: list[tuple[Tensor, float]] = []
        final = entry.stages[-1]
        for stage in entry.stages:
            t, value, keep, weights, draws, noise = stage
            if t is not None:
                D = equation.denoise(y, t)
                own = own and not (x.requires_grad or D.requires_grad or _shared(D, x))
                past.insert(0, D if value is None else _value(y, D, *value))
                del D, y  # what is not needed any more makes room
                seen += 1
                if memory["correct"] is not None:  # y was predicted by the last step; now correct it
                    spare = x if own else None
                    x, own = _add(memory["base"], memory["correct"], past), True
                    memory["correct"] = None
            if draws:
                zs += [draw(a, b, x, 1.0, *area) for a, b, *area in (interval or (None, None) for interval in draws)]
            over = own and (stage is final or t is None)
            base = x if keep == 1 else x.mul_(keep) if over else x * keep
            mine = over or keep != 1
            if noise:
                for c, (z, scale) in zip(noise, zs, strict=False):
                    if c:
                        base = base.add_(z, alpha=c * scale) if mine else base.add(z, alpha=c * scale)
                        mine = True
            if stage is final and entry.correct is not None:  # what the corrector will start from is needed again
                memory["base"], memory["correct"], mine = base if mine else base.clone(), entry.correct, False
            y = _add(base, weights, past) if mine else _sum(base, weights, past, spare)
            if t is None:
                x, own = y, not y.requires_grad
        if seen > 1:
            del past[: seen - 1]  # values at inner nodes serve this step only
        if not entry.remember:
            del past[0]
        held = self.history + (entry.correct is not None) if entry.hold is None else entry.hold
        if len(past) > held:
            del past[held:]
        memory["mine"] = y
        return y


def _value(y: Tensor, D: Tensor, p: float, q: float) -> Tensor:
    """p y + q D; one pass if p = 1."""
    return torch.add(y, D, alpha=q) if p == 1 else torch.mul(D, q).add_(y, alpha=p)


def _shared(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _add(base: Tensor, weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """base += sum_j w_j v_j."""
    for w, v in zip(weights, values, strict=False):
        if w:
            base.add_(v, alpha=w)
    return base


def _sum(base: Tensor, weights: Sequence[float], values: Sequence[Tensor], out: Tensor | None = None) -> Tensor:
    """base + sum_j w_j v_j, in a new tensor, or in ``out``."""
    total = None
    for w, v in zip(weights, values, strict=False):
        if w:
            total = torch.add(base, v, alpha=w, out=out) if total is None else total.add_(v, alpha=w)
    return base.clone() if total is None else total


def fold(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """The same step written on D itself: v_j = p y_j + q D_j put into the combinations (for steps without history).

    One pass over the state per term is then all that a stage costs.
    """
    keep, on_D, on_z = 1.0, [], []  # y_i as a combination of x, of D_1, D_2, … (oldest first) and of the z
    values, folded, draws = [], [], 0
    for stage in stages:
        p, q = stage.value or (0.0, 1.0)
        values.insert(0, (p * keep, [p * w for w in on_D] + [q], [p * c for c in on_z]))
        D_count = len(on_D) + 1
        draws += len(stage.draws)
        keep, on_D, on_z = stage.keep, [0.0] * D_count, [*stage.noise, *[0.0] * (draws - len(stage.noise))]
        for w, (a, Ds, zs) in zip(stage.weights, values, strict=False):
            keep += w * a
            for j, b in enumerate(Ds):
                on_D[j] += w * b
            for j, c in enumerate(zs):
                on_z[j] += w * c
        folded.append(Stage(stage.t, None, keep, on_D[::-1], stage.draws, on_z))
    return tuple(folded)
