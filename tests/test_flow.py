"""Flow matching: the velocity by its formula and sign, and SDEs that keep the marginals for every noise level."""

import math

import pytest
import torch

import sdelab as sd
from sdelab import orders
from sdelab.solvers import FlowSDE, FlowSDEHeun, SiTHeun
from sdelab.solvers.flow import LEVELS

F64 = torch.float64
LAW = sd.distributions.ring()
FLOW, VP = sd.process.RectifiedFlow(), sd.process.VP()
X = 0.8 * sd.noise.normal((7, 2), 1, dtype=F64)
Z = sd.noise.normal(X.shape, 3, (sd.noise.STEP, 0), dtype=F64)


def equation(process: sd.process.Process = FLOW, eta=1.0, law=LAW):
    return sd.Reverse(process, law.denoiser(process), eta)


def velocity(eq, x, t):
    return eq.process.d_alpha(t) * eq.denoise(x, t) + eq.process.d_sigma(t) * eq.eps(x, t)


def test_flow_samplers_step_along_the_velocity():
    s, t, eq = 0.7, 0.4, equation(eta=0.0)
    v = (X - eq.denoise(X, s)) / s  # straight path: data at 0, noise at 1
    torch.testing.assert_close(velocity(eq, X, s), v, rtol=1e-12, atol=1e-12)
    made = {key: sd.solve(eq, sd.solvers.row(f"flow_{key}").make(), X, [s, t]) for key in ("euler", "heun", "midpoint")}
    torch.testing.assert_close(made["euler"], X + (t - s) * v, rtol=1e-12, atol=1e-12)
    end, middle = X + (t - s) * v, X + (t - s) / 2 * v
    heun = X + (t - s) / 2 * (v + velocity(eq, end, t))
    torch.testing.assert_close(made["heun"], heun, rtol=1e-12, atol=1e-12)
    exact = X + (t - s) * velocity(eq, middle, (s + t) / 2)
    torch.testing.assert_close(made["midpoint"], exact, rtol=1e-12, atol=1e-12)


def test_the_sign_of_the_velocity():
    """From noise to data it is minus ours; taken for ours, samples end far from the law."""
    eq = equation(eta=0.0)
    theirs = lambda x, t: eq.denoise(x, t) - eq.eps(x, t)  # noqa: E731  x_1 - x_0 with data at 1

    def sampled(sign):
        denoise = lambda x, t: sd.targets.convert(sign * theirs(x, t), x, t, FLOW, "velocity", "x0")  # noqa: E731
        x = sd.noise.normal((200, 2), 1, dtype=F64)
        ode = sd.Reverse(FLOW, denoise, 0.0)
        return sd.solve(ode, sd.Euler(), x, torch.linspace(0.98, 0.02, 50, dtype=F64)).norm(dim=1)

    assert float((sampled(-1) - 1.4).abs().max()) < 0.6 < 2 < float(sampled(1).median())


@pytest.mark.parametrize("level", list(LEVELS))
@pytest.mark.parametrize("process", [FLOW, VP], ids=lambda p: p.name)
def test_step_by_its_formula(level, process):
    s, t, eta, size = 0.7, 0.6, 0.8, 1.5
    eq = equation(process, eta)
    at = torch.tensor(s, dtype=F64)
    w = {"sigma": process.sigma(s), "constant": 1.0, "sin2": math.sin(math.pi * s) ** 2, "g2": process.g2(s)}[level]
    w = float(eta**2 * size * w)
    exact = X + (velocity(eq, X, s) - w / 2 * eq.score(X, s)) * (t - s) + math.sqrt(w * (s - t)) * Z
    ours = sd.solve(eq, FlowSDE(level, size), X, [s, t], seed=3)
    torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)
    assert float(LEVELS[level](process, at)) * eta**2 * size == pytest.approx(w)


