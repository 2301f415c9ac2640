"""The Fokker-Planck and backward Kolmogorov solvers against closed forms, dense linear algebra, and planted faults."""

import math
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import simpson
from scipy.linalg import expm

from sdelab import fokker_planck as fp
from sdelab import random_walk
from sdelab.fokker_planck import SCHEMES, Grid

SECOND_ORDER = [name for name, row in SCHEMES.items() if row.order == 2]


@dataclass
class Equation:
    """dX = drift dt + diffusion dW; tests use their own, so that a fault in `sdelab.sde` is not repeated here."""

    drift: Any
    diffusion: Any


OU = Equation(lambda x, t: -x, lambda x, t: 1.0)
WELL = Equation(lambda x, t: -4 * x * (x**2 - 1), lambda x, t: 0.8)
GBM = Equation(lambda x, t: 0.3 * x, lambda x, t: 0.4 * x)
SPIN = Equation(  # turning, time-dependent, and noisier away from the origin
    lambda x, t: torch.stack([-x[..., 0] - 2 * x[..., 1], 2 * x[..., 0] - x[..., 1]], -1) * (1 + t),
    lambda x, t: 0.7 + 0.2 * torch.sin(x) + 0.1 * t,
)


def normal(x, mean, var):
    return torch.exp(-((x - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)


def ou_density(x, t, m=1.0, v=0.25):
    """Law of the OU process dX = -X dt + dW that starts at N(m, v)."""
    return normal(x, m * math.exp(-t), v * math.exp(-2 * t) + (1 - math.exp(-2 * t)) / 2)


def slope(errors, factor=2.0):
    """Order measured over successive refinements by `factor`."""
    return float(-np.polyfit(np.arange(len(errors)) * math.log(factor), np.log(errors), 1)[0])


def dense(sde, grid, t=0.0):
    """The generator of a 1-D grid as a matrix: its columns are what the walk does to unit vectors."""
    return random_walk.generator(sde, grid, t)[0].apply(np.eye(grid.cells[0])).T


# --- mass, positivity, duality --------------------------------------------------------------------------------------
def box(dim, boundary):
    return Grid(-2, 2, 41, boundary) if dim == 1 else Grid((-2, -2), (2, 2.5), (23, 18), boundary)


def spike(grid):
    """All mass in one cell: the hardest start for positivity."""
    p = torch.zeros(grid.cells, dtype=torch.float64)
    p[tuple(n // 3 for n in grid.cells)] = 1 / grid.volume
    return p


def equation(dim):
    return SPIN if dim == 2 else Equation(lambda x, t: torch.cos(3 * x) * 5 + t, lambda x, t: 0.8 + 0.4 * torch.sin(x))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("boundary", ["reflecting", "periodic"])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("times", [np.linspace(0, 0.4, 9), np.linspace(0.4, 0, 9)], ids=["forward", "reverse"])
def test_mass_is_kept_to_rounding(scheme, boundary, dim, times):
    grid = box(dim, boundary)
    p = fp.forward(equation(dim), spike(grid), grid, times, scheme, substeps=3)
    assert p.shape == (9, *grid.cells) and p.dtype == torch.float64
    assert (fp.mass(p, grid) - 1).abs().max() < 1e-13


@pytest.mark.parametrize("scheme, step", [("explicit", 1e-3), ("explicit", 0.1), ("implicit", 0.1), ("implicit", 50.0)])
@pytest.mark.parametrize("boundary", fp.BOUNDARIES)
@pytest.mark.parametrize("dim", [1, 2])
def test_density_is_never_negative(scheme, boundary, dim, step):
    grid = box(dim, boundary)
    p = fp.forward(equation(dim), spike(grid), grid, [0, step, 2 * step], scheme)
    assert (p >= 0).all()


@pytest.mark.parametrize("scheme", SECOND_ORDER)
def test_second_order_schemes_are_positive_below_their_limit_only(scheme):
    grid = box(1, "reflecting")
    rate = float(np.abs(np.diag(dense(OU, grid))).max())
    assert (fp.forward(OU, spike(grid), grid, [0, 1.9 / rate], scheme) >= 0).all()
    assert (fp.forward(OU, spike(grid), grid, [0, 20 / rate], scheme) < 0).any()  # as the docstring says


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("boundary", fp.BOUNDARIES)
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("times", [np.linspace(0, 0.4, 9), np.linspace(0.4, 0, 9)], ids=["forward", "reverse"])
def test_backward_is_the_adjoint_of_forward(scheme, boundary, dim, times):
    grid = box(dim, boundary)
    h = torch.rand(grid.cells, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p = fp.forward(equation(dim), spike(grid), grid, times, scheme, substeps=2)
    u = fp.backward(equation(dim), h, grid, times, scheme, substeps=2)
    expectation = fp.mass(u * p, grid)
    assert torch.equal(u[-1], h)
    assert (expectation / expectation[0] - 1).abs().max() < 1e-13


# --- order in space and time ----------------------------------------------------------------------------------------
def ou_errors(sde=OU, cells=(40, 80, 160, 320), t=0.6):
    errors = []
    for n in cells:
        grid = Grid(-5, 5, n)
        p = fp.forward(sde, grid.density(lambda x: ou_density(x, 0)), grid, [0, t], "sdirk2", substeps=200)
        errors.append(float((p[-1] - ou_density(grid.centres, t)).abs().max()))
    return errors


def test_order_two_in_space_against_the_ou_closed_form():
    errors = ou_errors()
    assert abs(slope(errors) - 2) < 0.15 and errors[-1] < 2e-4


@pytest.mark.parametrize("scheme", SCHEMES)
def test_order_in_time_against_the_matrix_exponential(scheme):
    grid = Grid(-4, 4, 60)
    p0 = grid.density(lambda x: ou_density(x, 0))
    exact = torch.from_numpy(expm(0.5 * dense(OU, grid)) @ p0.numpy())
    counts = (64, 128, 256, 512) if scheme == "explicit" else (8, 16, 32, 64)
    errors = [float((fp.forward(OU, p0, grid, [0, 0.5], scheme, n)[-1] - exact).abs().max()) for n in counts]
    assert abs(slope(errors) - SCHEMES[scheme].order) < 0.15


def mixture_density(x, t):
    """Two Gaussians of covariance s^2 I carried by dX = -(b/2) X dt + sqrt(b) dW with b(t) = 1 + 4t."""
    a = math.exp(-(t + 2 * t * t) / 2)
    var = 0.35**2 * a * a + 1 - a * a
    means = a * torch.tensor([[1.0, 0.5], [-1.0, -0.2]], dtype=torch.float64)
    return sum(
        w * normal(x[..., 0], m[0], var) * normal(x[..., 1], m[1], var) for w, m in zip((0.3, 0.7), means, strict=True)
    )


VP = Equation(lambda x, t: -(1 + 4 * t) / 2 * x, lambda x, t: math.sqrt(1 + 4 * t))


def vp_errors(scheme, cells=(24, 48, 96), sde=VP, t=0.5):
    errors = []
    for n in cells:
        grid = Grid((-4.5, -4.5), (4.5, 4.5), n)
        substeps = n // 3 if SCHEMES[scheme].order == 2 else (n // 12) ** 2 * 4
        p = fp.forward(sde, grid.density(lambda x: mixture_density(x, 0)), grid, [0, t], scheme, substeps)
        errors.append(float((p[-1] - mixture_density(grid.centres, t)).abs().max()))
    return errors


@pytest.mark.parametrize("scheme", ["implicit", *SECOND_ORDER])
def test_vp_mixture_in_two_dimensions_with_space_and_time_refined_together(scheme):
    errors = vp_errors(scheme)
    assert slope(errors) > 1.85 and errors[-1] < 1e-3


@pytest.mark.parametrize("scheme", ["implicit", "sdirk2"])
def test_order_in_time_with_axes_that_do_not_commute(scheme):
    grid = Grid((-3, -3), (3, 3), 24)
    p0 = grid.density(lambda x: torch.exp(-2 * ((x - 0.8) ** 2).sum(-1)))
    run = lambda n: fp.forward(SPIN, p0, grid, [0, 0.5], scheme, n)[-1]  # noqa: E731
    exact = fp.forward(SPIN, p0, grid, [0, 0.5], "sdirk2", 800)[-1]
    errors = [float((run(n) - exact).abs().max()) for n in (20, 40, 80)]
    assert abs(slope(errors) - SCHEMES[scheme].order) < 0.15


def gbm_errors(sde=GBM, t=0.5):
    """Law of exp(N(m, v)) carried by geometric Brownian motion: lognormal, with the Ito drift mu - sigma^2/2."""
    errors = []
    for n in (80, 160, 320):
        grid = Grid(0, 6, n)
        at = lambda t: normal(grid.centres.log(), (0.3 - 0.08) * t, 0.04 + 0.16 * t) / grid.centres  # noqa: E731, B023
        p = fp.forward(sde, at(0) / (at(0).sum() * grid.volume), grid, [0, t], "sdirk2", n)
        errors.append(float((p[-1] - at(t)).abs().max()))
    return errors


def test_diffusion_that_depends_on_x_against_the_lognormal_law():
    errors = gbm_errors()
    assert abs(slope(errors) - 2) < 0.15 and errors[-1] < 2e-3


def test_reverse_time_sde_brings_the_marginals_back():
    """Times that decrease: the reverse SDE of OU, with the exact score, returns from p_1 to p_0 through every p_t."""
    score = lambda x, t: (math.exp(-t) - x) / (0.25 * math.exp(-2 * t) + (1 - math.exp(-2 * t)) / 2)  # noqa: E731
    times, errors = np.linspace(1, 0, 5), []
    for eta in (1.0, 2.0):
        sde = Equation(lambda x, t, k=(1 + eta**2) / 2: -x - k * score(x, t), lambda x, t, eta=eta: eta)
        for n in (50, 100, 200):
            grid = Grid(-5, 5, n)
            p = fp.forward(sde, grid.density(lambda x: ou_density(x, 1)), grid, times, "sdirk2", n // 5)
            errors.append(max(float((p[k] - ou_density(grid.centres, t)).abs().max()) for k, t in enumerate(times)))
    assert abs(slope(errors[:3]) - 2) < 0.15 and abs(slope(errors[3:]) - 2) < 0.15


def test_without_noise_the_scheme_is_first_order_upwind():
    grid = Grid(-5, 5, 400)
    p = fp.forward(
        Equation(lambda x, t: -x, lambda x, t: 0.0), lambda x: normal(x, 1, 0.25), grid, [0, 0.5], "sdirk2", 50
    )
    exact = normal(grid.centres, math.exp(-0.5), 0.25 * math.exp(-1))
    assert (p >= 0).all() and (p[-1] - exact).abs().max() < 0.05


def test_jump_rates_balance_the_drift_and_never_overflow():
    """up - down = c and up / down = e^{c/d}, for drifts from far below rounding to far above the largest exponent."""
    c = np.array([0.0, 1e-300, 1e-12, 1e-9, 1e-6, 0.1, 3.0, 30.0, 800.0, 1e300])
    up, down = random_walk.jump_rate(c, np.full_like(c, 0.7)), random_walk.jump_rate(-c, np.full_like(c, 0.7))
    assert np.isfinite(up).all() and (up >= 0).all() and (down >= 0).all()
    assert np.allclose(up - down, c, rtol=1e-14, atol=3e-16)
    assert np.allclose(np.log(up[:8] / down[:8]), c[:8] / 0.7, rtol=1e-12, atol=3e-16)
    assert (random_walk.jump_rate(np.array([2.0, -2.0, 0.0]), np.zeros(3)) == [2.0, 0.0, 0.0]).all()


def test_explicit_steps_follow_rates_that_grow_within_an_interval():
    sde = Equation(lambda x, t: -x, lambda x, t: 0.1 + 3 * t)
    grid = Grid(-3, 3, 40)
    p = fp.forward(sde, spike(grid), grid, [0, 1], "explicit")[-1]
    assert (p >= 0).all()
    assert (p - fp.forward(sde, spike(grid), grid, [0, 1], "sdirk2", 400)[-1]).abs().max() < 5e-3 * float(p.max())


# --- stationary laws and currents -----------------------------------------------------------------------------------
def gibbs(grid, potential):
    return grid.density(lambda x: torch.exp(-potential(x)))


@pytest.mark.parametrize("scheme", ["implicit", "sdirk2", "explicit"])
def test_double_well_keeps_and_reaches_its_stationary_law(scheme):
    grid = Grid(-2.5, 2.5, 50)
    law = gibbs(grid, lambda x: 2 * (x**2 - 1) ** 2 / 0.64)
    kept = fp.forward(WELL, law, grid, [0, 5] if scheme != "explicit" else [0, 0.2], scheme)[-1]
    assert (kept - law).abs().max() < 1e-12
    assert fp.current(WELL, law, grid, 0.0).abs().max() < 1e-12
    if scheme == "implicit":
        p = fp.forward(WELL, lambda x: normal(x, 1, 0.04), grid, [0, 1000, 2000], scheme, substeps=20)
        assert (p[-1] - law).abs().max() < 1e-11


def test_langevin_in_two_dimensions_keeps_a_quartic_law_that_does_not_factor():
    drift = lambda x, t: -torch.stack([4 * x[..., 0] ** 3 + 2 * x[..., 0] * x[..., 1] ** 2 - 1,  # noqa: E731
                                       2 * x[..., 1] * (1 + x[..., 0] ** 2)], -1)  # fmt: skip
    grid = Grid((-2, -3), (2, 3), (40, 30))
    law = gibbs(grid, lambda x: x[..., 0] ** 4 - x[..., 0] + x[..., 1] ** 2 * (1 + x[..., 0] ** 2))
    p = fp.forward(Equation(drift, lambda x, t: math.sqrt(2)), law, grid, [0, 3], "implicit", 3)
    assert (p[-1] - law).abs().max() < 1e-12


def test_drift_on_a_ring_turns_and_damps_a_fourier_mode():
    """p = 1 + cos(x - ct) e^{-Dt}, over 2 pi: exact for a constant drift c and D = b^2/2."""
    errors = []
    sde = Equation(lambda x, t: 1.5 + 0 * x, lambda x, t: 0.6)
    for n in (40, 80, 160):
        grid = Grid(0, 2 * math.pi, n, "periodic")
        p = fp.forward(sde, lambda x: 1 + torch.cos(x), grid, [0, 2], "sdirk2", 4 * n)[-1]
        exact = (1 + torch.cos(grid.centres - 3) * math.exp(-0.36)) / (2 * math.pi)
        errors.append(float((p - exact).abs().max()))
    assert abs(slope(errors) - 2) < 0.15 and errors[-1] < 1e-3


def test_tilted_ring_reaches_the_constant_current_of_stratonovich_formula():
    """J = (1 - e^{-F(2 pi)}) / int int_x^{x+2pi} e^{F(x)-F(y)} dy dx / D, F = int mu/D, mu = 1 + sin x, D = 1/2."""
    f = lambda x: 2 * (x + 1 - np.cos(x))  # noqa: E731
    x = np.linspace(0, 2 * math.pi, 801)
    inner = simpson(np.exp(f(x)[:, None] - f(x[:, None] + x[None])), x=x, axis=1)
    exact = -math.expm1(-f(2 * math.pi)) / simpson(inner / 0.5, x=x)
    sde, errors = Equation(lambda x, t: 1 + torch.sin(x), lambda x, t: 1.0), []
    for n in (30, 60, 120):
        grid = Grid(0, 2 * math.pi, n, "periodic")
        p = fp.forward(sde, lambda x: 1 + 0 * x, grid, [0, 500], substeps=20)[-1]
        j = fp.current(sde, p, grid, 0.0)
        assert j.shape == (n + 1,) and float(j.max() - j.min()) < 1e-12
        errors.append(abs(float(j.mean()) - exact))
    assert abs(slope(errors) - 2) < 0.15 and errors[-1] < 1e-3


def test_current_of_ou_and_its_divergence():
    errors = []
    for n in (50, 100, 200):
        grid = Grid(-5, 5, n)
        x, t = grid.edges[0], 0.3
        var = 0.25 * math.exp(-2 * t) + (1 - math.exp(-2 * t)) / 2
        exact = ou_density(x, t) * (-x + (x - math.exp(-t)) / (2 * var))
        j = fp.current(OU, ou_density(grid.centres, t), grid, t)
        errors.append(float((j - exact)[1:-1].abs().max()))
        assert j[0] == 0 and j[-1] == 0
    assert abs(slope(errors) - 2) < 0.15


@pytest.mark.parametrize("boundary", fp.BOUNDARIES)
def test_divergence_of_the_current_is_the_generator(boundary):
    grid = box(2, boundary)
    p = torch.rand(grid.cells, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    jx, jy = fp.current(SPIN, p, grid, 0.2)
    still = torch.stack([p, p])
    assert jx.shape == (24, 18) and jy.shape == (23, 19)
    divergence = jx.diff(dim=0) / grid.widths[0] + jy.diff(dim=1) / grid.widths[1]
    assert torch.allclose(fp.residual(still, SPIN, grid, [0.1, 0.3])[0], divergence, atol=1e-11)
    middle = fp.current(SPIN, p, grid, 0.2, at="centres")
    assert torch.allclose(middle, torch.stack([(jx[1:] + jx[:-1]) / 2, (jy[:, 1:] + jy[:, :-1]) / 2], -1))
    turned = Equation(lambda x, t: -SPIN.drift(x, t), SPIN.diffusion)  # what a reverse time makes of the drift
    for j, k in zip(fp.current(SPIN, p, grid, 0.2, reverse=True), fp.current(turned, p, grid, 0.2), strict=True):
        assert torch.equal(j, k)
    moving = torch.stack([p, 2 * p])
    assert torch.allclose(fp.residual(moving, SPIN, grid, [0.3, 0.1]), fp.residual(moving, turned, grid, [0.1, 0.3]))


def test_residual_of_a_closed_form_goes_to_zero_at_order_two_and_of_a_wrong_one_does_not():
    def sizes(density):
        return [
            float(fp.residual(density, OU, Grid(-5, 5, n), np.linspace(0.1, 0.5, n // 10 + 1)).abs().max())
            for n in (50, 100, 200)
        ]

    right, wrong = sizes(ou_density), sizes(lambda x, t: ou_density(x, 1.03 * t))
    assert abs(slope(right) - 2) < 0.15
    assert wrong[-1] > 10 * right[-1] and abs(slope(wrong)) < 1


# --- absorbing walls, moments, backward equation --------------------------------------------------------------------
@pytest.mark.parametrize("c", [0.0, 1.5])
def test_absorbing_walls_take_mass_at_the_exact_rate(c):
    """Brownian motion with drift c between absorbing walls L apart decays as exp(-(pi^2/(2 L^2) + c^2/2) t)."""
    length, errors = 2.0, []
    sde = Equation(lambda x, t: c + 0 * x, lambda x, t: 1.0)
    mode = lambda x: torch.sin(math.pi * x / length) * torch.exp(c * x)  # noqa: E731
    for n in (20, 40, 80):
        grid = Grid(0, length, n, "absorbing")
        m = fp.mass(fp.forward(sde, mode, grid, [0, 0.5, 1], "sdirk2", 4 * n), grid)
        assert m[0] == pytest.approx(1) and m[1] < m[0] and m[2] < m[1]
        errors.append(abs(2 * math.log(float(m[1] / m[2])) - math.pi**2 / (2 * length**2) - c**2 / 2))
    assert abs(slope(errors) - 2) < 0.15 and errors[-1] < 2e-3


def test_one_axis_may_absorb_while_the_other_reflects():
    grid = Grid((0, 0), (2, 1), (20, 10), ("absorbing", "reflecting"))
    flat = Equation(lambda x, t: 0 * x, lambda x, t: 1.0)
    p = fp.forward(flat, lambda x: torch.sin(math.pi * x[..., 0] / 2), grid, [0, 1], "sdirk2", 50)[-1]
    line = Grid(0, 2, 20, "absorbing")
    q = fp.forward(flat, lambda x: torch.sin(math.pi * x / 2), line, [0, 1], "sdirk2", 100)[-1]
    assert float(p.std(dim=1).max()) < 1e-12 and torch.allclose(p[:, 0], q, atol=2e-5)


def test_moments_in_one_and_two_dimensions():
    line, plane = Grid(-6, 6, 200), Grid((-6, -6), (6, 6), 100)
    mean, var = fp.moments(torch.stack([ou_density(line.centres, t) for t in (0.0, 0.5)]), line)
    assert mean.shape == var.shape == (2,)
    assert mean.tolist() == pytest.approx([1, math.exp(-0.5)]) and var[0] == pytest.approx(0.25)
    law = torch.distributions.MultivariateNormal(
        torch.tensor([0.5, -1.0]).double(), torch.tensor([[0.5, 0.2], [0.2, 0.3]]).double()
    )
    mean, cov = fp.moments(0.3 * plane.density(law), plane)  # of what is left, where walls have taken mass
    assert mean.tolist() == pytest.approx([0.5, -1]) and torch.allclose(cov, law.covariance_matrix, atol=1e-8)


def backward_errors(sde=OU, t=0.6):
    """E[X_T | x] = x e^-s and E[X_T^2 | x] = x^2 e^-2s + (1 - e^-2s)/2, s = T - t, away from the walls."""
    errors = {1: [], 2: []}
    for n in (60, 120, 240):
        grid = Grid(-6, 6, n)
        inside = grid.centres.abs() < 2
        x = grid.centres[inside]
        exact = {1: x * math.exp(-t), 2: x**2 * math.exp(-2 * t) + (1 - math.exp(-2 * t)) / 2}
        for power in (1, 2):
            u = fp.backward(sde, lambda x, k=power: x**k, grid, [0, t], "sdirk2", n)[0, inside]
            errors[power].append(float((u - exact[power]).abs().max()))
    return errors


def test_backward_kolmogorov_against_the_conditional_moments_of_ou():
    errors = backward_errors()
    assert abs(slope(errors[1]) - 2) < 0.15 and abs(slope(errors[2]) - 2) < 0.15
    assert errors[1][-1] < 1e-3 and errors[2][-1] < 2e-3


def test_backward_of_one_is_one_and_keeps_the_range_of_h():
    grid = box(2, "reflecting")
    u = fp.backward(SPIN, lambda x: 1 + 0 * x[..., 0], grid, np.linspace(0, 1, 5))
    assert (u - 1).abs().max() < 1e-13
    step = fp.backward(SPIN, lambda x: (x[..., 0] > 0).double(), grid, np.linspace(0, 1, 5))
    assert (step >= 0).all() and step.max() <= 1 + 1e-14


# --- planted faults: the very checks above must see them ------------------------------------------------------------
FAULTS = {
    "drift with the wrong sign": lambda e: Equation(lambda x, t: -e.drift(x, t), e.diffusion),
    "no 1/2 before the Laplacian": lambda e: Equation(e.drift, lambda x, t: math.sqrt(2) * e.diffusion(x, t)),
    "drift 3 % too large": lambda e: Equation(lambda x, t: 1.03 * e.drift(x, t), e.diffusion),
    "diffusion 3 % too large": lambda e: Equation(e.drift, lambda x, t: 1.03 * e.diffusion(x, t)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_in_the_equation_break_the_orders(name):
    fault = FAULTS[name]
    assert slope(ou_errors(fault(OU), cells=(80, 160, 320))) < 1.5
    assert slope(gbm_errors(fault(GBM))) < 1.5
    assert slope(vp_errors("sdirk2", sde=fault(VP))) < 1.5
    assert slope(backward_errors(fault(OU))[2]) < 1.5


def test_planted_stratonovich_reading_breaks_the_lognormal_check():
    """Without the Ito term D' = b b' in the flux."""
    assert slope(gbm_errors(Equation(lambda x, t: 0.3 * x + 0.16 * x, GBM.diffusion))) < 0.5


def test_planted_non_conservative_form_loses_mass(monkeypatch):
    """-mu p' + D p'' for -(mu p)' + D p'': the transpose of the generator with the drift turned round."""
    turned = Equation(lambda x, t: -OU.drift(x, t), OU.diffusion)
    solve = random_walk.Walk.solve
    monkeypatch.setattr(random_walk.Walk, "solve", lambda self, p, c, transpose=False: solve(self, p, c, not transpose))
    grid = Grid(-5, 5, 80)
    p = fp.forward(turned, grid.density(lambda x: ou_density(x, 0)), grid, [0, 0.6], "implicit", 100)
    assert (fp.mass(p, grid) - 1).abs().max() > 0.1


def test_planted_upwind_flux_is_first_order(monkeypatch):
    monkeypatch.setattr(random_walk, "jump_rate", lambda c, d: d + np.maximum(c, 0))
    assert abs(slope(ou_errors(cells=(80, 160, 320))) - 1) < 0.3


def test_planted_rates_at_the_start_of_the_step_are_first_order(monkeypatch):
    plan = fp.plan
    monkeypatch.setattr(fp, "plan", lambda *a: ((k, t - dt / 2, dt) for k, t, dt in plan(*a)))
    assert slope(vp_errors("sdirk2")) < 1.5


# --- bad input ------------------------------------------------------------------------------------------------------
GRID = Grid(-3, 3, 20)
P0 = GRID.density(lambda x: normal(x, 0, 0.5))
BAD_CALLS = [
    (lambda: Grid(0, 1, 2), "at least 3 cells"),
    (lambda: Grid(0, 1, 10.5), "whole number"),
    (lambda: Grid(1, 0, 10), "lo < hi"),
    (lambda: Grid(0, math.inf, 10), "finite lo < hi"),
    (lambda: Grid((0, 0), (1, 1, 1), 10), "1 or 2 axes"),
    (lambda: Grid(0, 1, 10, "open"), "choose reflecting, periodic, absorbing"),
    (lambda: Grid((0, 0), (1, 1), 10, ("open", "periodic")), "choose reflecting"),
    (lambda: fp.forward(OU, -P0, GRID, [0, 1]), "negative"),
    (lambda: fp.forward(OU, 2 * P0, GRID, [0, 1]), "mass 2, not 1"),
    (lambda: fp.forward(OU, P0 * math.nan, GRID, [0, 1]), "not finite"),
    (lambda: fp.forward(OU, P0[:-1], GRID, [0, 1]), r"needs \(20,\)"),
    (lambda: fp.forward(OU, P0, GRID, [0, 1, 1]), "increasing"),
    (lambda: fp.forward(OU, P0, GRID, [0]), "at least two"),
    (lambda: fp.forward(OU, P0, GRID, [0, math.nan]), "finite"),
    (lambda: fp.forward(OU, P0, GRID, [0, 1], "rk4"), "choose explicit, implicit"),
    (lambda: fp.forward(OU, P0, GRID, [0, 1], substeps=0), "at least 1"),
    (lambda: fp.forward(OU, P0, GRID, [0, 1e9], "explicit"), "use scheme='implicit'"),
    (lambda: fp.forward(Equation(lambda x, t: 1 / (t - 0.5) + x, OU.diffusion), P0, GRID, [0, 1]), "drift.*not finite"),
    (lambda: fp.forward(Equation(OU.drift, lambda x, t: torch.ones(5, 7)), P0, GRID, [0, 1]), "diagonal noise"),
    (lambda: fp.backward(OU, lambda x: x[:3], GRID, [0, 1]), "h has shape"),
    (lambda: fp.current(OU, P0, GRID, 0.0, at="corners"), "'faces' or 'centres'"),
    (lambda: fp.residual([P0], OU, GRID, [0, 1]), "1 densities for 2 times"),
    (lambda: GRID.density(SimpleNamespace(log_prob=lambda x: -0.5 * (x[:, 0] - 3) ** 2 - 0.919)), "finds mass 0.5"),
    (lambda: GRID.density(lambda x: -torch.ones_like(x)), "negative"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_bad_input_is_named(call, message):
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        call()


def test_explicit_limit_is_enforced(monkeypatch):
    monkeypatch.setattr(fp, "MAX_STEPS", 50)
    with pytest.raises(ValueError, match="more than 50 steps"):
        fp.forward(OU, P0, GRID, [0, 10], "explicit")


def test_two_dimensional_film_for_a_widget_takes_under_a_second_of_one_core():
    grid = Grid((-4, -4), (4, 4), 64)
    p0 = grid.density(lambda x: torch.exp(-4 * ((x - 1) ** 2).sum(-1)))
    spent = []
    for _ in range(3):
        start = time.process_time()
        fp.forward(SPIN, p0, grid, np.linspace(0, 1, 31), substeps=2)
        spent.append(time.process_time() - start)
    assert min(spent) < 1.0
