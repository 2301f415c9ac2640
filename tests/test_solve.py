"""The loop, the grids and the named surface: protocol over every row, and every error message."""

import itertools
import math
import time

import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab.levy import LevyBrownian

F64 = torch.float64
ROWS = sd.solvers.table
FIXED = [r for r in ROWS if not r.adaptive]
LAW = sd.distributions.ring()
ONE = sd.distributions.gaussian((0.5, -0.3), 0.4)  # with one mode: no choice between two hangs on a rounding


def start(process, n=12, dtype=F64):
    return sd.noise.prior(process, (n, 2), seed=5, dtype=dtype)


def times(process, steps=8, zero=False):
    return sd.grids.logsnr(process, steps, t_start=0.98 * process.T, zero=zero)


ALWAYS = ("vp", "ve", "edm", "flow", "ddpm")
OTHERS = [name for name in sd.process.table if name not in ALWAYS]
MEETINGS = [(row, name) for n, row in enumerate(ROWS) for name in (*ALWAYS, OTHERS[n % len(OTHERS)])]


@pytest.mark.parametrize("row, name", MEETINGS, ids=lambda v: getattr(v, "key", v))
def test_protocol(row, name):
    """NFE as stated, deterministic by seed, batch-split invariant, dtype kept, finite, input untouched."""
    process = sd.process.make(name)
    denoise = sd.NFE((ONE if row.adaptive and row.stochastic else LAW).denoiser(process))
    equation = sd.Reverse(process, denoise, row.eta)
    x, ts = start(process), times(process)[4 if row.adaptive else 0 :]  # hundreds of steps of their own: half the way
    kept = x.clone()
    out = sd.solve(equation, row.make(), x, ts, seed=3)
    assert row.adaptive or denoise.count == row.calls(len(ts) - 1)
    assert torch.equal(x, kept) and out.shape == x.shape and out.isfinite().all()
    other = sd.solve(equation, row.make(), x, ts, seed=4)  # without noise, the same run again
    assert torch.equal(other, out) != row.stochastic
    assert not row.stochastic or torch.equal(out, sd.solve(equation, row.make(), x, ts, seed=3))
    part = sd.solve(equation, row.make(), x[5:], ts, seed=3, first=5)
    split = 1e-2 if row.adaptive else 1e-9  # the batch takes its steps together: a part agrees to the tolerance only
    torch.testing.assert_close(part, out[5:], rtol=split, atol=split)
    single = sd.solve(equation, row.make(), x.float(), ts, seed=3)
    assert single.dtype == torch.float32
    if row.order < 5:  # eight steps of a high-order method in t amplify rounding
        torch.testing.assert_close(single.double(), out, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.key)
def test_the_last_step_to_zero_is_denoising(row):
    process = sd.process.VP()
    equation = sd.Reverse(process, LAW.denoiser(process), row.eta)
    x, ts = start(process), times(process, zero=True)
    noise: dict = {"seed": 3}
    if getattr(row.make(), "rewinds", False):  # there a seed stands for a path over the times given
        noise = {"brownian": LevyBrownian(x.shape, float(ts[0]), 0.0, seed=3, dtype=F64)}
    inner = sd.solve(equation, row.make(), x, ts[:-1], **noise)
    torch.testing.assert_close(sd.solve(equation, row.make(), x, ts, **noise), equation.denoise(inner, float(ts[-2])))
    single = sd.solve(equation, row.make(), x, [0.5, 0.0], seed=3)
    torch.testing.assert_close(single, equation.denoise(x, 0.5))


def test_trajectory_is_lazy_and_ends_where_solve_does():
    process = sd.process.VP()
    count = sd.NFE(LAW.denoiser(process))
    ode = sd.Reverse(process, count, 0.0)
    states = sd.trajectory(ode, sd.ExpAdams(2), start(process), times(process))
    first = list(itertools.islice(states, 3))
    assert count.count == 2 and [round(t, 6) for t, _ in first] == [round(t, 6) for t in times(process)[:3].tolist()]
    *_, (t, x) = states
    assert t == float(times(process)[-1])
    assert torch.equal(x, sd.solve(ode, sd.ExpAdams(2), start(process), times(process)))