def test_heun_steps_by_their_formulas():
    s, t, eq = 0.7, 0.6, equation()

    def drift(x, time):
        return velocity(eq, x, time) - time / 2 * eq.score(x, time)  # w = sigma = t

    noise = math.sqrt((s - t) * (s + t) / 2) * Z
    y = X + drift(X, s) * (t - s) + noise
    exact = X + (drift(X, s) + drift(y, t)) * (t - s) / 2 + noise
    torch.testing.assert_close(sd.solve(eq, FlowSDEHeun(), X, [s, t], seed=3), exact, rtol=1e-11, atol=1e-11)
    y = X + math.sqrt(s * (s - t)) * Z
    exact = y + (drift(y, s) + drift(y + drift(y, s) * (t - s), t)) * (t - s) / 2
    torch.testing.assert_close(sd.solve(eq, SiTHeun(), X, [s, t], seed=3), exact, rtol=1e-11, atol=1e-11)


def test_members_that_have_other_names():
    times = torch.linspace(0.9, 0.1, 9, dtype=F64)
    for eta in (0.0, 0.5, 1.0):  # w = g^2 is the family of Reverse, whatever eta
        for process in (FLOW, VP):
            pair = [sd.solve(equation(process, eta), m, X, times, seed=1) for m in (FlowSDE("g2"), sd.EulerMaruyama())]
            torch.testing.assert_close(*pair, rtol=1e-11, atol=1e-11)
    for solver, ode in ((FlowSDE(), sd.Euler()), (FlowSDEHeun(), sd.Heun()), (SiTHeun(), sd.Heun())):
        pair = [sd.solve(equation(eta=0.0), m, X, times) for m in (solver, ode)]
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)


class TooMuchNoise(FlowSDE):
    """Planted fault: 3 % too much noise for the score term."""

    def stages(self, s, t):
        return super().stages((*s[:2], 1.03 * s[2]), t)


def weak_slope(make, process, start, end, steps=(100, 200, 400)):
    errors = []
    for n in steps:
        times = sd.grids.quadratic(process, n, t_start=start, t_end=end)  # equal steps are of order 2 at w = t
        errors.append(orders.weak_error(make(), process, 1.0, times))
    return orders.slope(steps, errors), errors


@pytest.mark.parametrize("level", ["sigma", "constant", "sin2", lambda process, t: 0.5 * t])
def test_every_noise_level_keeps_the_marginals(level):
    """Exact mean and variance on the straight path, from alpha = 0 on: first and second order."""
    assert weak_slope(lambda: FlowSDE(level), FLOW, 1.0, 0.15)[0] == pytest.approx(1, abs=0.15)
    assert weak_slope(lambda: FlowSDEHeun(level), FLOW, 1.0, 0.15)[0] == pytest.approx(2, abs=0.15)


def test_too_much_noise_would_be_seen():
    slope, errors = weak_slope(TooMuchNoise, FLOW, 1.0, 0.15)
    assert slope < 0.8 and errors[-1] > 2 * weak_slope(FlowSDE, FLOW, 1.0, 0.15)[1][-1]


@pytest.mark.parametrize("make", [FlowSDE, FlowSDEHeun, SiTHeun])
def test_strong_order_on_a_path_in_t(make):
    path = sd.Brownian((100, 1), 0.9, 0.1, seed=5, dtype=F64, depth=30)
    x, eq = sd.noise.normal((100, 1), 3, dtype=F64), orders.linear_problem(FLOW, 1.0)

    def run(solver, n):
        return sd.solve(eq, solver, x, torch.linspace(0.9, 0.1, n + 1, dtype=F64), brownian=path)

    fine, steps = run(FlowSDEHeun(), 1024), (16, 32, 64)
    errors = [float((run(make(), n) - fine).abs().mean()) for n in steps]
    assert orders.slope(steps, errors) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: FlowSDE("sigmas"), "'sigma'"),
        (lambda: FlowSDE(size=0.0), "eta = 0 gives the ODE"),
        (lambda: sd.solve(equation(), FlowSDE("g2"), X, [1.0, 0.5], seed=0), "start inside"),
        (lambda: sd.solve(equation(), FlowSDE(lambda p, t: -t), X, [1.0, 0.5], seed=0), "finite and not negative"),
        (lambda: sd.solve(equation(), FlowSDE(lambda p, t: p.g2(t)), X, [1.0, 0.5], seed=0), "finite and not negative"),
        (lambda: sd.solve(sd.OU(), FlowSDE(), X, [0.0, 0.5], seed=0), "needs a Reverse"),
    ],
)  # fmt: skip
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
