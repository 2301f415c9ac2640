"""Stochastic exponential integrators: identities, one step by hand, weak orders at other noise levels, planted faults.

The weak order is that of mean and variance on linear-Gaussian data, where they are the whole law.
"""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import sdelab as sd
from sdelab import orders
from sdelab.solvers import er_sde
from sdelab.solvers.dpmpp_sde import DPMpp2MSDE, DPMpp3MSDE, DPMppSDE, SDEDPMSolver
from sdelab.solvers.er_sde import ERSDE, phi_er, phi_sde
from sdelab.solvers.exp_rk import EULER, ExpRK, dpm3, midpoint
from sdelab.solvers.linear import clock
from sdelab.solvers.sa import SASolver, StochasticAdams
from sdelab.solvers.seeds import SEEDS

F64 = torch.float64
VP = sd.process.VP()
LAW = sd.distributions.ring()
X = LAW.at(VP, 0.95).sample(8, seed=1, dtype=F64)
TIMES = sd.grids.karras(VP, 7, t_start=0.95, t_end=0.05)
ETAS = (0.0, 0.6, 1.0, 1.5)
TOLERANCE = 0.15


def run(solver, eta, x=X, times: Any = TIMES, denoise=LAW.denoiser(VP), **noise):  # noqa: B008
    return sd.solve(sd.Reverse(VP, denoise, eta), solver, x, times, **(noise or {"seed": 3}))