def test_one_step_by_hand():
    """Euler–Maruyama and Milstein to rounding, forwards and backwards, with the noise of (seed, step, row)."""
    equation = sd.SDE(lambda x, t: x * t - 1, lambda x, t: 0.5 * x * (1 + t))
    x, first = 1 + sd.noise.uniform((3, 2), 1, dtype=F64), 4
    for ts in ([0.2, 0.5, 0.6], [0.6, 0.5, 0.2]):
        em = milstein = x
        for n, (s, t) in enumerate(itertools.pairwise(ts)):
            w = sd.noise.normal((3, 2), 7, (sd.noise.STEP, n), first, dtype=F64) * math.sqrt(abs(t - s))
            em = em + (em * s - 1) * (t - s) + 0.5 * em * (1 + s) * w
            b, db = 0.5 * milstein * (1 + s), 0.5 * (1 + s)
            milstein = milstein + (milstein * s - 1) * (t - s) + b * w + 0.5 * b * db * (w**2 - abs(t - s))
        for solver, exact in ((sd.EulerMaruyama(), em), (sd.Milstein(), milstein)):
            ours = sd.solve(equation, solver, x, ts, seed=7, first=first)
            torch.testing.assert_close(ours, exact, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.key)
@pytest.mark.parametrize("shape", [(0, 2), (1, 1), (5,), (2, 3, 4, 4)])
def test_states_of_any_shape(row, shape):
    equation = sd.Reverse(sd.process.VP(), lambda x, t: torch.tanh(x), row.eta)
    x = sd.noise.normal(shape, 1)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        out = sd.solve(equation, row.make(), x.to(dtype), [1, 0.7, 0.5, 0.3, 0], seed=np.int64(1))
        assert out.shape == shape and out.dtype == dtype and out.isfinite().all()


def test_times_of_any_make():
    exact = sd.solve(equation(), sd.Heun(), X, [1.0, 0.75, 0.5])
    for ts in (np.linspace(1, 0.5, 3), torch.tensor([1, 0.75, 0.5]), (1, 0.75, 0.5), np.array([1, 0.75, 0.5], "f4")):
        assert torch.equal(sd.solve(equation(), sd.Heun(), X, ts), exact)
    process = sd.process.Cosine(T=0.999)  # in single precision a little more than T
    ode = sd.Reverse(process, LAW.denoiser(process), 0.0)
    flow = sd.process.RectifiedFlow()  # past its T alpha is negative
    straight = sd.Reverse(flow, LAW.denoiser(flow), 0.0)
    late = sd.solve(straight, sd.ExpEuler(), X, [1 + 5e-8, 0.5])
    assert torch.equal(late, sd.solve(straight, sd.ExpEuler(), X, [1.0, 0.5]))
    out = sd.solve(ode, sd.ExpEuler(), X, torch.tensor([0.999, 0.5]))
    torch.testing.assert_close(out, sd.solve(ode, sd.ExpEuler(), X, [0.999, 0.5]))


def test_a_run_leaves_what_it_was_given():
    """No state that was handed out is written to later, and the memory of a run does not grow with its steps."""
    process = sd.process.VP()
    for row in ROWS:
        equation = sd.Reverse(process, lambda x, t: x, row.eta)  # a denoiser that returns its argument
        states = [(x, x.clone()) for _, x in sd.trajectory(equation, row.make(), X.double(), times(process), seed=1)]
        assert all(torch.equal(x, kept) for x, kept in states)
    for points, corrector in ((1, False), (3, False), (2, True)):
        solver, ode = sd.ExpAdams(points, corrector), sd.Reverse(process, LAW.denoiser(process), 0.0)
        memory, x = solver.start(), start(process)
        for entry in solver.plan(ode, times(process, 20).tolist()):
            x = solver.step(ode, x, entry, memory, None)
        assert len(memory["past"]) == points - 1


def test_large_eta_stays_finite():
    process = sd.process.VP()
    for eta in (3.0, 10.0):
        equation = sd.Reverse(process, LAW.denoiser(process), eta)
        out = sd.solve(equation, sd.ExpEuler(), start(process), times(process, 20, zero=True), seed=1)
        assert out.isfinite().all() and float(out.abs().max()) < 2.5


