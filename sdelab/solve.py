"""The loop that every solver shares: times in, states out.

A solver is an object with

    order, nfe                    claimed order and network calls per step
    ode_only, in_time             True if it cannot take noise; True if it steps the drift in t
    plan(equation, times) -> list one entry per step: everything that depends on the times alone, as Python floats
    start() -> memory             fresh memory for one run, so that no history outlives it
    step(equation, x, entry, memory, draw) -> x

and ``draw(a, b, x, std) -> (z, scale)`` gives scale * z ~ N(0, std^2), driven by W(b) - W(a) where a path is given;
a and b are times on the clock that the solver names, or None for noise that no path drives. A step may draw more than
once, over intervals that do not overlap; ``draw(a, b, x, std, True)`` gives the space-time Lévy area over the interval
of the increment drawn there, which is independent of it (a path must have a method ``area``: LevyBrownian). A solver
that asks again for parts of an interval sets ``rewinds``; a seed then stands for a whole path.
``memory["keep_states"]`` tells whether states have been handed out: if not, a step may write over the x that it
returned itself. Nearly every solver is a :class:`sdelab.solvers.linear.Linear`.
"""

import operator
from collections.abc import Iterator
from contextlib import nullcontext
from typing import SupportsIndex

from torch import Tensor
from tqdm import tqdm

from . import _checks, draws, grids, solvers
from .brownian import Brownian
from .levy import LevyBrownian
from .process import Process
from .reverse import Reverse
from .sde import SDE


class NFE:
    """Wrap a denoiser (or any function) and count its calls in ``.count``: the price of a sampler."""

    def __init__(self, denoise):
        self.denoise, self.count = denoise, 0

    def __call__(self, x, t):
        self.count += 1
        return self.denoise(x, t)


def _drawer(solver, x: Tensor, ts, seed: SupportsIndex | None, brownian, first: SupportsIndex):
    """The run's source of noise; a seed stands for a whole path where a solver asks again for parts of an interval."""
    if brownian is None and seed is not None and getattr(solver, "rewinds", False):
        brownian = LevyBrownian(x.shape, ts[0], ts[-1], seed, first=first, dtype=x.dtype, device=x.device)
    if brownian is not None:
        return draws.driven(brownian)
    return draws.fresh(0 if seed is None else seed, first, len(ts) - 1)  # without a seed nothing draws, as was checked


def _checked(equation: SDE, solver, x: Tensor, times, seed, brownian) -> list[float]:
    if not isinstance(equation, SDE):
        raise TypeError(f"equation must be an SDE or Reverse, not {type(equation).__name__}")
    if isinstance(solver, type) or not hasattr(solver, "step"):
        raise TypeError(f"solver must be a solver object such as sd.Heun(), not {solver!r}; names are for sd.sample")
    _checks.state(x)
    reverse = isinstance(equation, Reverse)
    ts = _checks.monotone(times, decreasing=reverse)
    name = type(solver).__name__
    if reverse:
        T = float(equation.process.T)
        if not (0 <= ts[-1] and ts[0] <= T * (1 + 1e-7)):
            raise ValueError(f"times must lie in [0, T = {T}], not [{ts[-1]}, {ts[0]}]")
        ts[0] = min(ts[0], T)  # a T that went through single precision
    if equation.stochastic and solver.ode_only:
        raise ValueError(f"{name} solves ODEs and this equation has noise: use eta=0, or a stochastic solver")
    if reverse and equation.stochastic and solver.in_time and float(equation.process.alpha(ts[0])) == 0:
        raise ValueError(
            f"at t = {ts[0]} alpha = 0 and the reverse SDE's drift is infinite: {name} cannot start there; "
            "start inside (t_start=), or use an exponential solver, which is exact there"
        )
    if (equation.stochastic or getattr(solver, "noisy", False)) and seed is None and brownian is None:
        what = "equation has noise" if equation.stochastic else f"solver ({name}) adds noise"
        raise ValueError(f"this {what}: pass seed= (fresh draws) or brownian= (a path)")
    return ts