def same(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


IDENTITIES = [
    (lambda: DPMpp2MSDE(True), lambda: sd.ExpAdams(2), ETAS),
    (DPMpp2MSDE, sd.DPMpp2M, (0.0,)),
    (DPMppSDE, lambda: ExpRK(midpoint()), (0.0, 1.0)),
    (lambda: DPMppSDE(0.3), lambda: ExpRK(midpoint(0.3)), (0.0, 1.0)),
    (lambda: SEEDS(1), lambda: SDEDPMSolver(1), ETAS),
    (lambda: SEEDS(1), lambda: ExpRK(EULER, "eps"), (0.0,)),
    (lambda: SEEDS(2), lambda: ExpRK(midpoint(), "eps"), (0.0,)),
    (lambda: SEEDS(3), lambda: ExpRK(dpm3(), "eps"), (0.0,)),
    (lambda: SDEDPMSolver(2), lambda: sd.DPMpp2M(noise=True), (0.0,)),
    (lambda: SDEDPMSolver(2, True), lambda: sd.ExpAdams(2, noise=True), (0.0,)),
    (lambda: SASolver(3, 4, exact=True), lambda: sd.ExpAdams(3, True), ETAS),
    (lambda: SASolver(3, 0, exact=True), lambda: sd.ExpAdams(3), ETAS),
    (lambda: SASolver(3, 3, 0.5), lambda: SASolver(3, 3, lambda t: 0.5), ETAS),
    (lambda: StochasticAdams(2, True), lambda: sd.ExpAdams(2, True), ETAS),
    (lambda: ERSDE(1, phi_sde), sd.ExpEuler, (0.0, 1.0)),
]


@pytest.mark.parametrize("one, other, etas", IDENTITIES)
def test_methods_that_are_one(one, other, etas):
    for eta in etas:
        same(run(one(), eta), run(other(), eta))


def test_noise_scales_and_eta_are_one_dial():
    """phi = r^{1 + a^2} at eta = 1 is the family at eta = a; tau(t) = a likewise. A path would run on another clock."""
    same(run(SASolver(2, 0, 0.6, exact=True), 1.0), run(sd.ExpAdams(2), 0.6))
    same(run(ERSDE(1, lambda r: r**1.36), 1.0), run(sd.ExpEuler(), 0.6))
    same(run(ERSDE(2, lambda r: r**1.36), 1.0), run(ERSDE(2, phi_sde), 0.6))
    same(run(ERSDE(2, lambda r: 3 * r), 1.0), run(ERSDE(2), 0.0))  # phi = r is the ODE, without noise by rounding


def test_dpmpp_sde_by_hand():
    """One step at k-diffusion's dial, both draws from one path: the noise over the step contains that to its middle."""
    eta, (s, t) = 0.7, (0.8, 0.5)
    lam = [float(VP.lam(s)), float(VP.lam(t))]
    m = float(VP.t_of_lam((lam[0] + lam[1]) / 2))
    c = [clock(eta**2, float(VP.lam(u))) for u in (s, m, t)]
    path = sd.Brownian((8, 2), c[0], c[2], seed=4, dtype=F64)
    denoise, D = LAW.denoiser(VP), LAW.denoiser(VP)(X, s)

    def to(u, D, end):
        ratio, ratio_s = math.exp(-float(VP.lam(u))), math.exp(-lam[0])
        up = eta * ratio * math.sqrt(1 - (ratio / ratio_s) ** 2)
        down = math.sqrt(ratio**2 - up**2)
        z = path(c[0], end) / math.sqrt(end - c[0])
        return float(VP.alpha(u)) * (D + down / ratio_s * (X / float(VP.alpha(s)) - D) + up * z)

    expected = to(t, denoise(to(m, D, c[1]), m), c[2])
    same(run(DPMppSDE(), eta, times=[s, t], brownian=path), expected)


def test_seeds_3_by_hand():
    """The paper's formulas at eta = 1: z_1, z_2, z_3 with e^{2h} - e^{4h/3}, e^{4h/3} - e^{2h/3}, e^{2h/3} - 1."""
    s, t = 0.8, 0.5
    h = float(VP.lam(t) - VP.lam(s))
    u, v = (float(VP.t_of_lam(VP.lam(s) + r * h)) for r in (1 / 3, 2 / 3))
    equation = sd.Reverse(VP, LAW.denoiser(VP), 1.0)
    alpha, sigma = ((lambda w, f=f: float(f(w))) for f in (VP.alpha, VP.sigma))
    z1, z2, z3 = (sd.noise.normal((8, 2), 3, (sd.noise.STEP, 0, *j), dtype=F64) for j in ((), (1,), (2,)))
    e, em1 = math.exp, math.expm1
    eps = equation.eps(X, s)
    y = alpha(u) / alpha(s) * X - 2 * sigma(u) * em1(h / 3) * eps + sigma(u) * math.sqrt(em1(2 * h / 3)) * z1
    D1 = equation.eps(y, u) - eps
    y = alpha(v) / alpha(s) * X - 2 * sigma(v) * em1(2 * h / 3) * eps
    y = y - 4 * sigma(v) * (em1(2 * h / 3) / (2 * h / 3) - 1) * D1
    y = y + sigma(v) * (math.sqrt(e(4 * h / 3) - e(2 * h / 3)) * z1 + math.sqrt(em1(2 * h / 3)) * z2)
    D2 = equation.eps(y, v) - eps
    x = alpha(t) / alpha(s) * X - 2 * sigma(t) * em1(h) * eps - 3 * sigma(t) * (em1(h) / h - 1) * D2
    x = x + sigma(t) * math.sqrt(e(2 * h) - e(4 * h / 3)) * z1
    x = x + sigma(t) * (math.sqrt(e(4 * h / 3) - e(2 * h / 3)) * z2 + math.sqrt(em1(2 * h / 3)) * z3)
    same(run(SEEDS(3), 1.0, times=[s, t]), x)


@pytest.mark.parametrize("phi", [phi_er, phi_sde])
def test_er_sde_3_by_hand(phi):
    """The third step of a run in sigma/alpha, its two integrals by adaptive quadrature."""
    edm = sd.process.EDM()
    denoise, eta = LAW.denoiser(edm), 0.8
    rs, x = [2.0, 1.5, 1.1, 0.7], 2 * X
    equation = sd.Reverse(edm, denoise, eta)
    states = [x for _, x in sd.trajectory(equation, ERSDE(3, phi), x, rs, seed=3)]
    D = [denoise(y, r) for y, r in zip(states, rs, strict=True)]
    slopes = [(D[j] - D[j - 1]) / (rs[j] - rs[j - 1]) for j in (1, 2)]
    curvature = (slopes[1] - slopes[0]) / ((rs[2] - rs[0]) / 2)

    def turned(r):
        return r * (phi(r) / r) ** (eta**2)

    s, t = rs[2:]
    q = turned(t) / turned(s)
    first = quad(lambda r: turned(t) / turned(r), t, s, epsabs=1e-13)[0]
    second = quad(lambda r: turned(t) * (r - s) / turned(r), t, s, epsabs=1e-13)[0]
    z = sd.noise.normal((8, 2), 3, (sd.noise.STEP, 2), dtype=F64)
    expected = q * states[2] + (1 - q) * D[2] + (t - s + first) * slopes[1]
    expected = expected + ((t - s) ** 2 / 2 + second) * curvature + math.sqrt(t**2 - (q * s) ** 2) * z
    same(states[3], expected)


def test_pece_by_hand():
    """The third step of a run: predict, evaluate, correct with the same noise; the next step starts from there."""
    states = [x for _, x in sd.trajectory(sd.Reverse(VP, LAW.denoiser(VP), 1.0), SASolver(pece=True), X, TIMES, seed=3)]
    denoise, ts = LAW.denoiser(VP), TIMES[1:4].tolist()
    lam = [float(VP.lam(t)) for t in ts]
    h, old = lam[2] - lam[1], lam[1] - lam[0]
    Ds, D_old = denoise(states[2], ts[1]), denoise(states[1], ts[0])
    alpha, sigma, sigma_s = float(VP.alpha(ts[2])), float(VP.sigma(ts[2])), float(VP.sigma(ts[1]))
    z = sd.noise.normal((8, 2), 3, (sd.noise.STEP, 2), dtype=F64)
    base = sigma / sigma_s * math.exp(-h) * states[2] + sigma * math.sqrt(-math.expm1(-2 * h)) * z
    base = base - alpha * math.expm1(-2 * h) * Ds  # k = 2; the differences enter with k h/2 = h
    D_new = denoise(base + alpha * h * (h / old) * (Ds - D_old), ts[2])
    same(states[3], base + alpha * h * (D_new - Ds))


@pytest.mark.parametrize(
    "make", [DPMppSDE, DPMpp2MSDE, DPMpp3MSDE, SASolver, lambda: SASolver(3, 4, pece=True), ERSDE,
             lambda: SASolver(2, 2, lambda t: 2 * t)],
)  # fmt: skip
@pytest.mark.parametrize("eta", ETAS)
def test_a_constant_denoiser_leaves_the_marginals(make, eta):
    """Data at one point: what is kept of sigma_s and the fresh noise add up to sigma_t, at every node, for any dial."""
    equation = sd.Reverse(VP, lambda x, t: torch.ones_like(x), eta)
    for (s, t), entry in zip(itertools.pairwise(TIMES), make().plan(equation, TIMES.tolist()), strict=True):
        last = entry.stages[-1]
        variance = (last.keep * float(VP.sigma(s))) ** 2 + sum(c * c for c in last.noise)
        assert variance == pytest.approx(float(VP.var(t)), rel=1e-12)
        mean = last.keep * float(VP.alpha(s)) + sum(last.weights)
        assert mean == pytest.approx(float(VP.alpha(t)), rel=1e-12)


# eps converges late at both ends of the default range, and the published parabola of 3M late altogether.
MIDDLE, FINE = {"weak_range": (0.6, 0.1)}, {"weak_steps": (200, 400)}
WEAK = [(DPMppSDE, 2, {}), (DPMpp2MSDE, 2, {}), (lambda: DPMpp2MSDE(True), 2, {}), (DPMpp3MSDE, 2, FINE),
        (lambda: SDEDPMSolver(1), 1, MIDDLE), (SDEDPMSolver, 2, {}), (lambda: SEEDS(2), 2, MIDDLE),
        (lambda: SEEDS(3), 2, MIDDLE), (SASolver, 2, FINE), (ERSDE, 2, {}), (lambda: ERSDE(3, phi_sde), 2, FINE),
        (lambda: ERSDE(1), 1, {})]  # fmt: skip


def weak_order(make, eta, name="vp", **measure):
    row = sd.solvers.Row("", "", "", make, 2, 1, "", True, measure={"weak_steps": (100, 200), **measure})
    return orders.weak_order(row, name, eta)


@pytest.mark.parametrize("make, order, measure", WEAK)
@pytest.mark.parametrize("name, eta", [("vp", 0.5), ("vp", 1.5), ("edm", 1.0), ("flow", 1.0)])
def test_weak_order_elsewhere(make, order, measure, name, eta):
    """At other noise levels and on other processes than the table's rows are measured."""
    assert weak_order(make, eta, name, **measure) == pytest.approx(order, abs=TOLERANCE)


def test_weak_order_with_a_window_of_noise():
    """Noise in the middle only, as diffusers has it for SA-Solver: a draw that counts for nothing is not made."""
    solver = SASolver(tau=lambda t: float(0.2 <= t <= 0.5))
    assert weak_order(lambda: solver, 1.0, weak_range=(0.6, 0.1)) == pytest.approx(2, abs=TOLERANCE)
    entries = solver.plan(sd.Reverse(VP, LAW.denoiser(VP), 1.0), TIMES.tolist())
    assert [bool(e.stages[0].draws) for e in entries] == [0.2 <= t <= 0.5 for t in TIMES[:-1].tolist()]


class Independent(DPMppSDE):
    """The middle's noise drawn apart from the step's, as it is where both come from a generator."""

    def stages(self, s, inner, t, e2=0.0):
        first, last = super().stages(s, inner, t, e2)
        return [first, last._replace(noise=[0.0, math.hypot(*last.noise)])]


class Heavier(DPMppSDE):
    """The inner value weighed 3 % too much."""

    def stages(self, s, inner, t, e2=0.0):
        first, last = super().stages(s, inner, t, e2)
        new, old = last.weights
        return [first, last._replace(weights=[1.03 * new, old - 0.03 * new])]


def test_planted_faults_are_seen(monkeypatch):
    assert weak_order(Independent, 1.0) == pytest.approx(1, abs=TOLERANCE)
    assert abs(weak_order(Heavier, 1.0) - 2) > TOLERANCE
    assert weak_order(lambda: ERSDE(2), 1.0) == pytest.approx(2, abs=TOLERANCE)
    monkeypatch.setattr(er_sde, "NODES", np.arange(16) / 8 - 1)  # a Riemann sum for the integrals
    monkeypatch.setattr(er_sde, "WEIGHTS", np.full(16, 1 / 8))
    assert weak_order(lambda: ERSDE(2), 1.0) < 1


def test_er_sde_converges_on_one_path():
    """Strong order 1 with its own noise scale, against itself on a fine grid of the same path."""
    lam = [float(VP.lam(t)) for t in (0.8, 0.1)]
    path = sd.Brownian((100, 1), *(clock(1.0, v) for v in lam), seed=5, dtype=F64, depth=30)
    x, denoise = sd.noise.normal((100, 1), 3, dtype=F64), sd.distributions.gaussian((2.0,), 0.3).denoiser(VP)

    def at(n):
        return run(ERSDE(2), 1.0, x, sd.grids.logsnr(VP, n, t_start=0.8, t_end=0.1), denoise, brownian=path)

    fine, steps = at(1024), (16, 32, 64)
    errors = [float((at(n) - fine).abs().mean()) for n in steps]
    assert orders.slope(steps, errors) == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize("make", [m for m, *_ in WEAK] + [lambda: SASolver(pece=True)])
def test_start_where_alpha_is_0(make):
    flow = sd.process.RectifiedFlow()
    for eta in ETAS:
        equation = sd.Reverse(flow, LAW.denoiser(flow), eta)
        out = sd.solve(equation, make(), X, sd.grids.karras(flow, 6), seed=1)
        assert out.isfinite().all()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: DPMppSDE(0.0), "fraction of the step"),
        (lambda: SDEDPMSolver(3), "order must be 1 or 2"),
        (lambda: SEEDS(4), "stages must be"),
        (lambda: SASolver(5), "1 to 4 values"),
        (lambda: SASolver(corrector=6), "corrector 0 to 5"),
        (lambda: SASolver(corrector=0, pece=True), "PECE needs a corrector"),
        (lambda: ERSDE(4), "order must be"),
        (lambda: run(ERSDE(2, lambda r: np.sqrt(r)), 1.0), "not fall as r grows"),
        (lambda: run(ERSDE(2, lambda r: -r), 1.0), "positive, finite"),
        (lambda: sd.solve(sd.OU(), SEEDS(2), X, [0.0, 0.5], seed=0), "needs a Reverse"),
        (lambda: sd.solve(sd.OU(), DPMpp2MSDE(), X, [0.0, 0.5], seed=0), "needs a Reverse"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
