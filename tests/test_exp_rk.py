"""Single-step exponential integrators, DPM-Solver's policies, Taylor steps and Picard sweeps, by other routes."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad

import sdelab as sd
from sdelab.orders import linear_problem, slope, weak_order
from sdelab.process.base import like
from sdelab.solvers import DPMAdaptive, DPMFast, ExpRK, Picard, Row, Singlestep, Tableau, Taylor2, exp_rk
from sdelab.solvers.exp_rk import ETD3, EULER, HOCHBRUCK_OSTERMANN, KROGSTAD, collocation3, dpm3, midpoint, trapezium

F64 = torch.float64
VP, EDM, FLOW = sd.process.VP(), sd.process.EDM(), sd.process.RectifiedFlow()
LAW = sd.distributions.GaussianMixture(
    [0.3, 0.5, 0.2],
    [[-0.8, 0.2], [0.6, 0.5], [0.3, -0.9]],
    [[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.08], [-0.08, 0.3]], [[0.25, 0], [0, 0.15]]],
)
X = sd.noise.normal((8, 2), 3, dtype=F64)
START, END = 0.8, 0.1
MODULES = ("exp_rk", "dpm", "taylor", "parallel")
ROWS = [r for r in sd.solvers.table if getattr(r.make, "__module__", "").rpartition(".")[2] in MODULES]


def ode(process: sd.process.Process = VP, denoise=None):
    return sd.Reverse(process, denoise or LAW.denoiser(process), 0.0)


def times(n, process=VP, start=START, end=END):
    return sd.grids.logsnr(process, n, t_start=start, t_end=end)


@pytest.fixture(scope="module")
def truth():
    """A converged solution by a method of another class, so that no tableau checks itself."""
    return sd.solve(ode(), sd.Dopri5(), X, torch.linspace(START, END, 201, dtype=F64))


def nonlinear_order(make, truth, steps) -> float:
    return slope(steps, [float((sd.solve(ode(), make(), X, times(n)) - truth).abs().max()) for n in steps])


NONLINEAR = {1: (60, 120), 2: (30, 60, 120), 3: (30, 60, 120), 4: (24, 48, 96)}


@pytest.mark.parametrize("row", [r for r in ROWS if not (r.adaptive or r.stochastic)], ids=lambda r: r.key)
def test_order_on_a_nonlinear_problem(row, truth):
    """A linear problem could hide an order condition: here the denoiser is that of a mixture in the plane."""
    steps = (12, 24, 48) if row.make().__class__ is Taylor2 else NONLINEAR[row.order]  # forward differentiation is slow
    if row.nfe == 1:
        steps = [3 * n for n in steps]
    assert nonlinear_order(row.make, truth, steps) == pytest.approx(row.order, abs=0.15)


def test_a_wrong_weight_would_be_seen(truth):
    """Twins with planted faults: a weight off by 3 %, and Krogstad's a_42 in the place of his a_43."""

    def bent(phi):
        (a,), (b1, b2) = midpoint().rows(phi)
        return [[a], [b1 - 0.03 * b2, 1.03 * b2]]

    def swapped(phi):
        *rows, (a41, a42, a43), b = KROGSTAD.rows(phi)
        return [*rows, (a41, a43, a42), b]

    for tableau, order, rows in ((midpoint(), 2, bent), (KROGSTAD, 4, swapped)):
        faulty = Tableau(order, tableau.c, rows)
        assert abs(nonlinear_order(lambda t=faulty: ExpRK(t), truth, NONLINEAR[order]) - order) > 0.5


@pytest.mark.parametrize("z", [-9.0, -1.001, -1.0, -0.3, -1e-9, 0.0, 0.3, 1.0, 1.001, 7.0])
def test_phi_is_its_integral(z):
    for k in range(1, 5):
        integral = quad(lambda r, k=k: math.exp((1 - r) * z) * r ** (k - 1) / math.factorial(k - 1), 0, 1, epsrel=1e-12)
        assert exp_rk.phi(k, z) == pytest.approx(integral[0], rel=1e-12)
    assert exp_rk.phi(0, z) == math.exp(z)


