"""Implicit, adaptive and Adams–Bashforth methods in t: stiffness, one Brownian path, irregular grids."""

import itertools
import math

import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab.levy import LevyBrownian
from sdelab.orders import slope
from sdelab.solvers import AdamsBashforth, AdaptiveEM, ImplicitEM
from sdelab.solvers.stratonovich import HeunStratonovich

F64 = torch.float64


@pytest.mark.parametrize("theta, decay", [(1.0, 1 / 101), (0.5, -49 / 51)])
def test_stiff_linear_drift(theta, decay):
    """At h |a'| = 100 the explicit step blows up; the implicit ones stay, and are what the formula says."""
    ou, x = sd.OU(theta=1000.0, sigma=2.0), torch.ones(4, 1, dtype=F64)
    times, path = torch.linspace(0, 2, 21, dtype=F64), sd.Brownian((4, 1), 0, 2, seed=1, dtype=F64)
    out = sd.solve(ou, ImplicitEM(theta), x, times, brownian=path)
    by_hand, ts = x, times.tolist()
    for s, t in itertools.pairwise(ts):
        by_hand = decay * by_hand + 2 * path(s, t) / (1 + theta * 100)
    torch.testing.assert_close(out, by_hand, rtol=1e-9, atol=1e-9)
    assert float(out.abs().max()) < 2
    assert float(sd.solve(ou, sd.EulerMaruyama(), x, times, brownian=path).abs().min()) > 1e30


@pytest.mark.parametrize("solver", [ImplicitEM(), ImplicitEM(sweeps=1), ImplicitEM(0.5)])
def test_much_noise_makes_a_reverse_diffusion_stiff(solver):
    """At eta = 5 the score pulls 26 times as hard: thirty explicit steps blow up, implicit ones find the ring."""
    process, law = sd.process.VP(), sd.distributions.ring()
    reverse, x = sd.Reverse(process, law.denoiser(process), 5.0), sd.noise.normal((200, 2), 1, dtype=F64)
    ts = sd.grids.uniform(process, 30, t_start=0.9, t_end=0.01)
    radius = float(law.sample(4000, seed=1).norm(dim=1).mean())
    assert float(sd.solve(reverse, solver, x, ts, seed=1).norm(dim=1).mean()) == pytest.approx(radius, rel=0.02)
    assert float(sd.solve(reverse, sd.EulerMaruyama(), x, ts, seed=1).abs().max()) > 1e15


def stiff(x, t):
    """Van der Pol's equation with mu = 200: two coordinates that need the whole Jacobian."""
    u, v = x.unbind(-1)
    return torch.stack([v, 200 * (1 - u * u) * v - u], -1)


