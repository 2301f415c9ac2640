"""DPM-Solver-v3: exact where its statistics are, the known methods for trivial ones, and statistics found again."""

import math

import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab.orders import FROM_NOISE, MEAN, STD, linear_problem, ode_error
from sdelab.solvers.dpm_v3 import DPMSolverV3, Table, calibrate, gaussian
from sdelab.solvers.multistep import DEIS

F64 = torch.float64
VP = sd.process.VP()
LAW = sd.distributions.ring()
X = sd.noise.normal((20, 2), 3, dtype=F64)


def constant(rest, s, b=0.0):
    return lambda lam: tuple(np.full_like(lam, c) for c in (rest, s, b))


def test_gaussian_data_are_solved_exactly():
    """With the statistics of N(m, std^2) there is no error at any number of steps; another std has one."""
    for name in ("vp", "edm"):
        process = sd.process.make(name)
        start, end = FROM_NOISE[name]
        for steps in (1, 2, 7):
            times = sd.grids.logsnr(process, steps, t_start=start, t_end=end)
            for order in (1, 2, 3):
                assert ode_error(DPMSolverV3(order, gaussian(STD)), process, times) < 2e-10
        assert ode_error(DPMSolverV3(1), process, times) > 1e-6


@pytest.mark.parametrize("corrector", [False, True])
def test_the_constant_b_alone_can_carry_the_drift(corrector):
    """For data N(m, std^2) f = -m l, so that s = 0, b = -m l' = 2 m l (1 - l) is exact as well."""

    def statistics(lam):
        rest, _, zero = gaussian(STD)(lam)
        return rest, zero, 2 * MEAN * (1 - rest) * rest

    times = sd.grids.logsnr(VP, 6, t_end=0.02)
    for order in (1, 2, 3):
        assert ode_error(DPMSolverV3(order, statistics, corrector), VP, times) < 1e-10
    equation = linear_problem(VP, 0.0)
    x = torch.linspace(-2, 2, 5, dtype=F64)[:, None]
    *_, (_, last) = sd.trajectory(equation, DPMSolverV3(3, statistics), x, times)
    assert torch.equal(last, sd.solve(equation, DPMSolverV3(3, statistics), x, times))


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("grid", ["karras", "uniform"])
def test_trivial_statistics_give_known_methods(order, grid):
    """l = 1, s = 0 is data prediction; l = 0, s = -1 noise prediction: exponential Adams and DEIS, to rounding."""
    ode = sd.Reverse(VP, LAW.denoiser(VP), 0.0)
    times = sd.grids.make(grid, VP, 9, t_start=0.9, t_end=0.05)
    for statistics, twin in ((constant(0.0, 0.0), sd.ExpAdams(order)), (constant(1.0, -1.0), DEIS(order))):
        out = sd.solve(ode, DPMSolverV3(order, statistics, corrector=False), X, times)
        torch.testing.assert_close(out, sd.solve(ode, twin, X, times), rtol=1e-11, atol=1e-11)


def test_the_corrector_of_order_2_is_the_trapezium_of_data_prediction():
    """l = 1, s = 0: its corrector takes the new value and the present one, with the exact weights."""
    seen = []
    ode = sd.Reverse(VP, lambda x, t: seen.append((t, x.clone())) or LAW.denoiser(VP)(x, t), 0.0)
    times = [0.7, 0.5, 0.3]
    sd.solve(ode, DPMSolverV3(2, constant(0.0, 0.0)), X, times)
    lam = [float(VP.lam(t)) for t in times]
    D = [LAW.denoiser(VP)(x, t) for t, x in seen]
    h, H = lam[1] - lam[0], lam[2] - lam[1]
    first = 1 - (1 - math.exp(-h)) / h
    corrected = VP.sigma(0.5) / VP.sigma(0.7) * X + VP.alpha(0.5) * (first * D[1] + (-math.expm1(-h) - first) * D[0])
    second = 1 - (1 - math.exp(-H)) / H
    slope = (D[1] - D[0]) / h
    end = VP.sigma(0.3) / VP.sigma(0.5) * corrected + VP.alpha(0.3) * (-math.expm1(-H) * D[1] + second * H * slope)
    ours = sd.solve(ode, DPMSolverV3(2, constant(0.0, 0.0)), X, times)
    torch.testing.assert_close(ours, end, rtol=1e-12, atol=1e-12)


