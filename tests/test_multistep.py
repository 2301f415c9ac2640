"""Multistep solvers: their weights by quadrature, the slips in published rules, wrappers, starts and errors."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import sdelab as sd
from sdelab.orders import FROM_NOISE, ode_error, slope
from sdelab.solvers.exponential import DPMpp2M, DPMpp3M, ExpAdams, moments, through
from sdelab.solvers.linear import Entry, Linear, Stage, Step, decay, points
from sdelab.solvers.multistep import AB, DEIS, IPNDM, LMS, DEISTime, GradientEstimation, IPNDMv
from sdelab.solvers.pndm import FON, PLMS, PNDM
from sdelab.solvers.unipc import UniC, UniPC

F64 = torch.float64
LAW = sd.distributions.ring()
VP: sd.process.Process = sd.process.VP()
X = sd.noise.normal((20, 2), 3, dtype=F64)


def named(value) -> str:
    return f"{type(value).__name__}{value.order}"


def ode(process: sd.process.Process = VP):
    return sd.Reverse(process, LAW.denoiser(process), 0.0)


def graded(n=8, process=VP, grid="karras"):
    return sd.grids.make(grid, process, n, t_start=0.9, t_end=0.05)


def a_step(solver, process=VP, n=5):
    """The n-th step of a graded grid, as the solver sees it."""
    knots = points(process, graded(process=process).tolist())
    inner = solver.inner(process, knots)
    return Step(n, 8, knots[n], knots[n + 1], inner[n], knots[:n][::-1][: solver.history], 0.0)


@pytest.mark.parametrize("process", [VP, sd.process.RectifiedFlow()], ids=lambda p: p.name)
@pytest.mark.parametrize("solver", [DEIS(2), DEIS(4), LMS(3), LMS(4), DEISTime(2), DEISTime(4)], ids=named)
def test_weights_by_quadrature(solver, process):
    """alpha_t int L_j drho for the Lagrange polynomials L_j in the method's own variable, by adaptive quadrature."""
    step = a_step(solver, process)
    variable = {DEIS: lambda lam: lam, LMS: lambda lam: math.exp(-lam),
                DEISTime: lambda lam: float(process.t_of_lam(lam))}[type(solver)]  # fmt: skip
    at = [variable(p.lam) for p in (step.s, *step.past)]
    found = solver.entry(step).stages[-1].weights
    assert len(found) == len(at) == solver.order
    for j, w in enumerate(found):

        def integrand(lam, j=j):
            L = math.prod((variable(lam) - b) / (at[j] - b) for i, b in enumerate(at) if i != j)
            return -math.exp(-lam) * L

        exact = step.t.alpha * quad(integrand, step.s.lam, step.t.lam, epsabs=1e-13, epsrel=1e-12)[0]
        assert w == pytest.approx(exact, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("k", [1.0, 2.0, -1.0])
@pytest.mark.parametrize("h", [1e-9, 1e-4, 0.3, 1.0, 4.0])
def test_moments_by_quadrature(h, k):
    """Also for long and very short steps, and for the growing weight of noise prediction."""
    for n, m in enumerate(moments(k * h, 4)):
        exact = quad(lambda r, n=n: k * h * math.exp(-k * h * (1 - r)) * r**n, 0, 1, epsabs=0, epsrel=1e-13)[0]
        assert m == pytest.approx(exact, rel=1e-12)


def test_weights_through_nodes_are_exact_to_rounding():
    """Against rational arithmetic, on nodes as far and as near as graded grids have them."""
    for nodes in ([0.3], [1.0, 0.0], [0.0, -0.25, -3.5], [1.0, 0.0, -1.5, -1.625], [1.0, 0.0, -0.5, -0.75, -9.0]):
        m = [1.0, 0.5, -0.25, 3.0, 0.125][: len(nodes)]
        r = [Fraction(v) for v in nodes]
        exact = []
        for j in range(len(r)):
            coefficients = [Fraction(1)]  # of the Lagrange polynomial, lowest first
            for i in range(len(r)):
                if i != j:
                    up, by = [Fraction(0), *coefficients], [*(-r[i] * c for c in coefficients), Fraction(0)]
                    coefficients = [(a + b) / (r[j] - r[i]) for a, b in zip(up, by, strict=True)]
            exact.append(float(sum(c * Fraction(v) for c, v in zip(coefficients, m, strict=True))))
        np.testing.assert_allclose(through(nodes, m), exact, rtol=1e-14)


def test_published_3m_loses_half_of_its_second_difference():
    """Its weights, written with divided differences, differ from the exact ones by m_2/2 times the last difference."""
    exact, published = ExpAdams(3), DPMpp3M()
    step = a_step(exact)
    u = [0.0, *(p.lam - step.s.lam for p in step.past)]
    a, b = exact.entry(step).stages[0].weights, published.entry(step).stages[0].weights
    m2 = quad(lambda v: math.exp(v - step.h) * v * v, 0, step.h)[0]
    difference = [1 / ((u[j] - u[i]) * (u[j] - u[k])) for j, i, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1))]
    np.testing.assert_allclose(np.subtract(a, b), np.multiply(step.t.alpha * m2 / 2, difference), rtol=1e-9)


