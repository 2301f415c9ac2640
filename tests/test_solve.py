"""The loop, the grids and the named surface: protocol over every row, and every error message."""

import itertools
import time

import pytest
import torch

import sdelab as sd

F64 = torch.float64
ROWS = sd.solvers.table
LAW = sd.distributions.ring()


def start(process, n=12, dtype=F64):
    return sd.noise.prior(process, (n, 2), seed=5, dtype=dtype)


def times(process, steps=8, zero=False):
    return sd.grids.logsnr(process, steps, t_start=0.98 * process.T, zero=zero)


@pytest.mark.parametrize("name", list(sd.process.table))
@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.key)
def test_protocol(row, name):
    """NFE as stated, deterministic by seed, batch-split invariant, dtype kept, finite, input untouched."""
    process = sd.process.make(name)
    denoise = sd.NFE(LAW.denoiser(process))
    equation = sd.Reverse(process, denoise, row.eta)
    x, ts = start(process), times(process)
    kept = x.clone()
    out = sd.solve(equation, row.make(), x, ts, seed=3)
    assert denoise.count == row.nfe * 8
    assert torch.equal(x, kept) and out.shape == x.shape and out.isfinite().all()
    assert torch.equal(out, sd.solve(equation, row.make(), x, ts, seed=3))
    halves = [sd.solve(equation, row.make(), x[a:b], ts, seed=3, first=a) for a, b in ((0, 5), (5, 12))]
    torch.testing.assert_close(torch.cat(halves), out, rtol=1e-9, atol=1e-9)
    single = sd.solve(equation, row.make(), x.float(), ts, seed=3)
    assert single.dtype == torch.float32
    if row.order < 5:  # eight steps of a high-order method in t amplify rounding
        torch.testing.assert_close(single.double(), out, rtol=2e-2, atol=2e-2)
    other = sd.solve(equation, row.make(), x, ts, seed=4)
    assert torch.equal(other, out) != row.stochastic


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.key)
def test_the_last_step_to_zero_is_denoising(row):
    process = sd.process.VP()
    equation = sd.Reverse(process, LAW.denoiser(process), row.eta)
    x, ts = start(process), times(process, zero=True)
    inner = sd.solve(equation, row.make(), x, ts[:-1], seed=3)
    torch.testing.assert_close(sd.solve(equation, row.make(), x, ts, seed=3), equation.denoise(inner, float(ts[-2])))
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
    assert denoise.count == pair().nfe * (solver.accepted + solver.rejected)


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
    process = sd.process.make(name)
    for steps in (1, 2, 7, 40):
        ts = sd.grids.make(grid, process, steps, zero=zero)
        assert ts.dtype == F64 and len(ts) == steps + 1 and (ts.diff() < 0).all()
        assert ts[0] == process.T and ts[-1] == (0 if zero else process.t_min)
        if zero and steps > 1:
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
    sd.sample(denoise, process, x_T, solver="ddim", grid="logsnr", nfe=10, final="stop")
    assert denoise.count == 10


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
        (lambda: sd.solve(equation(1.0), sd.Heun(), X, [1.0, 0.5], seed=0), ValueError, "use eta=0"),
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


def test_progress_is_shown_when_asked_for(capsys):
    """On a run of more than two seconds; left alone, it shows on a terminal only, which this is not."""

    def slow(x, t):
        time.sleep(0.45)
        return -x

    for progress, shown in ((None, False), (True, True)):
        sd.solve(sd.SDE(slow), sd.Euler(), X, torch.linspace(0, 1, 6), progress=progress)
        told = capsys.readouterr().err
        assert ("Euler" in told and "/5" in told) == shown, told