def test_newton_solves_the_implicit_equation():
    x, h = torch.tensor([[2.0, 0.0], [1.5, -0.3]], dtype=F64), 0.05
    drift = sd.NFE(stiff)
    out = sd.solve(sd.SDE(drift), ImplicitEM(), x, [0.0, h])
    torch.testing.assert_close(out, x + h * stiff(out, h), rtol=1e-10, atol=1e-10)
    assert drift.count < 25  # residuals and two derivatives per iteration: quadratic convergence
    with pytest.raises(FloatingPointError, match=r"t = 0\.05 did not converge .* newton=True"):
        sd.solve(sd.SDE(stiff), ImplicitEM(newton=False), x, [0.0, h])
    small = sd.solve(sd.SDE(stiff), ImplicitEM(newton=False), x, [0.0, 1e-4])
    torch.testing.assert_close(small, sd.solve(sd.SDE(stiff), ImplicitEM(), x, [0.0, 1e-4]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("theta, order", [(1.0, 1), (0.5, 2), (0.7, 1)])
def test_order_of_the_implicit_equation(theta, order):
    ode, x = sd.SDE(lambda x, t: x * x * math.cos(t)), torch.tensor([[0.3], [-0.7]], dtype=F64)
    steps, exact = (80, 160, 320), x / (1 - x * math.sin(3.0))
    errors = [float((sd.solve(ode, ImplicitEM(theta), x, torch.linspace(0, 3, n + 1)) - exact).abs().max())
              for n in steps]  # fmt: skip
    assert slope(steps, errors) == pytest.approx(order, abs=0.15), errors


@pytest.mark.parametrize("theta", [1.0, 0.5])
def test_weak_order_with_noise_that_depends_on_the_state(theta):
    """Gauss–Hermite nodes give the exact mean square of one step, powers the rest: 1 for every theta."""
    z, w = np.polynomial.hermite_e.hermegauss(12)
    z, w = torch.tensor(z, dtype=F64)[:, None], torch.tensor(w / w.sum(), dtype=F64)
    gbm, steps, errors = sd.GBM(0.5, 0.8), (64, 128, 256), []
    for n in steps:
        growth = sd.solve(gbm, ImplicitEM(theta), torch.ones_like(z), [0.0, 1 / n],
                          brownian=lambda a, b: z * math.sqrt(b - a))[:, 0]  # fmt: skip
        errors.append(abs(float((w * growth**2).sum()) ** n - math.exp(2 * 0.5 + 0.8**2)))
    assert slope(steps, errors) == pytest.approx(1, abs=0.15), errors


def test_sweeps_solve_the_implicit_step_on_a_reverse_diffusion():
    process = sd.process.VP()
    law = sd.distributions.ring()
    denoise = sd.NFE(law.denoiser(process))
    reverse, x, ts = sd.Reverse(process, denoise, 1.0), sd.noise.normal((5, 2), 1, dtype=F64), [0.5, 0.48, 0.46]
    as_sde = sd.SDE(reverse.drift, reverse.diffusion)
    for theta in (0.5, 1.0):
        exact = sd.solve(as_sde, ImplicitEM(theta), x, ts, seed=2)
        errors = []
        for sweeps in (0, 2, 4, 8):
            denoise.count = 0
            errors.append(float((sd.solve(reverse, ImplicitEM(theta, sweeps), x, ts, seed=2) - exact).abs().max()))
            assert denoise.count == 2 * (1 + sweeps)
        assert errors[0] > 3 * errors[1] > 9 * errors[2] > 27 * errors[3], errors


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_adams_bashforth(order):
    """Exact on polynomials of degree k - 1 on any grid after an exact start; order k; as many calls as stated."""
    ts = np.cumsum(sd.noise.uniform((1, 14), 3, dtype=F64)[0].numpy() + 0.1)
    exact = lambda t: t**order / order  # noqa: E731
    out = sd.solve(sd.SDE(lambda x, t: x * 0 + t ** (order - 1)), AdamsBashforth(order, sd.Dopri5()),
                   torch.full((1, 1), exact(ts[0]), dtype=F64), ts)  # fmt: skip
    assert float(out) == pytest.approx(exact(ts[-1]), rel=1e-12)
    x = torch.tensor([[0.3], [0.7], [-0.7]], dtype=F64)
    end, steps, errors = 3.0, (80, 160, 320), []
    for n in steps:
        drift, solver = sd.NFE(lambda x, t: x * x * math.cos(t)), AdamsBashforth(order)
        times = np.linspace(0, 1, n + 1)
        out = sd.solve(sd.SDE(drift), solver, x, end * (times + 0.5 * times**2) / 1.5)
        errors.append(float((out - x / (1 - x * math.sin(end))).abs().max()))
        assert drift.count == solver.calls(n)
    assert slope(steps, errors) == pytest.approx(order, abs=0.15), errors


def test_adams_bashforth_has_the_classical_weights_on_equal_steps():
    table = {2: (3, -1), 3: (23, -16, 5), 4: (55, -59, 37, -9), 5: (1901, -2774, 2616, -1274, 251)}
    for order, row in table.items():
        plan = AdamsBashforth(order).plan(sd.SDE(lambda x, t: x), np.linspace(0, 9, 10).tolist())
        assert plan[-1].stages[0].weights == pytest.approx([w / sum(row) for w in row], abs=1e-13)


def test_adaptive_steps_without_need_are_heuns():
    """With nothing to reject there is one step per interval: the improved Euler scheme."""
    well, x, ts = sd.DoubleWell(), sd.noise.normal((6, 2), 1, dtype=F64), torch.linspace(0, 1, 11, dtype=F64)
    path, solver = LevyBrownian((6, 2), 0, 1, seed=4, dtype=F64), AdaptiveEM(atol=1e9)
    for equation in (well, sd.GBM()):
        out = sd.solve(equation, solver, x, ts, brownian=path)
        assert (solver.accepted, solver.rejected) == (10, 0)
        torch.testing.assert_close(out, sd.solve(equation, HeunStratonovich(), x, ts, brownian=path))


@pytest.mark.parametrize("equation", [sd.DoubleWell(), sd.GBM(0.5, 0.8)], ids=["additive", "state-dependent"])
def test_adaptive_work_buys_precision_on_one_path(equation):
    x, path = torch.ones(8, 1, dtype=F64), LevyBrownian((8, 1), 0.0, 1.0, seed=11, dtype=F64)
    if isinstance(equation, sd.GBM):
        exact = equation.exact_path(x, 1.0, path(0.0, 1.0))
    else:
        exact = sd.solve(equation, HeunStratonovich(), x, torch.linspace(0, 1, 4097, dtype=F64), brownian=path)
    errors, work = [], []
    for tol in (0.1, 0.01, 0.001):
        solver = AdaptiveEM(tol, tol)
        errors.append(float((sd.solve(equation, solver, x, [0.0, 1.0], brownian=path) - exact).abs().mean()))
        work.append(solver.accepted + solver.rejected)
        assert solver.rejected
    assert errors[0] > 2 * errors[1] > 4 * errors[2] and work[0] < work[1] < work[2], (errors, work)


def test_rejection_on_one_path_does_not_bias_the_noise():
    """What the run sees of W over each unit of time has variance 1; if a rejected step drew afresh, small increments
    would be favoured, and it does not."""
    T, path = 1200, LevyBrownian((1, 1), 0.0, 1200.0, seed=3, dtype=F64)
    asked: list[tuple[float, float, float]] = []
    fresh = lambda a, b: math.sqrt(b - a) * sd.noise.normal((1, 1), 7, (1, len(asked)), dtype=F64)  # noqa: E731
    found = []
    for noise in (path, fresh):
        asked.clear()

        def told(a, b, noise=noise):
            w = noise(a, b)
            asked.append((a, b, float(w)))
            return w

        solver, seen = AdaptiveEM(0.0, 0.1), [0.0] * T
        sd.solve(sd.OU(), solver, torch.zeros(1, 1, dtype=F64), torch.arange(T + 1.0), brownian=told)
        for (a, b, w), after in zip(asked, [*asked[1:], (T, 0, 0)], strict=True):
            if after[0] == b:
                seen[int(a)] += w
        assert solver.rejected > 0.1 * solver.accepted
        found.append(sum(w * w for w in seen) / T)
    spread = math.sqrt(2 / T)
    assert abs(found[0] - 1) < 3 * spread and found[1] < 1 - 5 * spread, found


def test_adaptive_gradients_and_replay():
    well, x = sd.DoubleWell(), sd.noise.normal((2, 2), 1, dtype=F64).requires_grad_()
    run = lambda x: sd.solve(well, AdaptiveEM(0.05, 0.05), x, [0.0, 0.5], seed=3)  # noqa: E731
    assert torch.equal(run(x), run(x)) and torch.autograd.gradcheck(run, (x,))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ImplicitEM(0.0), "0 is EulerMaruyama"),
        (lambda: ImplicitEM(sweeps=-1), "sweeps >= 0"),
        (lambda: sd.solve(sd.OU(), ImplicitEM(), torch.ones(1, 300), [0, 1], seed=0), "pass newton=False"),
        (lambda: AdamsBashforth(6), "order must be 2, 3, 4 or 5"),
        (lambda: AdaptiveEM(atol=0.0), "atol > 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_too_few_adaptive_steps():
    with pytest.raises(FloatingPointError, match="4 steps were not enough at t = "):
        sd.solve(sd.OU(), AdaptiveEM(1e-6, 1e-6, max_steps=4), torch.ones(2, 1), [0.0, 1.0], seed=0)


@pytest.mark.parametrize(
    "row",
    [r for r in sd.solvers.table if r.family == "classical" and r.stochastic and not r.adaptive],
    ids=lambda r: r.key,
)
def test_gradients_through_noise_that_depends_on_the_state(row):
    """By central differences; several steps share one draw of noise, which autograd must find unchanged."""
    equation = sd.SDE(lambda x, t: -(x**3), lambda x, t: 0.3 * torch.sin(x))
    if row.key in ("sra1", "sra3", "shark"):
        equation = sd.SDE(lambda x, t: -(x**3), lambda x, t: torch.full((3, 1), 0.3, dtype=F64))  # additive noise only

    def end(x):
        return sd.solve(equation, row.make(), x, [0.0, 0.1, 0.25, 0.3], seed=1)

    x = torch.tensor([[0.5, -0.2], [1.0, 0.1], [-0.7, 0.9]], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(end(x).sum(), x)
    with torch.no_grad():
        by_difference = (end(x + 1e-5) - end(x - 1e-5)) / 2e-5  # coordinate i depends on coordinate i alone
    torch.testing.assert_close(slope, by_difference, rtol=1e-7, atol=1e-8)