def order_on(solver, grid, steps=(240, 480, 960), name="vp") -> float:
    process = sd.process.make(name)
    start, end = FROM_NOISE[name]

    def grid_on(n):
        return sd.grids.make(grid, process, n, t_start=start, t_end=end)

    return slope(steps, [ode_error(solver, process, grid_on(n)) for n in steps])


def test_the_corrected_rules_have_the_claimed_order():
    """Side by side on one graded grid: as published, and without the slip."""
    assert order_on(DPMpp3M(), "logsnr") == pytest.approx(2, abs=0.1)
    assert order_on(ExpAdams(3), "logsnr") == pytest.approx(3, abs=0.1)
    assert order_on(IPNDMv(), "karras", (960, 1920)) == pytest.approx(2, abs=0.15)
    assert order_on(LMS(4), "karras") == pytest.approx(4, abs=0.15)
    assert order_on(GradientEstimation(1.5), "logsnr") == pytest.approx(2, abs=0.15)


def test_ipndm_v_on_equal_steps():
    """In rho, two of the slips do nothing there: what is left is 11/24 in place of 9/24 of the third difference."""
    ve = sd.process.EDM()
    ts = torch.linspace(10, 1, 9, dtype=F64).tolist()
    plan, right = (solver.entries(ode(ve), ts) for solver in (IPNDMv(), LMS(4)))
    h = ts[1] - ts[0]
    for n, (entry, exact) in enumerate(zip(plan, right, strict=True)):
        gap = np.subtract(entry.stages[0].weights, exact.stages[0].weights) / h
        np.testing.assert_allclose(gap, np.multiply(1 / 12, [1, -3, 3, -1]) if n > 2 else 0, atol=1e-12)
        np.testing.assert_allclose(np.divide(exact.stages[0].weights, h), AB[min(n, 3)], rtol=1e-11)


def test_ipndm_v_does_not_keep_a_constant_eps_on_karras_grids():
    """What a constant eps is multiplied by, relative to the DDIM step: 1 on geometric grids and nowhere else."""
    for grid, exact in (("logsnr", True), ("karras", False)):
        knots = points(VP, graded(grid=grid).tolist())
        plan = IPNDMv().entries(ode(), graded(grid=grid).tolist())
        sums = [
            sum(e.stages[0].weights) / (-t.sigma * math.expm1(t.lam - s.lam))
            for e, s, t in zip(plan, knots, knots[1:], strict=False)
        ]
        np.testing.assert_allclose(sums[:3], 1, rtol=1e-12)
        assert exact == bool(np.allclose(sums[3:], 1, rtol=1e-9)) and max(sums) < 1.5


def test_unipc_differs_from_the_exact_weights_in_single_differences_only():
    step = a_step(ExpAdams(3))
    for bh2 in (False, True):
        for p in (1, 2, 3):
            ours, exact = UniPC(p, bh2), ExpAdams(p, corrector=True)
            step = a_step(exact)
            a, b = ours.entry(step), exact.entry(step)
            assert (a.stages == b.stages) == (p != 2) and (a.correct == b.correct) == (p != 1)


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_unic_on_adams_is_its_corrector(p, eta):
    equation = sd.Reverse(VP, LAW.denoiser(VP), eta)
    a = sd.solve(equation, UniC(ExpAdams(p)), X, graded(), seed=1)
    assert torch.equal(a, sd.solve(equation, ExpAdams(p, corrector=True), X, graded(), seed=1))