def trajectory(
    equation: SDE,
    solver,
    x: Tensor,
    times,
    seed: SupportsIndex | None = None,
    *,
    brownian=None,
    first: SupportsIndex = 0,
    progress: bool | None = None,
) -> Iterator[tuple[float, Tensor]]:
    """Lazily yield (t, x) at every time, the start included; arguments as in :func:`solve`.

    Divergence (NaN or infinity) raises ``FloatingPointError`` naming the step and the time at which it happened.
    """
    ts = _checked(equation, solver, x, times, seed, brownian)
    drawer = _drawer(solver, x, ts, seed, brownian, first)
    return run(equation, solver, x, ts, drawer, progress)


def _ends_at_zero(equation, ts) -> bool:
    """sigma vanishes at t = 0 alone, or where it underflows."""
    return isinstance(equation, Reverse) and ts[-1] < 1e-30 and float(equation.process.var(ts[-1])) == 0


def run(equation, solver, x, ts, drawer, progress=None, check=True, keep_states=True):
    """The loop itself, without checks of its arguments; ``drawer(n)`` makes the ``draw`` of step n."""
    to_zero = _ends_at_zero(equation, ts)
    plan = solver.plan(equation, ts[:-1] if to_zero else ts) if len(ts) > 1 + to_zero else []
    memory = solver.start()
    memory["keep_states"] = keep_states
    yield ts[0], x
    bar = None
    if progress is not False:  # None: only on a terminal, and only when it takes a while
        disable = None if progress is None else False
        bar = tqdm(total=len(ts) - 1, delay=2.0, disable=disable, desc=type(solver).__name__, leave=False)
    with bar or nullcontext():
        for n, entry in enumerate(plan):
            new = solver.step(equation, x, entry, memory, drawer(n))
            if new is not x and (new.shape != x.shape or new.dtype != x.dtype):
                raise ValueError(
                    f"a step made {new.dtype} {tuple(new.shape)} of {x.dtype} {tuple(x.shape)}: the drift, the "
                    "diffusion or the denoiser must return the shape and dtype of x"
                )
            x = new
            if check and not _checks.finite(x):
                raise FloatingPointError(
                    f"{type(solver).__name__} diverged in step {n + 1} of {len(ts) - 1}, "
                    f"t = {ts[n]:.6g} -> {ts[n + 1]:.6g}: take more steps, or a grid that is finer there"
                )
            yield ts[n + 1], x
            if bar is not None:
                bar.update()
        if to_zero:  # where sigma = 0 only the denoiser is left, whatever the solver: x_0 = D(x_s)
            x = equation.denoise(x, ts[-2])
            if check and not _checks.finite(x):
                raise FloatingPointError("the denoiser returned NaN or infinity in the last, denoising step")
            yield ts[-1], x
            if bar is not None:
                bar.update()


def solve(
    equation: SDE,
    solver,
    x: Tensor,
    times,
    seed: SupportsIndex | None = None,
    *,
    brownian=None,
    first: SupportsIndex = 0,
    progress: bool | None = None,
) -> Tensor:
    """Carry the states x (n, ...) along ``equation`` from times[0] to times[-1]; returns the states there.

    times: strictly increasing for forward SDEs, strictly decreasing for :class:`Reverse` (and for a reverse equation
    of your own: steps are then dt < 0 and dW = W(t) - W(s)). A last time of 0 on a ``Reverse`` is a denoising step for
    every solver. seed: fresh noise per step, a pure function of (seed, step, row); ``first`` is the number of row 0,
    so a batch may be split. brownian: a path of x's shape instead, on the solver's clock.
    The computation runs in x's dtype on x's device, and is differentiable. Bad input raises ``TypeError`` or
    ``ValueError``; divergence ``FloatingPointError`` with the step and the time.
    """
    out = x
    ts = _checked(equation, solver, x, times, seed, brownian)
    drawer = _drawer(solver, x, ts, seed, brownian, first)
    for _, out in run(equation, solver, x, ts, drawer, progress, check=False, keep_states=False):  # noqa: B007
        pass
    # One check at the end costs no synchronisation per step; if it fails, a replay finds the place.
    if not _checks.finite(out):
        for _ in trajectory(equation, solver, x, times, seed, brownian=brownian, first=first, progress=False):
            pass
        raise FloatingPointError("the run diverged, and its replay did not: the equation is not a pure function")
    return out


