"""Samplers run backwards: round trips to 1e-8, the naive inverse's error, the published recursions by hand."""

import itertools

import pytest
import torch

import sdelab as sd
from sdelab import orders
from sdelab.solvers import DPM2, SigmaRK
from sdelab.solvers.implicit import Implicit
from sdelab.solvers.invertible import BDIA, BELM, EDICT, DDIMInverse, generate, invert

F64 = torch.float64
LAW = sd.distributions.ring()
EXACT = (EDICT, BDIA, lambda: BDIA(0.8), BELM, Implicit, lambda: Implicit(SigmaRK()))
NAMES = ("edict", "bdia", "bdia-0.8", "belm", "ddim", "heun")


def problem(name, steps, law=LAW, end=None):
    process = sd.process.make(name)
    times = sd.grids.logsnr(process, steps, t_start=0.999 * process.T, t_end=end).tolist()
    x = float(process.sigma(times[0])) * sd.noise.normal((40, 2), 5, dtype=F64)
    return sd.Reverse(process, law.denoiser(process), 0.0), x, times


def both(a, b):
    """Largest difference of two states or pairs of states."""
    pairs = zip(*(s if isinstance(s, tuple) else (s,) for s in (a, b)), strict=True)
    return max(float((u - v).abs().max()) for u, v in pairs)