TABLEAUX = {name: (getattr(exp_rk, name), degree) for name, degree in (
    ("EULER", 0), ("ETD3", 2), ("ETD4", 2), ("KROGSTAD", 2), ("STREHMEL_WEINER", 2), ("HOCHBRUCK_OSTERMANN", 2),
)} | {"trapezium": (trapezium(0.4), 1), "collocation3": (collocation3(0.2), 2), "res3": (exp_rk.res3(0.3, 0.9), 1),
      "midpoint": (midpoint(0.4), 0), "dpm3": (dpm3(0.2), 1)}  # fmt: skip


@pytest.mark.parametrize("name", TABLEAUX)
@pytest.mark.parametrize("z", [-2.5, -0.4, 1.7])
def test_tableaux_integrate_polynomials(name, z):
    """int_0^1 e^{(1-r) z} r^m dr by the weights b and the nodes c, and every stage exact for constants."""
    tableau, degree = TABLEAUX[name]
    *A, b = tableau.rows(lambda k, c=1.0: exp_rk.phi(k, c * z))

    def moment(m, c=1.0):
        return quad(lambda r: math.exp((c - r) * z) * r**m, 0, c, epsrel=1e-13)[0]

    assert len(A) == len(tableau.c) - 1 and [len(row) for row in A] == list(range(1, len(tableau.c)))
    for m in range(degree + 1):
        assert sum(w * c**m for w, c in zip(b, tableau.c, strict=True)) == pytest.approx(moment(m), rel=1e-10)
    for row, c in zip(A, tableau.c[1:], strict=True):
        assert sum(row) == pytest.approx(moment(0, c), rel=1e-10)
    if name in ("HOCHBRUCK_OSTERMANN", "res3", "dpm3"):  # stiff order 3: the stages' errors for linear N cancel
        stages = zip(b[1:], A, tableau.c[1:], strict=True)
        slips = [w * (sum(a * d for a, d in zip(row, tableau.c, strict=False)) - moment(1, c)) for w, row, c in stages]
        assert sum(slips) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", TABLEAUX)
def test_tableaux_at_rest_are_runge_kutta_methods(name):
    """z = 0 leaves a classical method, which satisfies the order conditions of Kutta."""
    tableau, _ = TABLEAUX[name]
    *A, last = tableau.rows(lambda k, c=1.0: exp_rk.phi(k, 0.0))
    n, c, b = len(last), torch.tensor(tableau.c, dtype=F64), torch.tensor(last, dtype=F64)
    a = torch.tensor([[*row, *[0.0] * (n - len(row))] for row in [[], *A]], dtype=F64)
    conditions = {
        1: [(b.sum(), 1)], 2: [(b @ c, 1 / 2)], 3: [(b @ c**2, 1 / 3), (b @ a @ c, 1 / 6)],
        4: [(b @ c**3, 1 / 4), ((b * c) @ a @ c, 1 / 8), (b @ a @ c**2, 1 / 12), (b @ a @ a @ c, 1 / 24)],
    }  # fmt: skip
    for order in range(1, tableau.order + 1):
        for left, right in conditions[order]:
            assert float(left) == pytest.approx(right, rel=1e-12)


def test_one_step_by_hand():
    """ETD-RK2 as Cox & Matthews write it, and DPM-Solver-2 as Lu et al. do."""
    D, (s, t) = LAW.denoiser(VP), (0.7, 0.5)
    a, b = (VP.alpha(v) for v in (s, t)), (VP.sigma(v) for v in (s, t))
    (alpha_s, alpha_t), (sigma_s, sigma_t) = a, b
    h = VP.lam(t) - VP.lam(s)
    y = sigma_t / sigma_s * X + alpha_t * (1 - (-h).exp()) * D(X, s)
    etd = y + alpha_t * ((-h).exp() - 1 + h) / h * (D(y, t) - D(X, s))
    torch.testing.assert_close(sd.solve(ode(), ExpRK(trapezium()), X, [s, t]), etd, rtol=1e-12, atol=1e-12)
    m = VP.t_of_lam((VP.lam(s) + VP.lam(t)) / 2)
    alpha_m, sigma_m = VP.alpha(m), VP.sigma(m)
    u = alpha_m / alpha_s * X - sigma_m * torch.expm1(h / 2) * (X - alpha_s * D(X, s)) / sigma_s
    dpm = alpha_t / alpha_s * X - sigma_t * torch.expm1(h) * (u - alpha_m * D(u, float(m))) / sigma_m
    torch.testing.assert_close(sd.solve(ode(), ExpRK(midpoint(), "eps"), X, [s, t]), dpm, rtol=1e-12, atol=1e-12)


