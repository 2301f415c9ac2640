"""DPM-Solver's step policies: orders mixed to fit a budget, nodes taken from the grid, and step-size control."""

import math
from itertools import pairwise

import torch
from torch import Tensor

from .adaptive import worst
from .exp_rk import EULER, ExpRK, dpm3, midpoint, phi
from .linear import Entry, Linear, Point, Stage, Step, _add, fold, one_node, points, points_at
from .row import Row


class DPMFast(Linear):
    """DPM-Solver-fast: steps of order 3, and one or two of lower order so that a budget of calls is spent exactly.

    A budget of N calls takes M = floor(N/3) + 1 steps: 3, …, 3, 2, 1 if 3 divides N, else 3, …, 3 and N mod 3. Without
    a budget the last step is of order 2. A budget that does not fit the number of steps raises ``ValueError``.

    Order: 3 where N mod 3 = 2; a last step of order 1 makes it 2. NFE: 3, and less in the last steps (``calls``).
    Reference: Lu et al. (2022), DPM-Solver, DPM-Solver-fast.
    """

    order, nfe = 3, 3
    nodes = (1 / 3, 1 / 2, 2 / 3)

    def __init__(self, budget: int | None = None):
        self.budget = budget
        self.by_order = {p: ExpRK(tableau, "eps") for p, tableau in ((1, EULER), (2, midpoint()), (3, dpm3()))}

    def orders(self, steps: int) -> list[int]:
        """The order of every step."""
        N = 3 * steps - 1 if self.budget is None else self.budget
        if steps != N // 3 + 1:
            raise ValueError(f"a budget of {N} calls takes {N // 3 + 1} steps of DPM-Solver-fast, not {steps}")
        return [3] * (steps - 1) + [N % 3] if N % 3 else [3] * (steps - 2) + [2, 1]

    def calls(self, steps: int) -> int:
        return sum(self.orders(steps)) if steps else 0

    def fit(self, budget: int) -> tuple["DPMFast", int]:
        return (DPMFast(budget), budget // 3 + 1) if budget > 0 else (self, 0)

    def check(self, equation) -> None:
        super().check(equation)
        self.by_order[3].check(equation)

    def entry(self, step: Step) -> Entry:
        method = self.by_order[self.orders(step.steps)[step.n]]
        at = dict(zip(self.nodes, step.inner, strict=True))
        return method.entry(step._replace(inner=[at[c] for c in method.nodes]))


class Singlestep(Linear):
    """Single-step DPM-Solver (value "eps") or DPM-Solver++ ("D") whose inner nodes are the grid's own points.

    The grid falls into blocks of ``order`` steps. The j-th point of a block is reached from the block's first by the
    method of order j over all its nodes, slopes (D_j - D_1)/(lam_j - lam_1), so each step costs one call; written from
    the state at hand, which is linear in the block's first state too. Where ``order`` does not divide the number of
    steps, the last block is shorter; with ``lower_order_final`` a last block that is whole is split into one that lacks
    a step and one of a single step. diffusers' run to sigma = 0 is the plain policy and the loop's denoising step, its
    run to sigma_min the other policy.

    Order: ``order``; at most 2 where the last block is a single step. NFE: 1.
    Reference: Lu et al. (2022), DPM-Solver, alg. 1–2; DPM-Solver++, alg. 1.
    """

    def __init__(self, order: int = 2, value: str = "D", lower_order_final: bool = False):
        if order not in (1, 2, 3) or value not in ("D", "eps"):
            raise ValueError(f"order is 1, 2 or 3 and value 'D' or 'eps', not {order!r} and {value!r}")
        self.order, self.history, self.value, self.lower_order_final = order, order - 1, value, lower_order_final

    def check(self, equation) -> None:
        super().check(equation)
        if equation.stochastic:
            raise ValueError("the single-step DPM-Solvers solve the ODE (eta = 0)")

    def places(self, steps: int) -> list[int]:
        """Place of every step in its block, 0 for the first."""
        whole, rest = divmod(steps, self.order)
        blocks = [self.order] * whole + [rest] * (rest > 0)
        if self.lower_order_final and rest == 0 and self.order > 1:
            blocks[-1:] = [self.order - 1, 1]
        return [j for block in blocks for j in range(block)]

    def weights(self, nodes: list[Point], t: Point) -> tuple[float, list[float]]:
        """(keep, weights of the values at ``nodes``, newest first) from the block's first point to t."""
        s, h = nodes[0], t.lam - nodes[0].lam
        in_D = self.value == "D"
        keep, scale = (t.sigma / s.sigma, t.alpha * h) if in_D else (t.alpha / s.alpha, -t.sigma * h)
        z = -h if in_D else h
        w = [0.0] * (len(nodes) - 1) + [scale * phi(1, z)]
        if len(nodes) > 1:
            r = (nodes[-1].lam - s.lam) / h
            slope = scale / r * (phi(1, z) / 2 if len(nodes) == 2 else phi(2, z))
            w[0], w[-1] = slope, w[-1] - slope
        return keep, w

    def entry(self, step: Step) -> Entry:
        place = min(self.places(step.steps)[step.n], len(step.past))  # shorter where a start at alpha = 0 has no value
        nodes = [*reversed(step.past[:place]), step.s]
        keep, weights = self.weights(nodes, step.t)
        if place:  # x_s = keep_s x_first + sum_j w_j v_j, so x_first is known from x_s
            keep_s, before = self.weights(nodes[:-1], step.s)
            keep /= keep_s
            weights = [weights[0], *(w - keep * b for w, b in zip(weights[1:], before, strict=True))]
        value = None if self.value == "D" else (1 / step.s.sigma, -step.s.alpha / step.s.sigma)
        return Entry((Stage(step.s.t, value, keep, weights),))


class DPMAdaptive:
    """DPM-Solver-12 or -23: an embedded pair in eps, its steps in lam chosen by a PID controller.

    The error of a step is the largest over the batch of the root mean square per sample of (high - low)/delta, delta =
    max(atol, rtol max(|low|, |low of the last accepted step|)). With e_n = 1/error the step is scaled by
    1 + atan(e_n^{b1} e_{n-1}^{b2} e_{n-2}^{b3} - 1), (b1, b2, b3) = (P + I + D, -P - 2D, D)/order, and accepted where
    that factor is at least ``safety``. Attempts are counted in ``.accepted`` and ``.rejected``. The whole batch takes
    the same steps, so a split batch agrees to the tolerance only. Where alpha = 0 at the start, the first thousandth of
    the time is one step of one node.

    Order: ``order``, 2 or 3. NFE: ``order`` per attempt, one less after a rejection, where D at the start is known.
    Reference: Lu et al. (2022), DPM-Solver, appendix C; Söderlind (2003) for PID control.
    """

    ode_only, in_time = True, False

    def __init__(self, order: int = 3, rtol: float = 0.05, atol: float = 0.0078, first: float = 0.05,
                 pid: tuple[float, float, float] = (0.0, 1.0, 0.0), safety: float = 0.81,
                 max_steps: int = 10_000):  # fmt: skip
        if order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, not {order!r}")
        if rtol < 0 or atol <= 0 or first <= 0:
            raise ValueError(f"need rtol >= 0, atol > 0 and a first step > 0, not {rtol}, {atol} and {first}")
        self.order = self.nfe = order
        self.rtol, self.atol, self.first, self.safety, self.max_steps = rtol, atol, first, safety, max_steps
        P, I, D = pid
        self.exponents = (P + I + D) / order, -(P + 2 * D) / order, D / order
        self.high = ExpRK(dpm3() if order == 3 else midpoint(), "eps")
        self.low = ExpRK(midpoint(1 / 3) if order == 3 else EULER, "eps")
        self.accepted = self.rejected = 0

    def plan(self, equation, times):
        self.high.check(equation)
        return list(pairwise(times))

    def start(self):
        self.accepted = self.rejected = 0
        return {"h": self.first, "errors": None, "low": None}

    def attempt(self, equation, x: Tensor, s: Point, t: Point, D: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(high, low, D at s) of one step; D at s may be known."""
        inner = points_at(equation.process, [s.lam + r * (t.lam - s.lam) for r in self.high.nodes])
        Ds, y = [], x
        for stage in fold(self.high.stages(s, inner, t)):
            Ds.insert(0, D if D is not None and y is x else equation.denoise(y, stage.t))
            y = _add(x * stage.keep, stage.weights, Ds)
        low = fold(self.low.stages(s, inner[: len(self.low.nodes)], t))[-1]
        return y, _add(x * low.keep, low.weights, Ds[1:]), Ds[-1]

    def error(self, high: Tensor, low: Tensor, before: Tensor) -> float:
        high, low, before = high.detach(), low.detach(), before.detach()
        delta = low.abs()
        torch.maximum(delta, before.abs(), out=delta).mul_(self.rtol).clamp_min_(self.atol)
        return worst((high - low).div_(delta))

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        s, end = points(equation.process, entry)
        if not math.isfinite(s.lam):
            inside = points(equation.process, [max(end.t, s.t * (1 - 1e-3))])[0]
            x, s = self.leave(equation, x, s, inside), inside
        D, budget = None, self.max_steps
        while s.lam < end.lam:
            last = s.lam + memory["h"] >= end.lam - 1e-10
            t = end if last else points_at(equation.process, [s.lam + memory["h"]])[0]
            high, low, D = self.attempt(equation, x, s, t, D)
            error = self.error(high, low, x if memory["low"] is None else memory["low"])
            budget -= 1
            if budget < 0 or t.lam - s.lam < 1e-12 or error != error:
                why = f"{self.max_steps} steps were not enough" if budget < 0 else "the step size collapsed"
                raise FloatingPointError(f"{why} at t = {s.t:.6g}: loosen the tolerance or stop earlier")
            inverse = 1 / (error + 1e-8)
            now = (inverse, *(memory["errors"] or (inverse, inverse)))
            factor = 1 + math.atan(math.prod(e**b for e, b in zip(now, self.exponents, strict=True)) - 1)
            grown = factor * (t.lam - s.lam)
            if factor >= self.safety:
                self.accepted += 1
                memory.update(errors=now[:2], low=low, h=max(memory["h"], grown) if last else grown)
                x, s, D = high, t, None
            else:
                self.rejected += 1
                memory["h"] = grown
        return x

    def leave(self, equation, x: Tensor, s: Point, t: Point) -> Tensor:
        """The step away from alpha = 0, where one node is exact."""
        self.accepted += 1
        stage = one_node(s, t, 0.0)
        return _add(x * stage.keep, stage.weights, [equation.denoise(x, s.t)])


_SINGLE = "diffusers DPMSolverSinglestep"
_LU = "Lu et al. (2022), DPM-Solver, "
_POLICY = "of third order on a number of steps that leaves 0 or 2 when divided by 3, else the last step makes it 2"
_WORST = "the worst sample of the batch decides, as in the paper; k-diffusion averages over the batch"
_ROUNDED = "In single precision steps follow the error's rounding, and twins part within the tolerance."
_BLIND = "At tolerances of 1e-3 and looser the two solutions of order 3 may agree and both be wrong; order 2 is safe."
_BLOCKS = {"steps": (480, 960, 1920)}  # whole blocks of 2 and of 3

ROWS = (
    Row("dpm_fast", "DPM fast", "exponential", DPMFast, 3, 3, _LU + "DPM-Solver-fast",
        oracle="k-diffusion sample_dpm_fast", measure={"steps": (160, 320, 640)},
        note="budgets that leave 0 or 1 when divided by 3 end with a step of order 1, which makes them second order"),
    Row("dpm_adaptive", "DPM adaptive", "exponential", DPMAdaptive, 3, 3, _LU + "appendix C, DPM-Solver-23",
        adaptive=True, oracle="k-diffusion sample_dpm_adaptive on one sample",
        note=f"{_WORST}. {_ROUNDED} {_BLIND}"),
    Row("dpm_adaptive_2", "DPM adaptive (order 2)", "exponential", lambda: DPMAdaptive(2), 2, 2,
        _LU + "appendix C, DPM-Solver-12", adaptive=True, oracle="k-diffusion sample_dpm_adaptive on one sample",
        note=_ROUNDED),
    *(
        Row(f"{key}_singlestep_{p}", f"{name} singlestep {p} (nodes of the grid)", "exponential",
            lambda p=p, value=value: Singlestep(p, value), p, 1, paper, oracle=_SINGLE, measure=_BLOCKS,
            note=_POLICY if p == 3 else "")
        for key, name, value, paper in (
            ("dpm", "DPM-Solver", "eps", _LU + "alg. 1–2"),
            ("dpmpp", "DPM-Solver++", "D", "Lu et al. (2022), DPM-Solver++, alg. 1 and appendix A"),
        )
        for p in (2, 3)
    ),
)  # fmt: skip
