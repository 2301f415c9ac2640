"""Picard iteration: many steps of a sampler at once, one network call on all of them per sweep."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .exponential import ExpEuler
from .linear import Entry, Linear, _add
from .row import Row


class Picard:
    """Parallel-in-time sampling by a solver of one evaluation per step: sweeps over a sliding window of steps.

        x_{n+1} <- keep_n x_n + sum_j w_j v_{n-j} + sum_l c_l z_l        v_n = p x_n + q D(y_n, t_n)

    where y_n is x_n of the sweep before, and what the solver interpolates, v, keeps its linear part exact.

    A sweep evaluates the denoiser once, on the stacked states of the window (times of shape (n,), one per sample), and
    then runs through the recurrence. Points whose evaluated state moved by no more than ``tol`` are done, and the
    window slides past them; the first one always is, so N steps take at most N sweeps, and with tol = 0 the result is
    the sequential one to rounding. The linear part and the noise are exact in every sweep; ParaDiGMS sums whole
    increments instead. ``tol``: largest root mean square per sample, in the states' units. ``window``: None for all
    steps. ``.sweeps`` and ``.evaluated`` count the calls of a run and the states per sample that they saw.

    With noise the sweeps need what later steps draw, so they wait for the last step: ``solve`` works, ``trajectory``
    raises ``ValueError``. So do solvers of several stages.

    Order: the solver's. NFE: one call per sweep, of as many states as the window holds; memory grows with the window.
    Reference: Shih et al. (2023), ParaDiGMS, alg. 1.
    """

    in_time = ode_only = False
    needs_grid = True  # adaptive in its calls, not in its steps
    nfe = 1

    def __init__(self, solver: Linear | None = None, window: int | None = None, tol: float = 0.0):
        self.solver, self.window, self.tol = solver or ExpEuler(), window, tol
        if not isinstance(self.solver, Linear) or self.solver.nfe != 1:
            raise ValueError(f"Picard needs a linear solver of one call per step such as ExpEuler(), not {solver!r}")
        if (window is not None and window < 1) or not tol >= 0:
            raise ValueError(f"need a window of at least one step and tol >= 0, not {window} and {tol}")
        self.order = self.solver.order
        self.sweeps = self.evaluated = 0

    def plan(self, equation, times):
        entries = self.solver.plan(equation, times)
        if any(len(e.stages) != 1 or e.correct is not None for e in entries):
            raise ValueError(
                f"{type(self.solver).__name__} takes more than one stage, or a corrector: Picard needs one"
            )
        return [(entries, n) for n in range(len(entries))]

    def start(self):
        self.sweeps = self.evaluated = 0
        return {"draws": []}

    def step(self, equation, x: Tensor, entry, memory, draw) -> Tensor:
        entries, n = entry
        drawers = memory["draws"]
        if not equation.stochastic:
            if n == 0:
                memory["states"] = self.states(equation, x, entries, drawers)
            return next(memory["states"])
        if memory["keep_states"]:
            raise ValueError("with noise Picard knows no state before it has seen every step's draw: use sd.solve")
        drawers.append(draw)
        if n + 1 < len(entries):
            return x
        *_, x = self.states(equation, x, entries, drawers)
        if not torch.isfinite(x).all():
            raise FloatingPointError("Picard's sweeps diverged: take more steps")
        return x

    def states(self, equation, x: Tensor, entries: list[Entry], drawers: list) -> Iterator[Tensor]:
        """Yield x_1, x_2, …, as they are done; drawers[n] draws the noise of step n."""
        n, N, rows = 0, len(entries), len(x)
        past: list[Tensor] = []  # values at steps that are done, newest first
        noises: dict[int, Tensor | None] = {}
        ys = [x]  # y_n, which is final, and guesses of the states after it
        while n < N:
            w = min(self.window or N, N - n)
            ys += [ys[-1]] * (w - len(ys))
            stages = [e.stages[0] for e in entries[n : n + w]]
            ts = torch.tensor([s.t for s in stages], dtype=torch.float64, device=x.device).repeat_interleave(rows)
            Ds = equation.denoise(torch.cat(ys[:w]), ts).split(rows) if rows else [x] * w
            self.sweeps, self.evaluated = self.sweeps + 1, self.evaluated + w
            new, values = [ys[0]], past
            histories = []
            for j, (stage, D) in enumerate(zip(stages, Ds, strict=True)):
                p, q = stage.value or (0.0, 1.0)
                known = [q * D + p * new[-1] if p else q * D, *values]
                m = n + j
                if m not in noises:
                    noises[m] = _noise(stage, x, drawers[m]) if stage.draws else None
                y = _add(new[-1] * stage.keep, stage.weights, known)
                z = noises[m]
                new.append(y if z is None else y.add_(z))
                hold = entries[m].hold
                values = (known if entries[m].remember else values)[: self.solver.history if hold is None else hold]
                histories.append(values)
            done = 1 + self.settled(new[1:w], ys[1:w])
            yield from new[1 : done + 1]
            for m in range(n, n + done):
                del noises[m]
            n, ys, past = n + done, new[done:], histories[done - 1]

    def settled(self, new: list[Tensor], old: list[Tensor]) -> int:
        """How many of the first states moved by no more than the tolerance."""
        if not new or not new[0].numel():
            return len(new)
        moved = torch.stack(new).sub_(torch.stack(old)).detach().reshape(len(new), len(new[0]), -1)
        still = (moved.square().mean(2).sqrt().amax(1) <= self.tol).tolist()
        return still.index(False) if False in still else len(still)


def _noise(stage, x: Tensor, draw) -> Tensor:
    """sum_l c_l z_l of one step."""
    zs = [draw(a, b, x, 1.0, *area) for a, b, *area in (interval or (None, None) for interval in stage.draws)]
    return torch.stack([c * scale * z for c, (z, scale) in zip(stage.noise, zs, strict=True)]).sum(0)


ROWS = (
    Row("picard", "ParaDiGMS (Picard)", "parallel", Picard, 1, 1, "Shih et al. (2023), ParaDiGMS, alg. 1",
        adaptive=True, oracle="identity: the sequential DDIM",
        note="a call is one sweep over all steps at once; as many sweeps as the iteration takes, at most one per step"),
)  # fmt: skip
