"""Orders, measured by closed form: never by Monte Carlo, never looser than +-0.15."""

import math

import pytest
import torch

import sdelab as sd
from sdelab import orders
from sdelab.orders import FROM_NOISE, MEAN, STD, linear_problem, ode_error, slope, weak_order

F64 = torch.float64
TOLERANCE = 0.15
TABLE = [r for r in sd.solvers.table if not r.adaptive]
ODE_ROWS, STOCHASTIC = [r for r in TABLE if not r.stochastic], [r for r in TABLE if r.stochastic]


def processes_of(row, number):
    """Where a row is measured here: those it names; in t, three; else vp and, by turns, one of the others, which differ
    from vp by a change of variables. The book's page has vp, edm and flow of every row (test_solver_page.py)."""
    if "processes" in row.measure:
        return row.measure["processes"]
    if row.family != "exponential":
        return ("vp", "edm", "flow")
    _, *others = FROM_NOISE
    return ("vp", others[number % len(others)])


CASES = [(row, name) for number, row in enumerate(ODE_ROWS) for name in processes_of(row, number)]


def ident(v) -> str:
    return getattr(v, "key", str(v))


@pytest.mark.parametrize("name", sd.process.table)
def test_the_problems_denoiser_is_that_of_its_gaussian(name):
    process, x = sd.process.make(name), torch.linspace(-3, 3, 9, dtype=F64)[:, None]
    law = sd.distributions.gaussian((MEAN,), STD).denoiser(process)
    for t in (float(process.t_min), 0.3 * process.T, 0.9 * process.T, process.T):
        torch.testing.assert_close(linear_problem(process, 0.0).denoise(x, t), law(x, t), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("row, name", CASES, ids=ident)
def test_ode_order(row, name):
    assert orders.ode_order(row, name) == pytest.approx(row.order, abs=TOLERANCE)


def test_no_row_goes_unmeasured():
    """But the one whose errors cancel on Gaussian data: test_sigma.py measures it on a mixture. A row that a path
    drives states a strong order; adaptive rows meet their tolerance in test_adaptive.py and test_solve.py."""
    assert {r.key for r in ODE_ROWS} - {r.key for r, _ in CASES} == {"edm_midpoint"}
    x, process = torch.ones(2, 1, dtype=F64), sd.process.VP()
    times = sd.grids.logsnr(process, 6, t_start=0.9, t_end=0.02)
    for row in STOCHASTIC:
        try:
            equation = linear_problem(process, row.eta)
            sd.solve(equation, row.make(), x, times, brownian=lambda a, b: 0 * x)
        except ValueError as error:
            assert "no Brownian path" in str(error) or "area" in str(error), row.key
            assert ("area" in str(error)) == (row.strong is not None), row.key
        else:
            assert row.strong is not None, row.key


@pytest.mark.parametrize("row", [r for r in ODE_ROWS if r.family == "classical"], ids=ident)
def test_order_on_a_nonlinear_ode(row):
    """x' = x^2 cos t, x = x_0/(1 - x_0 sin t): linear problems cannot see every order condition."""
    ode = sd.SDE(lambda x, t: x * x * math.cos(t))
    x0 = torch.tensor([[0.3], [0.7], [-0.7]], dtype=F64)
    exact = x0 / (1 - x0 * math.sin(3.0))
    steps = (160, 320, 640) if row.order < 5 else (60, 120, 240)
    errors = [float((sd.solve(ode, row.make(), x0, torch.linspace(0, 3.0, n + 1)) - exact).abs().max()) for n in steps]
    assert slope(steps, errors) == pytest.approx(row.order, abs=TOLERANCE), errors


@pytest.mark.parametrize("row", STOCHASTIC, ids=ident)
def test_weak_order(row):
    """Mean and variance of the output, exactly, at the row's own noise level."""
    assert weak_order(row) == pytest.approx(row.order, abs=TOLERANCE)


@pytest.mark.parametrize("key", ["euler_maruyama", "ddpm"])
@pytest.mark.parametrize("eta", [0.5, 1.5])
def test_weak_order_at_other_noise_levels(key, eta):
    assert weak_order(sd.solvers.row(key), eta=eta) == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize("row", [r for r in STOCHASTIC if r.strong is not None], ids=ident)
def test_strong_order(row):
    """Mean error on one Brownian path against a fine run on the same path."""
    assert orders.strong_order(row) == pytest.approx(row.strong, abs=TOLERANCE)


def test_a_wrong_weight_would_be_seen():
    """Twin with a planted fault: the midpoint ratio of 2M off by 3 % is no longer second order."""

    class Faulty(sd.DPMpp2M):
        def weights(self, h, k, nodes):
            w = super().weights(h, k, nodes)
            return w if len(w) == 1 else [w[0] - 0.03 * w[1] * -1, w[1] * 0.97]

    process, steps = sd.process.VP(), orders.STEPS[False][2]
    errors = [ode_error(Faulty(), process, sd.grids.logsnr(process, n, t_end=0.02)) for n in steps]
    assert abs(slope(steps, errors) - 2) > TOLERANCE, errors


@pytest.mark.parametrize("points, corrector", [(2, False), (3, False), (1, True), (2, True)])
def test_weak_order_of_stochastic_adams(points, corrector):
    """At eta = 1 every member but the first is of weak order 2, reached from above."""
    row = sd.solvers.Row("", "", "", lambda: sd.ExpAdams(points, corrector), 2, 1, "", True,
                         measure={"weak_steps": (400, 800)})  # fmt: skip
    assert weak_order(row) == pytest.approx(2, abs=TOLERANCE)


def strong_slope(equation, solver, exact, t1=1.0, rows=400, steps=(16, 32, 64, 128, 256)) -> float:
    """Mean absolute error at t1 against the exact solution on the *same* path, over refinements."""
    path = sd.Brownian((rows, 1), 0.0, t1, seed=11, dtype=F64, depth=12)
    x0 = torch.ones(rows, 1, dtype=F64)
    errors = []
    for n in steps:
        times = torch.linspace(0, t1, n + 1, dtype=F64)
        out = sd.solve(equation, solver, x0, times, brownian=path)
        errors.append(float((out - exact(x0, path)).abs().mean()))
    return slope(steps, errors)


def test_strong_order_gbm():
    gbm = sd.GBM(0.5, 0.8)
    exact = lambda x0, path: gbm.exact_path(x0, 1.0, path(0.0, 1.0))  # noqa: E731
    assert strong_slope(gbm, sd.EulerMaruyama(), exact) == pytest.approx(0.5, abs=TOLERANCE)  # not additive noise
    assert strong_slope(gbm, sd.Milstein(), exact) == pytest.approx(1.0, abs=TOLERANCE)


def test_strong_order_additive_noise():
    """Additive noise: Euler–Maruyama is of strong order 1, and Milstein is the same method bit for bit."""
    process, law = sd.process.VP(), sd.distributions.gaussian((MEAN,), STD)
    equation = sd.Reverse(process, law.denoiser(process), 1.0)
    path = sd.Brownian((300, 1), 0.05, 0.9, seed=5, dtype=F64, depth=14)
    x = sd.noise.normal((300, 1), 3, dtype=F64)
    fine = sd.solve(equation, sd.EulerMaruyama(), x, torch.linspace(0.9, 0.05, 4097, dtype=F64), brownian=path)
    steps, errors = (32, 64, 128, 256), []
    for n in steps:
        times = torch.linspace(0.9, 0.05, n + 1, dtype=F64)
        out = sd.solve(equation, sd.EulerMaruyama(), x, times, brownian=path)
        torch.testing.assert_close(sd.solve(equation, sd.Milstein(), x, times, brownian=path), out, rtol=0, atol=1e-14)
        errors.append(float((out - fine).abs().mean()))
    for key in ("euler_maruyama", "milstein"):
        assert slope(steps, errors) == pytest.approx(sd.solvers.row(key).strong, abs=TOLERANCE)


def test_exponential_solver_converges_on_one_path():
    """Driven by one path in the clock e^{2 lam}, the DDPM step converges strongly; fresh draws do not."""
    process = sd.process.VP()
    equation = linear_problem(process, 1.0)
    lam = [float(process.lam(t)) for t in (0.9, 0.05)]
    path = sd.Brownian((100, 1), math.exp(2 * lam[0]), math.exp(2 * lam[1]), seed=5, dtype=F64, depth=30)
    x = sd.noise.normal((100, 1), 3, dtype=F64)

    def run(n, **noise):
        return sd.solve(equation, sd.ExpEuler(), x, sd.grids.logsnr(process, n, t_start=0.9, t_end=0.05), **noise)

    fine = run(1024, brownian=path)
    steps = (8, 16, 32, 64)
    errors = [float((run(n, brownian=path) - fine).abs().mean()) for n in steps]
    assert slope(steps, errors) == pytest.approx(sd.solvers.row("ddpm").strong, abs=TOLERANCE)
    assert float((run(64, seed=1) - run(1024, seed=1)).abs().mean()) > 20 * errors[-1]