def test_statistics_are_found_again():
    """On N(m, std^2 I) they are known: 1 - l for every batch, s = -2 (1 - l) and b = 0 where the means differ."""
    law = sd.distributions.gaussian((1.5, -0.5), 0.4)
    for process in (VP, sd.process.RectifiedFlow()):
        found = calibrate(law.denoiser(process), process, law.sample(16, seed=1, dtype=F64), t_end=0.05, knots=40)
        rest, s, b = gaussian(0.4)(found.lam)
        np.testing.assert_allclose(found.rest, rest, rtol=3e-4)
        np.testing.assert_allclose(found.s, s, rtol=3e-4)
        np.testing.assert_allclose(found.b, b, atol=3e-4)
        between = found.lam[:-1] + 0.4 * np.diff(found.lam)
        np.testing.assert_allclose(found(between)[0], gaussian(0.4)(between)[0], rtol=3e-4)
    again = calibrate(law.denoiser(process), process, law.sample(16, seed=1, dtype=F64), t_end=0.05, knots=40)
    assert np.array_equal(found.s, again.s)


def test_calibration_pays_at_few_steps():
    """On two moons, at eight steps: less than half of the errors of data and noise prediction of the same order."""
    law = sd.distributions.moons()
    denoise = law.denoiser(VP)
    solver = DPMSolverV3(2, calibrate(denoise, VP, law.sample(256, seed=1, dtype=F64)))
    ode = sd.Reverse(VP, denoise, 0.0)
    x = sd.noise.prior(VP, (64, 2), seed=3, dtype=F64)
    truth = sd.solve(ode, sd.ExpAdams(3, corrector=True), x, sd.grids.logsnr(VP, 300))

    def error(solver) -> float:
        return float((sd.solve(ode, solver, x, sd.grids.logsnr(VP, 8)) - truth).norm(dim=1).mean())

    assert (solver.statistics(np.linspace(-4, 2, 9))[1] <= 1e-3).all()  # cut at 0; splines may swing a little
    uncut = calibrate(denoise, VP, law.sample(256, seed=1, dtype=F64), s_max=math.inf)
    assert uncut.s.max() > 0.9 and (uncut.rest == calibrate(denoise, VP, law.sample(256, seed=1, dtype=F64)).rest).all()
    assert error(solver) < 0.5 * min(error(s) for s in (sd.ExpAdams(2), sd.ExpAdams(2, corrector=True), DEIS(2)))


def test_a_table_is_constant_outside_its_knots():
    table = Table([0.0, 1.0, 2.0, 3.0], [0.1, 0.2, 0.4, 0.5], [0, 1, 2, 3], [1, 1, 1, 1])
    for outside, inside in ((-5.0, 0.0), (9.0, 3.0)):
        assert np.array_equal(table(np.array([outside])), table(np.array([inside])))
    np.testing.assert_allclose(table(np.array([1.0, 2.0])), [[0.2, 0.4], [1, 2], [1, 1]], rtol=1e-12)


@pytest.mark.parametrize("make, message", [
    (lambda: DPMSolverV3(4), "order must be 1, 2 or 3"),
    (lambda: gaussian(0.0), "positive standard deviation"),
    (lambda: gaussian(math.inf), "positive standard deviation"),
    (lambda: calibrate(LAW.denoiser(VP), VP, X, knots=3), "at least 4"),
    (lambda: sd.solve(sd.Reverse(VP, LAW.denoiser(VP), 1.0), DPMSolverV3(), X, [0.5, 0.2], seed=1), "solves ODEs"),
])  # fmt: skip
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