def test_history_does_not_outlive_a_run():
    process, solver = sd.process.VP(), sd.ExpAdams(3, corrector=True)
    ode = sd.Reverse(process, LAW.denoiser(process), 0.0)
    once = sd.solve(ode, solver, start(process), times(process))
    assert torch.equal(once, sd.solve(ode, solver, start(process), times(process)))


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.key)
def test_solving_is_differentiable(row):
    process = sd.process.EDM()
    equation = sd.Reverse(process, LAW.denoiser(process), row.eta)
    x = (2 * sd.noise.normal((2, 2), 1, dtype=F64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sd.solve(equation, row.make(), x, [2.0, 1.5, 1.2, 1.0], seed=1), (x,))


@pytest.mark.parametrize("pair, low_order", [(sd.Heun, 1), (sd.Bosh3, 2), (sd.Dopri5, 4)])
def test_embedded_methods_are_quadrature_rules_of_their_order(pair, low_order):
    nodes = [sum(row) for row in pair.A]
    for weights, order in ((pair.b, pair.order), (pair.b_low, low_order)):
        for k in range(order):
            assert sum(b * c**k for b, c in zip(weights, nodes, strict=True)) == pytest.approx(1 / (k + 1), rel=1e-13)
    assert sum(b * c**low_order for b, c in zip(pair.b_low, nodes, strict=True)) != pytest.approx(1 / (low_order + 1))


def test_the_step_size_controller_by_its_formula():
    """On x' = 1 a pair whose weights differ by d has the error h d/atol in every step: the steps follow by hand."""

    class Pair(sd.Euler):
        b_low, order = (0.9,), 2

    class Given(sd.Adaptive):
        def first(self, *_):
            return 0.04

    asked, x = [], torch.zeros(2, 3, dtype=F64)
    solver = Given(Pair(), rtol=0.0, atol=1e-3)
    ode = sd.SDE(lambda x, t: asked.append(t) or torch.ones_like(x))
    stops = [(t, float(x[0, 0])) for t, x in sd.trajectory(ode, solver, x, [0.0, 4.0, 4.1])]
    assert stops == [(0.0, 0.0), (4.0, pytest.approx(4.0)), (4.1, pytest.approx(4.1))]

    at, h, old, expected, rejected = 0.0, 0.04, 1.0, [], 0
    for end in (4.0, 4.1):
        while at < end:
            size, last = min(h, end - at), h >= end - at
            if at not in expected:  # the slope of a step tried again is known
                expected.append(at)
            error = size * 0.1 / 1e-3
            if error > 1:
                rejected, h = rejected + 1, size * max(0.2, 0.9 * error**-0.5)
                continue
            grown = size * min(5.0, max(0.2, 0.9 * error**-0.35 * old**0.2))
            at, old, h = end if last else at + size, max(error, 1e-4), max(h, grown) if last else grown
    assert asked == pytest.approx(expected, abs=1e-9)
    assert (solver.accepted, solver.rejected) == (len(expected), rejected) and rejected > 0
    sd.solve(ode, solver, x, [0.0, 4.0, 4.1])
    assert solver.accepted == len(expected)  # counted anew


def test_the_error_norm_is_the_worst_root_mean_square():
    solver = sd.Adaptive(rtol=0.1, atol=0.5)
    x, low = torch.tensor([[1.0, -5.0], [0.0, 0.0]]), torch.zeros(2, 2)
    new = torch.tensor([[3.0, 1.0], [0.6, 0.0]])
    by_hand = math.sqrt(((3 / 0.8) ** 2 + (1 / 1.0) ** 2) / 2)
    assert solver._error(x, new, new - low) == pytest.approx(by_hand)
    assert solver._error(x[:, 0], new[:, 0], new[:, 0] - low[:, 0]) == pytest.approx(3 / 0.8)
    assert sd.solve(equation(), sd.Adaptive(), torch.zeros(0, 2), [1.0, 0.5]).shape == (0, 2)
    assert (sd.Adaptive().rtol, sd.Adaptive().atol) == (1e-4, 1e-4)


@pytest.mark.parametrize("pair", [sd.Heun, sd.Bosh3, sd.Dopri5])
@pytest.mark.parametrize("tol", [1e-3, 1e-5, 1e-7])
def test_adaptive_meets_its_tolerance(pair, tol):
    """The global error of a contracting ODE stays within 3x the tolerance, and every network call is counted."""
    process = sd.process.VP()
    law = sd.distributions.gaussian((0.5,), 0.4)
    denoise = sd.NFE(law.denoiser(process))
    ode = sd.Reverse(process, denoise, 0.0)
    x = sd.noise.normal((32, 1), 1, dtype=F64)

    def spread(t):
        return (process.alpha(t) ** 2 * 0.4**2 + process.var(t)).sqrt()

    exact = process.alpha(0.01) * 0.5 + (x - process.alpha(1.0) * 0.5) * spread(0.01) / spread(1.0)
    if pair is sd.Heun and tol < 1e-5:
        tol = 1e-6  # an order-2 pair needs thousands of steps below this
    solver = sd.Adaptive(pair(), rtol=tol, atol=tol)
    out = sd.solve(ode, solver, x, [1.0, 0.01])
    assert float((out - exact).abs().max()) < 3 * tol
    fsal, attempts = pair is not sd.Heun, solver.accepted + solver.rejected  # the first slope serves again
    assert solver.nfe == (len(pair.b) - 1 if fsal else 2)
    assert denoise.count == (solver.nfe * attempts + 2 if fsal else 2 * solver.accepted + solver.rejected + 1)


def test_adaptive_counts_rejections_and_stops_at_given_times():
    stiff = sd.SDE(lambda x, t: -50 * (x - torch.tanh(torch.tensor(40 * (t - 0.5)))))
    solver = sd.Adaptive(rtol=1e-5, atol=1e-5)
    stops = [t for t, _ in sd.trajectory(stiff, solver, torch.zeros(1, 1, dtype=F64), [0.0, 0.3, 0.5, 1.0])]
    assert stops == [0.0, 0.3, 0.5, 1.0] and solver.rejected > 0 and solver.accepted > 20


def test_alpha_zero_at_the_start_is_exact():
    """Rectified flow starts at alpha = 0, lam = -inf: the first exponential step is exact for every member."""
    process = sd.process.RectifiedFlow()
    law = sd.distributions.gaussian((0.4,), 0.3)
    x = sd.noise.normal((20, 1), 1, dtype=F64)
    for solver in (sd.ExpEuler(), sd.ExpAdams(3), sd.ExpAdams(2, corrector=True)):
        ode = sd.Reverse(process, law.denoiser(process), 0.0)
        first = sd.solve(ode, solver, x, [1.0, 0.9])
        torch.testing.assert_close(first, 0.1 * 0.4 + 0.9 * x, rtol=1e-12, atol=1e-12)
        sd.solve(ode, solver, x, sd.grids.uniform(process, 10))
    sde = sd.Reverse(process, law.denoiser(process), 1.0)
    assert sd.solve(sde, sd.ExpAdams(2), x, sd.grids.uniform(process, 10), seed=1).isfinite().all()
    with pytest.raises(ValueError, match="drift is infinite"):
        sd.solve(sde, sd.EulerMaruyama(), x, [1.0, 0.9], seed=1)


@pytest.mark.parametrize("grid", list(sd.grids.table))
@pytest.mark.parametrize("name", list(sd.process.table))
@pytest.mark.parametrize("zero", [False, True])
def test_grids(grid, name, zero):
    """From T to t_min or 0, decreasing; rules that end at 0 or start inside by themselves say so."""
    process, rule = sd.process.make(name), sd.grids.table[grid]
    for steps in (1, 2, 7, 40):
        try:
            ts = rule(process, steps, zero=zero)
        except ValueError as error:  # printed levels that this process does not reach
            assert grid == "ays_svd" and "another grid" in str(error)
            continue
        assert ts.dtype == F64 and len(ts) == steps + 1 and (ts.diff() < 0).all()
        assert ts[0] < process.T if rule.inside else ts[0] == process.T
        assert ts[-1] == (0 if zero else process.t_min)
        if zero and steps > 1 and not rule.to_zero:
            assert ts[-2] == process.t_min


def test_grid_formulas():
    edm = sd.process.EDM()
    n = torch.arange(10, dtype=F64) / 9
    published = (80 ** (1 / 7) + n * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7  # Karras et al., eq. 5
    torch.testing.assert_close(sd.grids.karras(edm, 9), published, rtol=1e-12, atol=0)
    vp = sd.process.VP()
    lam = vp.lam(sd.grids.logsnr(vp, 12))
    torch.testing.assert_close(lam.diff(), lam.diff().mean().expand(12), rtol=1e-9, atol=0)
    torch.testing.assert_close(sd.grids.exponential(vp, 12), sd.grids.polyexponential(vp, 12, rho=1.0))
    torch.testing.assert_close(sd.grids.exponential(vp, 12), sd.grids.polyexponential(vp, 12))
    r = torch.linspace(0, 1, 13, dtype=F64)
    bent = lam[0] + (1 - (1 - r) ** 2.5) * (lam[-1] - lam[0])
    torch.testing.assert_close(vp.lam(sd.grids.polyexponential(vp, 12, rho=2.5)), bent, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(sd.grids.uniform(vp, 12, t_end=0.1), 1 - 0.9 * r, rtol=1e-14, atol=0)
    root = 1 - r * (1 - 0.1**0.5)
    torch.testing.assert_close(sd.grids.quadratic(vp, 12, t_end=0.1), root**2, rtol=1e-14, atol=0)
    low, high = 0.1**0.2, 2.0**0.2  # another rho and other ends, and steps of NumPy's make
    ours = sd.grids.karras(edm, np.int64(12), t_start=2.0, t_end=0.1, rho=5.0)
    torch.testing.assert_close(ours, (high + r * (low - high)) ** 5, rtol=1e-12, atol=0)
    flow = sd.process.RectifiedFlow()  # lam is infinite at T: the grading starts a thousandth inside
    graded = flow.lam(sd.grids.logsnr(flow, 5, t_end=0.1))[1:]
    high, low = flow.lam(torch.tensor([0.999, 0.1], dtype=F64)).tolist()
    torch.testing.assert_close(graded, torch.linspace(high, low, 6, dtype=F64)[1:], rtol=1e-9, atol=1e-9)


def test_sample_by_name():
    process = sd.process.VP()
    denoise = sd.NFE(LAW.denoiser(process))
    x_T = start(process)
    out = sd.sample(denoise, process, x_T, solver="dpmpp_2m", grid="karras", steps=20, seed=7)
    assert denoise.count == 20
    ode = sd.Reverse(process, LAW.denoiser(process), 0.0)
    torch.testing.assert_close(out, sd.solve(ode, sd.DPMpp2M(), x_T, sd.grids.karras(process, 20, zero=True)))
    for key, budget, spent in (("heun", 21, 21), ("heun", 20, 19), ("rk4", 20, 17), ("ddim", 10, 10)):
        denoise.count = 0
        sd.sample(denoise, process, x_T, solver=key, grid="logsnr", nfe=budget)
        assert denoise.count == spent
    denoise.count = 0
    out = sd.sample(denoise, process, x_T, solver="ddim", grid="logsnr", nfe=np.int64(10), final="stop")
    assert denoise.count == 10
    torch.testing.assert_close(out, sd.solve(ode, sd.ExpEuler(), x_T, sd.grids.logsnr(process, 10)))
    plain = sd.sample(denoise, process, x_T, solver="ddpm", steps=6)
    named = {"grid": "karras", "final": "denoise", "eta": 1.0, "seed": 0}
    assert torch.equal(plain, sd.sample(denoise, process, x_T, solver="ddpm", steps=6, **named))
    split = sd.sample(denoise, process, x_T[8:], solver="ddpm", steps=6, first=8)
    torch.testing.assert_close(split, plain[8:], rtol=1e-9, atol=1e-9)
    half = sd.Reverse(process, LAW.denoiser(process), 0.5)
    by_hand = sd.solve(half, sd.ExpEuler(), x_T, sd.grids.karras(process, 6, zero=True), seed=0)
    assert torch.equal(sd.sample(denoise, process, x_T, solver="ddpm", steps=6, eta=0.5), by_hand)


def test_adaptive_rows_by_name():
    process = sd.process.VP()
    x_T = start(process)
    ode = sd.Reverse(process, LAW.denoiser(process), 0.0)
    by_hand = sd.solve(ode, sd.Adaptive(), x_T, [process.T, process.t_min, 0.0])
    assert torch.equal(sd.sample(LAW.denoiser(process), process, x_T, solver="rk45"), by_hand)
    stop = sd.sample(LAW.denoiser(process), process, x_T, solver="rk45", final="stop")
    assert torch.equal(stop, sd.solve(ode, sd.Adaptive(), x_T, [process.T, process.t_min]))
    picard, ddim = (
        sd.sample(LAW.denoiser(process), process, x_T, solver=s, steps=9, grid="logsnr") for s in ("picard", "ddim")
    )
    torch.testing.assert_close(picard, ddim, rtol=1e-10, atol=1e-10)


def test_one_network_serves_every_process():
    """Claim N1's algebra: the ODE solution depends on lam alone, so x/alpha agrees between VP, VE and flow."""
    lam = [-2.0, 1.5]
    ends = []
    for name in ("vp", "ve", "edm", "flow", "cosine", "subvp"):
        process = sd.process.make(name)
        ts = [float(process.t_of_lam(v)) for v in torch.linspace(lam[0], lam[1], 30).tolist()]
        y = sd.noise.normal((6, 2), 1, dtype=F64) * 8
        ode = sd.Reverse(process, LAW.denoiser(process), 0.0)
        ends.append(sd.solve(ode, sd.ExpAdams(2), process.alpha(ts[0]) * y, ts) / process.alpha(ts[-1]))
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-7, atol=1e-7)


def equation(eta=0.0):
    process = sd.process.VP()
    return sd.Reverse(process, LAW.denoiser(process), eta)


def narrow():
    return sd.Reverse(sd.process.VP(), lambda x, t: x[:, :1], 0.0)


X = torch.ones(2, 2)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: sd.solve(equation(), sd.Heun(), X.long(), [1.0, 0.5]), TypeError, "floating-point"),
        (lambda: sd.solve(equation(), sd.Heun(), X * float("nan"), [1.0, 0.5]), ValueError, "NaN or infinite"),
        (lambda: sd.solve(equation(), sd.Heun(), torch.tensor(1.0), [1.0, 0.5]), ValueError, "batch axis"),
        (lambda: sd.solve(equation(), sd.Heun(), X, [0.5, 1.0]), ValueError, "times must decrease"),
        (lambda: sd.solve(equation(), sd.Heun(), X, [0.5, 0.5]), ValueError, "strictly monotone"),
        (lambda: sd.solve(equation(), sd.Heun(), X, [0.5]), ValueError, "at least two times"),
        (lambda: sd.solve(equation(), sd.Heun(), X, [1.5, 0.5]), ValueError, r"lie in \[0, T = 1.0\]"),
        (lambda: sd.solve(equation(), sd.Heun(), X, [1.0, -0.5]), ValueError, r"lie in \[0, T = 1.0\]"),
        (lambda: sd.solve(equation(), sd.Heun(), X, [1.0, math.nan]), ValueError, "finite"),
        (lambda: sd.solve(equation(), sd.Heun(), X, "abc"), TypeError, "vector of numbers"),
        (lambda: sd.solve(equation(), sd.Heun(), X, None), TypeError, "vector of numbers"),
        (lambda: sd.solve(equation(), sd.Heun(), np.ones((2, 2)), [1.0, 0.5]), TypeError, "not ndarray"),  # type: ignore[arg-type]
        (lambda: sd.solve(equation(), sd.Heun, X, [1.0, 0.5]), TypeError, "solver object"),
        (lambda: sd.solve(equation(1.0), sd.Heun(), X, [1.0, 0.5], seed=0), ValueError, "use eta=0"),
        (lambda: sd.solve(sd.SDE(lambda x, t: x[:, 0]), sd.Heun(), X[:, :1], [0, 1]), ValueError, "shape and dtype"),
        (lambda: sd.solve(sd.SDE(lambda x, t: x.double()), sd.Heun(), X, [0, 1]), ValueError, "shape and dtype"),
        (lambda: sd.solve(narrow(), sd.ExpEuler(), X, [1.0, 0.5]), ValueError, r"denoiser returned shape \(2, 1\)"),
        (lambda: sd.solve(sd.OU(), sd.EulerMaruyama(), X, [0, 1], brownian=sd.Brownian((2, 1), 0, 1, 1)), ValueError,
         "the path has shape"),
        (lambda: sd.solve(equation(20.0), sd.ExpEuler(), X, [1.0, 0.9], brownian=lambda a, b: X), ValueError,
         "eta is too large for a path"),
        (lambda: sd.Reverse(sd.process.VP(), LAW.denoiser(sd.process.VP()), math.inf), ValueError, "noise level"),
        (lambda: sd.Reverse(sd.process.VP(), LAW.denoiser(sd.process.VP()), math.nan), ValueError, "noise level"),
        (lambda: sd.SDE(lambda x, t: x, 0.5), TypeError, "functions of"),  # type: ignore[arg-type]
        (lambda: sd.grids.uniform(sd.process.VP(), 2.5), ValueError, "positive integer"),  # type: ignore[arg-type]
        (lambda: sd.OU(theta=math.nan), ValueError, "theta > 0"),
        (lambda: sd.solve(equation(1.0), sd.EulerMaruyama(), X, [1.0, 0.5]), ValueError, "pass seed="),
        (lambda: sd.solve(equation(1.0), sd.DPMpp2M(), X, [1.0, 0.5], seed=0), ValueError, r"2M solves the ODE"),
        (lambda: sd.solve(sd.OU(), sd.ExpEuler(), X, [0.0, 0.5], seed=0), ValueError, "needs a Reverse"),
        (lambda: sd.solve(equation(), "heun", X, [1.0, 0.5]), TypeError, "names are for sd.sample"),
        (lambda: sd.solve(lambda x, t: x, sd.Heun(), X, [1.0, 0.5]), TypeError, "must be an SDE"),  # type: ignore[arg-type]
        (lambda: sd.Reverse(sd.process.VP(), LAW.denoiser(sd.process.VP()), -1.0), ValueError, "noise level"),
        (lambda: sd.ExpAdams(7), ValueError, "order must be"),
        (lambda: sd.Adaptive(sd.RK4()), ValueError, "no embedded error"),
        (lambda: sd.Adaptive(rtol=0, atol=0), ValueError, "tolerances"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="dpmpp2m", steps=3), ValueError, "did you mean 'dpmpp_2m'"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="ddim", grid="karas", steps=3), ValueError, "'karras'"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="ddim"), ValueError, "either steps or nfe"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="rk45", nfe=9), ValueError, "chooses its own calls"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="picard"), ValueError, "give its steps"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="rk4", nfe=3), ValueError, "too few"),
        (lambda: sd.sample(None, sd.process.VP(), X, solver="ddim", steps=3, final="no"), ValueError, "final must be"),
        (lambda: sd.grids.karras(sd.process.VP(), 0), ValueError, "positive integer"),
        (lambda: sd.grids.karras(sd.process.VP(), 5, t_end=0.0), ValueError, "log-SNR, which is infinite"),
        (lambda: sd.grids.uniform(sd.process.VP(), 5, t_start=2.0), ValueError, "t_start <= T"),
        (lambda: sd.OU(theta=0.0), ValueError, "theta > 0"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_divergence_names_step_and_time():
    unstable = sd.SDE(lambda x, t: x**3)
    with pytest.raises(FloatingPointError, match=r"Euler diverged in step \d+ of 40, t = "):
        sd.solve(unstable, sd.Euler(), 3 * X, torch.linspace(0, 10, 41))
    process = sd.process.VP()
    broken = sd.Reverse(process, lambda x, t: x * float("nan"), 0.0)
    with pytest.raises(FloatingPointError, match="step 1 of 1"):
        sd.solve(broken, sd.ExpEuler(), X, [1.0, 0.5])
    with pytest.raises(FloatingPointError, match="denoising step"):
        sd.solve(broken, sd.ExpEuler(), X, [1.0, 0.0])
    with pytest.raises(FloatingPointError, match="denoising step"):
        list(sd.trajectory(broken, sd.ExpEuler(), X, [1.0, 0.0]))
    with pytest.raises(FloatingPointError, match="5 steps were not enough at t = "):
        sd.solve(sd.SDE(lambda x, t: -x), sd.Adaptive(rtol=1e-9, atol=1e-9, max_steps=5), X, [0.0, 1.0])
    with pytest.raises(FloatingPointError, match="step size collapsed at t = "):
        sd.solve(sd.SDE(lambda x, t: x * float("nan")), sd.Adaptive(), X, [0.0, 1.0])


def test_progress_is_shown_when_asked_for(capsys):
    """On a run of more than two seconds; left alone, it shows on a terminal only, which this is not."""

    def slow(x, t):
        time.sleep(0.45)
        return -x

    for progress, shown in ((None, False), (True, True)):
        sd.solve(sd.SDE(slow), sd.Euler(), X, torch.linspace(0, 1, 6), progress=progress)
        told = capsys.readouterr().err
        assert ("Euler" in told and "/5" in told) == shown, told