def test_unic_raises_the_order_of_single_step_solvers():
    """A midpoint method of order 2 in lam becomes one of order 3; its first step, which has no past, stays."""

    class Midpoint(Linear):
        order, nfe, nodes = 2, 2, (0.5,)

        def entry(self, step):
            s, (m,), t = step.s, step.inner, step.t
            half = Stage(s.t, None, decay(s, m, 0.0), (-m.alpha * math.expm1(-step.h / 2),))
            return Entry((half, Stage(m.t, None, decay(s, t, 0.0), (-t.alpha * math.expm1(-step.h),))), remember=False)

    assert order_on(Midpoint(), "logsnr") == pytest.approx(2, abs=0.15)
    assert order_on(UniC(Midpoint()), "logsnr") == pytest.approx(3, abs=0.15)
    assert UniC(Midpoint()).order == 3
    single = sd.solvers.row("dpm_solver_2").make()  # its eps folded into D: a constant eps is solved exactly
    assert order_on(UniC(single), "logsnr") == pytest.approx(3, abs=0.15)
    first = [sd.solve(ode(), solver, X, [0.8, 0.6]) for solver in (Midpoint(), UniC(Midpoint()))]
    assert torch.equal(*first)
    denoise = sd.NFE(LAW.denoiser(VP))
    sd.solve(sd.Reverse(VP, denoise, 0.0), UniC(Midpoint()), X, graded())
    assert denoise.count == 16


@pytest.mark.parametrize("solver, extra", [(PLMS(), [1] * 9), (PNDM(), [3, 6, 9, 9]), (FON(), [3, 6, 9, 9])])
def test_warm_up_calls_are_counted(solver, extra):
    for steps, more in enumerate(extra, 1):
        denoise = sd.NFE(LAW.denoiser(VP))
        sd.solve(sd.Reverse(VP, denoise, 0.0), solver, X, graded(steps))
        assert denoise.count == solver.calls(steps) == steps + more


def test_fon_has_the_papers_weights_on_equal_steps():
    entry = FON().plan(ode(), torch.linspace(0.9, 0.1, 9, dtype=F64).tolist())[5]
    np.testing.assert_allclose(entry.stages[0].weights, -0.1 * np.array(AB[3]), rtol=1e-12)


def test_pndm_warm_up_is_runge_kutta_on_equal_steps():
    """In rho with eps as a function of rho alone, pseudo Runge–Kutta is Simpson's rule."""
    edm = sd.process.EDM()
    equation = sd.Reverse(edm, lambda x, t: x - t * torch.full_like(x, math.exp(-t)), 0.0)  # eps = e^{-rho}
    x = sd.solve(equation, PNDM(), torch.zeros(1, 1, dtype=F64), [3.0, 2.0])
    simpson = -(math.exp(-3) + 4 * math.exp(-2.5) + math.exp(-2)) / 6
    assert float(x) == pytest.approx(simpson, rel=1e-12)


@pytest.mark.parametrize("solver", [
    DEIS(3), LMS(4), IPNDM(), IPNDMv(), PLMS(), PNDM(), UniPC(3), DPMpp3M(), DEISTime(3),
], ids=named)  # fmt: skip
def test_a_start_without_signal(solver):
    """Rectified flow starts where alpha = 0: there one node is exact, and its value is not a node of later steps."""
    flow = sd.process.RectifiedFlow()
    out = sd.solve(ode(flow), solver, X, sd.grids.uniform(flow, 40, t_end=0.1))
    reference = sd.solve(ode(flow), ExpAdams(2), X, sd.grids.uniform(flow, 640, t_end=0.1))
    assert float((out - reference).abs().max()) < 0.05


@pytest.mark.parametrize("make, error, message", [
    (lambda: DEIS(5), ValueError, "order must be"),
    (lambda: UniPC(0), ValueError, "order must be"),
    (lambda: GradientEstimation(math.inf), ValueError, "gamma must be a finite number"),
    (lambda: UniC(sd.EulerMaruyama()), TypeError, "corrects exponential solvers"),  # type: ignore[arg-type]
    (lambda: UniC(FON()), TypeError, "corrects exponential solvers"),
    (lambda: sd.solve(ode(), UniC(sd.solvers.DPMSolverV3()), X, graded()), ValueError, "interpolates D"),
    (lambda: sd.solve(ode(), UniC(ExpAdams(2, True)), X, graded()), ValueError, "has no corrector of its own"),
    (lambda: sd.solve(ode(), UniC(DEIS(2)), X, graded()), ValueError, "interpolates D"),
    (lambda: sd.solve(sd.Reverse(VP, LAW.denoiser(VP), 1.0), LMS(2), X, graded(), seed=1), ValueError, "solves ODEs"),
    (lambda: sd.solve(sd.Reverse(VP, LAW.denoiser(VP), 1.0), UniC(DPMpp2M()), X, graded(), seed=1), ValueError,
     "2M solves the ODE"),
    (lambda: sd.solve(sd.OU(), FON(), X, [0.0, 1.0], seed=1), ValueError, "solves ODEs"),
    (lambda: sd.solve(sd.SDE(lambda x, t: -x), FON(), X, [0.0, 1.0]), ValueError, "needs a Reverse"),
])  # fmt: skip
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