def first(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
@pytest.mark.parametrize("make", EXACT, ids=NAMES)
def test_round_trips(make, name):
    """Noise to data to noise, and data to noise to data, to 1e-8 of the noise's size, with half a hundred steps."""
    equation, x, times = problem(name, 50)
    scale = float(equation.process.sigma(times[0]))
    data = generate(equation, make(), x, times)
    assert both(first(data), sd.solve(equation, make(), x, times)) < 1e-12
    assert both(first(invert(equation, make(), data, times)), x) < 1e-8 * scale
    given = first(data)  # the companion, if any, has to be made
    noise = invert(equation, make(), given, times)
    assert both(first(generate(equation, make(), noise, times)), given) < 1e-8


@pytest.mark.parametrize("name", ["vp", "edm"])
def test_naive_inversion_does_not_come_back(name):
    """D is taken at the wrong end of each step: the round trip's error is of first order, far from rounding."""
    law, steps, errors = sd.distributions.gaussian((0.5, -1.0), 0.3), (50, 100, 200, 400), []
    for n in steps:
        equation, x, times = problem(name, n, law, end=0.1)
        errors.append(both(invert(equation, DDIMInverse(), generate(equation, DDIMInverse(), x, times), times), x))
    assert orders.slope(steps, errors) == pytest.approx(1, abs=0.15) and errors[0] > 1e-2
    exact = invert(equation, Implicit(), generate(equation, Implicit(), x, times), times)
    assert both(exact, x) < 1e-8


@pytest.mark.parametrize("name", ["vp", "edm", "flow"])
def test_rows_that_sample_as_ddim(name):
    equation, x, times = problem(name, 9)
    ddim = sd.solve(equation, sd.ExpEuler(), x, times)
    for make in (DDIMInverse, Implicit, lambda: EDICT(1.0)):
        out = sd.solve(equation, make(), x, times)
        assert (both(out, ddim) < 1e-10) == (not isinstance(make(), EDICT))  # p = 1 still couples the two
    zero = [*times, 0.0]
    assert both(sd.solve(equation, Implicit(DPM2()), x, zero), sd.solve(equation, DPM2(), x, zero)) < 1e-10


def noise_of(equation, x, t):
    return equation.eps(x, t)


def test_edict_by_hand():
    """The four lines of the paper in its own letters, x_{t-1} = a_t x_t + b_t eps(y_t), and so on."""
    equation, x, times = problem("vp", 8)
    process, p, y, start = equation.process, 0.9, x, x
    for s, t in itertools.pairwise(times):
        a = process.alpha(t) / process.alpha(s)
        b = process.sigma(t) - a * process.sigma(s)
        x_inter = a * x + b * noise_of(equation, y, s)
        y_inter = a * y + b * noise_of(equation, x_inter, s)
        x = p * x_inter + (1 - p) * y_inter
        y = p * y_inter + (1 - p) * x
    assert both(generate(equation, EDICT(p), start, times), (x, y)) < 1e-10


@pytest.mark.parametrize("gamma", [1.0, 0.7])
def test_bdia_by_hand(gamma):
    """z_{i-1} = z_{i+1} - (1 - gamma)(z_{i+1} - z_i) - gamma Delta(i -> i+1 | z_i) + Delta(i -> i-1 | z_i)."""
    equation, x, times = problem("vp", 8)
    process = equation.process

    def delta(z, s, t):
        a = process.alpha(t) / process.alpha(s)
        return a * z + (process.sigma(t) - a * process.sigma(s)) * noise_of(equation, z, s) - z

    before, z = x, x + delta(x, times[0], times[1])
    for q, s, t in zip(times, times[1:], times[2:], strict=False):
        step = -(1 - gamma) * (before - z) - gamma * delta(z, s, q) + delta(z, s, t)
        before, z = z, before + step
    assert both(generate(equation, BDIA(gamma), x, times), (z, before)) < 1e-10


def test_belm_by_hand():
    """The two-step rule in y = x/alpha and r = sigma/alpha that is exact for quadratics y(r)."""
    equation, x, times = problem("flow", 8)
    process = equation.process
    r = [float(process.sigma(t) / process.alpha(t)) for t in times]

    def eps(y, t):
        return noise_of(equation, process.alpha(t) * y, t)

    before = x / process.alpha(times[0])
    y = before + (r[1] - r[0]) * eps(before, times[0])
    for n in range(1, len(times) - 1):
        h, old = r[n + 1] - r[n], r[n - 1] - r[n]
        rows = torch.tensor([[1, 1, 0], [old, 0, 1], [old**2, 0, 0]], dtype=F64)  # 1, r, r^2 at y_before, y, slope
        w = torch.linalg.solve(rows, torch.tensor([1, h, h**2], dtype=F64))
        before, y = y, w[0] * before + w[1] * y + w[2] * eps(y, times[n])
    ours = generate(equation, BELM(), x, times)
    assert both(ours, (process.alpha(times[-1]) * y, process.alpha(times[-2]) * before)) < 1e-9


def test_undone_from_a_given_pair():
    """What invert returns for BDIA and O-BELM is the state at the first two times; generate goes on from there."""
    equation, x, times = problem("vp", 12)
    states = [y for _, y in sd.trajectory(equation, BELM(), x, times)]
    pair = invert(equation, BELM(), (states[-1], states[-2]), times)
    assert both(pair, (states[0], states[1])) < 1e-9
    assert both(generate(equation, BELM(), pair, times), (states[-1], states[-2])) < 1e-11


@pytest.mark.parametrize("make", EXACT, ids=NAMES)
def test_round_trip_from_alpha_zero(make):
    """Rectified flow from t = 1, where x/alpha does not exist."""
    process = sd.process.RectifiedFlow()
    equation = sd.Reverse(process, LAW.denoiser(process), 0.0)
    x, times = sd.noise.normal((20, 2), 1, dtype=F64), sd.grids.uniform(process, 40, t_end=0.05).tolist()
    data = generate(equation, make(), x, times)
    assert data[0].isfinite().all() and both(first(invert(equation, make(), data, times)), x) < 1e-8


def test_from_alpha_zero_the_second_step_is_bdia():
    """r is infinite there and O-BELM's gamma would be 0, which cannot be undone: it takes 1."""
    process = sd.process.RectifiedFlow()
    equation, x = sd.Reverse(process, LAW.denoiser(process), 0.0), sd.noise.normal((20, 2), 1, dtype=F64)
    assert both(*(generate(equation, solver, x, [1.0, 0.9, 0.8]) for solver in (BELM(), BDIA(1.0)))) < 1e-14
    assert both(*(generate(equation, solver, x, [0.999, 0.9, 0.8]) for solver in (BELM(), BDIA(1.0)))) > 1e-6


def test_rounding_grows_as_said():
    """EDICT divides the difference of its states by p^2 a step: the round trip is lost in some hundred steps."""
    errors = []
    for n in (50, 100, 200):
        equation, x, times = problem("vp", n)
        errors.append(both(first(invert(equation, EDICT(), generate(equation, EDICT(), x, times), times)), x))
    assert errors[0] < errors[1] < 1e-8 < errors[2]


def test_bdia_below_one_is_of_order_one():
    for gamma, order in ((1.0, 2), (0.5, 1)):
        row = sd.solvers.Row("", "", "", lambda g=gamma: BDIA(g), order, 1, "")
        assert orders.ode_order(row, "vp") == pytest.approx(order, abs=0.15)
        assert BDIA(gamma).order == order


X = torch.ones(3, 2, dtype=F64)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda ode: EDICT(0.0), ValueError, "mixing weight"),
        (lambda ode: BDIA(0.0), ValueError, "gamma lies in"),
        (lambda ode: BDIA(1.2), ValueError, "gamma lies in"),
        (lambda ode: Implicit(sd.ExpAdams(2)), ValueError, "no single-step"),
        (lambda ode: invert(ode, sd.Heun(), X, [0.9, 0.5, 0.1]), TypeError,  # type: ignore[arg-type]
         r"Implicit\(solver\) does"),
        (lambda ode: invert(ode, EDICT(), X, [0.9, 0.5, 0.0]), ValueError, "the step to 0 forgets x"),
        (lambda ode: invert(ode, EDICT(), X, [0.1, 0.5, 0.9]), ValueError, "times must decrease"),
        (lambda ode: invert(sd.Reverse(ode.process, ode.denoise, 1.0), EDICT(), X, [0.9, 0.5, 0.1]), ValueError,
         "cannot be undone"),
        (lambda ode: invert(ode, EDICT(), X * float("nan"), [0.9, 0.5, 0.1]), ValueError, "NaN"),
        (lambda ode: sd.solve(sd.SDE(lambda x, t: x), EDICT(), X, [0.1, 0.5]), ValueError, "needs a Reverse"),
        (lambda ode: sd.solve(sd.Reverse(ode.process, ode.denoise), BELM(), X, [0.9, 0.5], seed=1), ValueError,
         "eta=0"),
        (lambda ode: invert(ode, Implicit(iterations=2), X, [0.9, 0.5, 0.1]), FloatingPointError, "did not undo"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    process = sd.process.VP()
    with pytest.raises(error, match=message):
        call(sd.Reverse(process, LAW.denoiser(process), 0.0))