def test_twins_within_the_package():
    """One stage is DDIM in both forms; on EDM's clock rho-RK is RK in t; the grid's own nodes are inner nodes."""
    ddim = sd.solve(ode(), sd.ExpEuler(), X, times(7))
    for value in ("D", "eps"):
        torch.testing.assert_close(sd.solve(ode(), ExpRK(EULER, value), X, times(7)), ddim, rtol=1e-12, atol=1e-12)
    edm = sd.grids.karras(EDM, 6, t_end=0.1)
    for p, method in ((2, sd.Heun()), (3, sd.solvers.RK3()), (4, sd.RK4())):
        rho = sd.solve(ode(EDM), sd.solvers.row(f"deis_rhork_{p}").make(), 80 * X, edm)
        torch.testing.assert_close(rho, sd.solve(ode(EDM), method, 80 * X, edm), rtol=1e-10, atol=1e-10)
    for value in ("D", "eps"):
        single = sd.solve(ode(), Singlestep(2, value), X, times(8))
        torch.testing.assert_close(single, sd.solve(ode(), ExpRK(midpoint(), value), X, times(8)[::2]))


def test_noise_of_the_stages_is_one_path():
    """At eta = 1 the weak order is 2, also where a later stage goes back, as from node 1 to 1/2."""
    for tableau in (midpoint(), HOCHBRUCK_OSTERMANN):
        row = Row("", "", "", lambda t=tableau: ExpRK(t), 2, 1, "", True, measure={"weak_steps": (80, 160)})
        assert weak_order(row) == pytest.approx(2, abs=0.15)
    asked = []

    def path(a, b):
        asked.append((a, b))
        return torch.zeros_like(X)

    sde = sd.Reverse(VP, LAW.denoiser(VP), 1.0)
    sd.solve(sde, ExpRK(collocation3()), X, times(2), brownian=path)
    assert len(asked) == 6 and all(before[1] == pytest.approx(after[0]) for before, after in itertools.pairwise(asked))