def path(
    equation: SDE, solver, x: Tensor, times, seed: SupportsIndex, *, first: SupportsIndex = 0
) -> Brownian | LevyBrownian:
    """A Brownian path of x's shape for ``brownian=``, on the solver's clock: t, or e^{2 eta^2 lam} of exponential ones.

    Runs in fewer or more steps between the same ends may share it. The times that this run asks for are its knots,
    where it is cheapest, so make it for the finest run. Where the solver asks for Lévy areas it is a
    :class:`LevyBrownian`. Bad input as in :func:`solve`; ``ValueError`` too if no path drives the solver, or if nothing
    here is random.
    """
    ts = _checked(equation, solver, x, times, seed, None)
    shared: dict = {"first": first, "dtype": x.dtype, "device": x.device}
    if getattr(solver, "rewinds", False) or getattr(solver, "area", False):
        return LevyBrownian(x.shape, ts[0], ts[-1], seed, **shared)
    plan = solver.plan(equation, ts[: -1 if _ends_at_zero(equation, ts) else None])
    asked: list = [interval for entry in plan for interval in getattr(solver, "asks", lambda entry: [None])(entry)]
    if not equation.stochastic and not getattr(solver, "noisy", False):
        raise ValueError("this run draws no noise, so there is no path: use eta > 0, or a solver that adds noise")
    if None in asked or not asked:
        raise ValueError(f"no Brownian path drives {type(solver).__name__}: pass seed= to solve instead")
    knots = sorted({t for interval in asked for t in interval[:2]})
    return Brownian(x.shape, knots[0], knots[-1], seed, knots=knots, **shared)


def sample(
    denoise,
    process: Process,
    x_T: Tensor,
    *,
    solver: str,
    grid: str = "karras",
    steps: SupportsIndex | None = None,
    nfe: SupportsIndex | None = None,
    seed: SupportsIndex = 0,
    eta: float | None = None,
    final: str = "denoise",
    first: SupportsIndex = 0,
    progress: bool | None = None,
) -> Tensor:
    """Sample by names, for menus and the command line: carry x_T (n, ...) from t = T to data.

    solver: a key of ``sd.solvers.table``; grid: a key of ``sd.grids.table``; give ``steps`` or the budget ``nfe`` of
    network calls. eta: noise dial, by default the solver's own (0 for ODE solvers, 1 for stochastic ones).
    final: "denoise" spends the last step on t = 0; "stop" ends at the process's t_min.
    """
    method = solvers.row(solver)
    if final not in ("denoise", "stop"):
        raise ValueError(f"final must be 'denoise' or 'stop', not {final!r}")
    to_zero = final == "denoise"
    if method.adaptive:
        if nfe is not None:
            raise ValueError(f"{method.name} chooses its own calls: give a tolerance to its class, not nfe")
        made = method.make()
        if steps is None and getattr(made, "needs_grid", False):
            raise ValueError(f"{method.name} iterates on a grid: give its steps")
        steps = 1 + to_zero if steps is None else steps
    elif (steps is None) == (nfe is None):
        raise ValueError("give either steps or nfe (a budget of network calls)")
    elif steps is not None:
        made = method.make()
    else:
        assert nfe is not None
        made, steps = method.fit(operator.index(nfe) - to_zero)
        if steps < 1:
            raise ValueError(
                f"{nfe} network calls are too few for {method.name}: it needs {method.calls(1)} for a step"
                + " and one to denoise" * to_zero
            )
        steps += to_zero
    equation = Reverse(process, denoise, method.eta if eta is None else eta)
    times = grids.make(grid, process, steps, zero=to_zero)
    return solve(equation, made, x_T, times, seed, first=first, progress=progress)