def test_dpm_fast_budgets():
    assert [DPMFast(N).orders(N // 3 + 1) for N in (1, 2, 3, 7, 8, 9)] == [
        [1], [2], [2, 1], [3, 3, 1], [3, 3, 2], [3, 3, 2, 1]]  # fmt: skip
    assert [DPMFast().fit(N)[1] for N in (0, 1, 2, 3, 30)] == [0, 1, 1, 2, 11]
    assert [DPMFast().calls(n) for n in (0, 1, 2, 8)] == [0, 2, 5, 23]
    for nfe in (2, 3, 6, 7, 20):
        count = sd.NFE(LAW.denoiser(VP))
        sd.sample(count, VP, X, solver="dpm_fast", grid="logsnr", nfe=nfe)
        assert count.count == nfe
    with pytest.raises(ValueError, match="takes 3 steps of DPM-Solver-fast, not 5"):
        sd.solve(ode(), DPMFast(8), X, times(5))


@pytest.mark.parametrize("rest, order", [(0, 2), (1, 2), (2, 3)])
def test_dpm_fast_loses_an_order_to_a_last_step_of_order_one(rest, order):
    """As the row's note says; the last step is a fixed share of the range, so its local error is what remains."""
    steps, solution = (30, 60, 120), sd.solve(linear_problem(VP, 0.0), ExpRK(KROGSTAD), X[:, :1], times(800))
    errors = [
        float(
            (sd.solve(linear_problem(VP, 0.0), DPMFast(3 * (n - 1) + rest), X[:, :1], times(n)) - solution).abs().max()
        )
        for n in steps
    ]
    assert slope(steps, errors) == pytest.approx(order, abs=0.15)


def test_singlestep_places_and_a_start_at_alpha_zero():
    assert Singlestep(3).places(8) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert Singlestep(3, lower_order_final=True).places(6) == [0, 1, 2, 0, 1, 0]
    assert Singlestep(2, lower_order_final=True).places(5) == [0, 1, 0, 1, 0]
    ts = [1.0, 0.9, 0.8, 0.7]  # no value is kept where alpha = 0: the block goes on as a block of two
    inner = sd.solve(ode(FLOW), sd.ExpEuler(), X, ts[:2])
    for value in ("D", "eps"):
        out = sd.solve(ode(FLOW), Singlestep(3, value), X, ts)
        torch.testing.assert_close(
            out, sd.solve(ode(FLOW), Singlestep(2, value), inner, ts[1:]), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("process", [VP, FLOW], ids=lambda p: p.name)
@pytest.mark.parametrize("order", [2, 3])
def test_dpm_adaptive_meets_its_tolerance(order, process):
    """From pure noise, alpha = 0 included, with every call and rejection counted.

    Steps that start small: the rule measures errors against the state before, which is large where noise is. The pair
    of order 3 may be blind to long steps, which tolerances of 1e-3 and looser allow (test_adaptive.py). What is
    asked for is max(atol, rtol |x|), sample by sample, and the worst sample counts.
    """
    equation = linear_problem(process, 0.0)
    x, start, end = sd.noise.prior(process, (8, 1), seed=1, dtype=F64), process.T, 0.02 * process.T
    truth = sd.solve(equation, ExpRK(KROGSTAD), x, sd.grids.logsnr(process, 400, t_start=start, t_end=end))
    solver = DPMAdaptive(order)
    for tol in (1e-2 if order == 2 else 3e-4, 1e-4):
        count = sd.NFE(equation.denoise)
        solver = DPMAdaptive(order, rtol=tol, atol=tol)
        out = sd.solve(sd.Reverse(process, count, 0.0), solver, x, [start, end])
        assert float(((out - truth).abs() / truth.abs().clamp_min(1)).max()) < 3 * tol
        assert solver.rejected > 0 and solver.accepted > 2
        away = 1 if process is FLOW else 0
        assert count.count == order * (solver.accepted - away) + (order - 1) * solver.rejected + away
    free, stops = solver.accepted, [start, 0.5 * start, 0.49999 * start, end]
    assert [t for t, _ in sd.trajectory(equation, solver, x, stops)] == stops
    assert solver.accepted <= free + 3  # a short interval between two stops does not shorten the steps after it


def test_taylor_by_hand():
    """GENIE's step in rho = sigma/alpha with deps/drho by differences along an exact solution."""
    s, t, D = 0.6, 0.45, LAW.denoiser(VP)
    count = sd.NFE(D)
    new = sd.solve(ode(denoise=count), Taylor2(), X, [s, t])
    assert count.count == 2

    def eps(x, v):
        return (x - VP.alpha(v) * D(x, v)) / VP.sigma(v)

    def rho(v):
        return float(VP.sigma(v) / VP.alpha(v))

    def difference(d):
        v = float(VP.t_of_lam(VP.lam(s) + d))
        return (eps(sd.solve(ode(), ExpRK(KROGSTAD), X, [s, v]), v) - eps(X, s)) / (rho(v) - rho(s)), rho(v) - rho(s)

    (one, d1), (two, d2) = difference(1e-3), difference(2e-3)
    dr, deps = rho(t) - rho(s), (one * d2 - two * d1) / (d2 - d1)
    by_hand = VP.alpha(t) * (X / VP.alpha(s) + dr * eps(X, s) + dr**2 / 2 * deps)
    torch.testing.assert_close(new, by_hand, rtol=1e-6, atol=1e-6)
    linear = ode(denoise=lambda x, t: 0 * x + 0.3 + like(VP.lam(t), x))  # D linear in lam: every step is exact
    one, many = (sd.solve(linear, Taylor2(True), X, times(n)) for n in (1, 5))
    torch.testing.assert_close(one, many, rtol=1e-12, atol=1e-12)
    exact = sd.solve(ode(FLOW), Taylor2(True), X, [1.0, 0.9])
    torch.testing.assert_close(exact, sd.solve(ode(FLOW), sd.ExpEuler(), X, [1.0, 0.9]))


SEQUENTIAL = {
    "ddim": sd.ExpEuler, "adams": lambda: sd.ExpAdams(3), "corrected": lambda: sd.ExpAdams(2, True),
    "noise": lambda: sd.solvers.DEIS(3), "single": lambda: Singlestep(3, "eps"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEQUENTIAL)
@pytest.mark.parametrize("window", [None, 1, 7])
@pytest.mark.parametrize("process", [VP, FLOW], ids=lambda p: p.name)
def test_picard_is_the_sequential_answer(name, window, process):
    """To rounding, in at most as many sweeps as steps, every state of the trajectory and each call counted."""
    make, ts, count = SEQUENTIAL[name], sd.grids.logsnr(process, 24, zero=True), sd.NFE(LAW.denoiser(process))
    solver = Picard(make(), window)
    states = list(sd.trajectory(sd.Reverse(process, count, 0.0), solver, X, ts))
    for (t, x), (u, y) in zip(states, sd.trajectory(ode(process), make(), X, ts), strict=True):
        assert t == u
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)
    assert count.count == solver.sweeps + 1  # and the denoising step
    assert solver.sweeps == 23 if window == 1 else solver.sweeps < 23 and solver.evaluated > 23
    assert solver.order == make().order


def test_picard_with_noise_and_with_a_tolerance():
    sde = sd.Reverse(VP, LAW.denoiser(VP), 1.0)
    ts = times(24)
    ends = [math.exp(2 * float(VP.lam(t))) for t in (START, END)]
    path = sd.Brownian((8, 2), *ends, seed=2, dtype=F64)
    for seed, brownian in ((5, None), (None, path)):
        for make in (sd.ExpEuler, lambda: sd.ExpAdams(2)):
            for window in (None, 5):
                out = sd.solve(sde, Picard(make(), window), X, ts, seed, brownian=brownian)
                expected = sd.solve(sde, make(), X, ts, seed, brownian=brownian)
                torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match=r"use sd\.solve"):
        list(sd.trajectory(sde, Picard(), X, ts, seed=5))
    gaps, sweeps = [], []
    for tol in (1e-1, 1e-3, 1e-6):
        solver = Picard(tol=tol)
        gaps.append(float((sd.solve(ode(), solver, X, ts) - sd.solve(ode(), sd.ExpEuler(), X, ts)).abs().max()))
        sweeps.append(solver.sweeps)
        assert 0 < gaps[-1] < 3 * tol
    assert sweeps == sorted(sweeps) and sweeps[-1] < 24


@pytest.mark.parametrize("call, message", [
    (lambda: midpoint(0.0), "0 < r <= 1"),
    (lambda: dpm3(1.5), "0 < r <= 1"),
    (lambda: collocation3(2 / 3), "another, such as 1/3"),
    (lambda: exp_rk.res3(0.5, 0.5), "two different nodes"),
    (lambda: ExpRK(ETD3, "x0"), "'D' or 'eps'"),
    (lambda: Singlestep(4), "order is 1, 2 or 3"),
    (lambda: DPMAdaptive(4), "order must be 2 or 3"),
    (lambda: DPMAdaptive(atol=0.0), "atol > 0"),
    (lambda: Picard(sd.Heun()), "one call per step"),
    (lambda: Picard(window=0), "at least one step"),
    (lambda: sd.solve(sd.Reverse(VP, LAW.denoiser(VP), 1.0), ExpRK(ETD3, "eps"), X, [0.8, 0.5], seed=1), "every eta"),
    (lambda: sd.solve(sd.Reverse(VP, LAW.denoiser(VP), 1.0), Singlestep(2), X, [0.8, 0.5], seed=1), "solve the ODE"),
    (lambda: sd.solve(sd.OU(), Taylor2(), X, [0.0, 0.5], seed=1), "solves ODEs"),
    (lambda: sd.solve(sd.SDE(lambda x, t: x), Taylor2(), X, [0.0, 0.5]), "needs a Reverse"),
])  # fmt: skip
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_divergence_is_told():
    broken = ode(denoise=lambda x, t: x * float("nan"))
    with pytest.raises(FloatingPointError, match="step size collapsed"):
        sd.solve(broken, DPMAdaptive(), X, [0.8, 0.1])
    with pytest.raises(FloatingPointError, match="4 steps were not enough"):
        sd.solve(ode(), DPMAdaptive(max_steps=4, first=0.01), X, [0.8, 0.1])
    with pytest.raises(FloatingPointError, match="sweeps diverged"):
        sd.solve(sd.Reverse(VP, lambda x, t: x * float("nan"), 1.0), Picard(), X, [0.8, 0.5, 0.1], seed=1)
