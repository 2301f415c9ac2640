"""Processes and targets: every derivative by finite differences, every conversion there and back."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sdelab as sd
from sdelab import targets

F64 = torch.float64
NAMES = list(sd.process.table)
inside = st.floats(0.02, 0.97)


def away_from_knots(process, t):
    """DiscreteBetas is smooth between its knots only."""
    return (math.floor(t * 1000) + 0.4) / 1000 if process.name == "ddpm" else t * process.T


@pytest.mark.parametrize("name", NAMES)
@given(u=inside)
def test_derivatives(name, u):
    p = sd.process.make(name)
    t = away_from_knots(p, u)
    h = 1e-5 * p.T if name != "ddpm" else 1e-5
    for f, df in ((p.alpha, p.d_alpha), (p.sigma, p.d_sigma), (p.var, p.d_var)):
        five_point = (f(t - 2 * h) - 8 * f(t - h) + 8 * f(t + h) - f(t + 2 * h)) / (12 * h)
        assert float(df(t)) == pytest.approx(float(five_point), rel=2e-8, abs=2e-8)
    assert float(p.f(t)) == pytest.approx(float(p.d_alpha(t) / p.alpha(t)), rel=1e-12, abs=1e-14)
    assert float(p.g2(t)) == pytest.approx(float(-2 * p.var(t) * (p.lam(t + h) - p.lam(t - h)) / (2 * h)), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(u=inside)
def test_lam_and_back(name, u):
    p = sd.process.make(name)
    t = u * p.T
    assert float(p.t_of_lam(p.lam(t))) == pytest.approx(t, rel=1e-11)
    assert float(p.lam(t)) == pytest.approx(float(torch.log(p.alpha(t) / p.sigma(t))), abs=1e-11)
    assert float(sd.process.Process.t_of_lam(p, p.lam(t))) == pytest.approx(t, rel=1e-9)  # bisection, the general route


@pytest.mark.parametrize("process", [sd.process.VP(), sd.process.SubVP(0.1, 40.0), sd.process.VP(1.0, 1.0)])
def test_lam_and_back_at_both_ends(process):
    """Where alpha is 1 to rounding, and where it is nearly 0; a constant beta is a VP like any other."""
    for t in (1e-9, 1e-6, 1e-3, 0.9, 1.0):
        assert float(process.t_of_lam(process.lam(t))) == pytest.approx(t, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(u=inside, v=inside)
def test_transition_composes(name, u, v):
    """x_0 -> x_s -> x_t is x_0 -> x_t: alpha and sigma^2 of the two-step law agree with the one-step law."""
    p = sd.process.make(name)
    s, t = sorted((u * p.T, v * p.T))
    a, std = p.transition(s, t)
    assert float(a * p.alpha(s)) == pytest.approx(float(p.alpha(t)), rel=1e-12)
    assert float(a**2 * p.var(s) + std**2) == pytest.approx(float(p.var(t)), rel=1e-11)


def test_transition_at_its_edges():
    for name in NAMES:
        p = sd.process.make(name)
        for t in (0.0, 0.5 * p.T, p.T):  # a step of no length, also where alpha = 0
            a, std = p.transition(t, t)
            assert (float(a), float(std)) == (1, 0)
        a, std = p.transition(0.0, 0.6 * p.T)
        assert float(a) == float(p.alpha(0.6 * p.T)) and float(std) == pytest.approx(float(p.sigma(0.6 * p.T)))
        s, t = torch.tensor([0.1, 0.2], dtype=F64) * p.T, 0.3 * p.T
        torch.testing.assert_close(p.transition(s, t)[1][1], p.transition(float(s[1]), t)[1])
    a, std = sd.process.RectifiedFlow().transition(0.5, 1.0)
    assert (float(a), float(std)) == (0, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_forward_sde_has_the_stated_coefficients(name):
    p, x = sd.process.make(name), sd.noise.normal((3, 2), 1, dtype=F64)
    sde, t = p.sde(), torch.tensor([0.2, 0.5, 0.9], dtype=F64) * p.T
    torch.testing.assert_close(sde.drift(x, t), p.d_alpha(t)[:, None] / p.alpha(t)[:, None] * x)
    torch.testing.assert_close(sde.diffusion(x, t) ** 2, p.g2(t)[:, None])
    assert float(sde.diffusion(x, 0.4 * p.T)) == float(p.g(0.4 * p.T))


def test_discrete_betas_at_every_knot():
    """The drift is that of the step that ends at t = n/N; alpha and lam are exact at all knots, and lam turns back."""
    for N in (1, 10, 25, 1000):  # 7/25 * 25 > 7 in floating point
        betas = sd.process.ddpm_betas(N) if N > 1 else torch.tensor([0.3], dtype=F64)
        p, t = sd.process.DiscreteBetas(betas), torch.arange(1, N + 1, dtype=F64) / N
        torch.testing.assert_close(p.f(t), 0.5 * N * torch.log1p(-betas), rtol=1e-14, atol=0)
        torch.testing.assert_close(p.alpha(t) ** 2, torch.cumprod(1 - betas, 0), rtol=1e-12, atol=0)
        torch.testing.assert_close(p.t_of_lam(p.lam(t)), t, rtol=1e-12, atol=0)
        assert p.t_min == 1 / N
        torch.testing.assert_close(p.alpha(t.float()), p.alpha(t).float(), rtol=1e-4, atol=0)


def test_times_of_any_make():
    p, x = sd.process.VP(), torch.ones(2, 3, 4, 4)
    exact = p.alpha(1.0)
    makes: list[Any] = [1, True, torch.tensor(1), np.float32(1), np.int64(1)]
    for one in makes:
        assert p.alpha(one).dtype == F64 and float(p.alpha(one)) == float(exact)
    numbers: Any = np.array([0.1, 0.2])
    assert torch.equal(p.alpha(numbers), p.alpha(torch.tensor([0.1, 0.2], dtype=F64)))
    each = torch.tensor([0.1, 0.2])
    for t in (each, each[:, None], each[:, None, None, None]):  # (n,) is meant; (n, 1, ...) means the same
        torch.testing.assert_close(p.perturb(x, t, 0 * x)[:, 0, 0, 0], p.alpha(each))
    assert p.perturb(torch.ones(2), each[:, None], torch.ones(2)).shape == (2,)


PUBLISHED = {  # T, t_min, and sigma/alpha at T
    "vp": (1.0, 1e-3, 152.2), "subvp": (1.0, 1e-3, 152.2), "ve": (1.0, 1e-5, 50.0), "edm": (80.0, 0.002, 80.0),
    "cosine": (0.9946, 1e-3, 118.9), "flow": (1.0, 1e-3, math.inf), "ddpm": (1.0, 1e-3, 157.4),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_default_ranges(name):
    p = sd.process.make(name)
    assert (p.T, p.t_min) == PUBLISHED[name][:2]
    assert float(torch.exp(-p.lam(p.T))) == pytest.approx(PUBLISHED[name][2], rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_ends(name):
    p = sd.process.make(name)
    assert float(p.alpha(0.0)) == 1 and float(p.sigma(0.0)) == 0
    assert float(p.lam(p.T)) < -3.9
    grid = torch.linspace(0, 1, 400, dtype=F64) * p.T
    assert (p.lam(grid).diff() < 0).all() and (p.g2(grid[1:-1]) >= 0).all()


def test_published_values():
    """Numbers from the papers, by their own formulas."""
    vp = sd.process.VP()
    assert float(vp.alpha(1.0)) == pytest.approx(math.exp(-0.5 * (0.1 + 20) / 2), rel=1e-12)  # Song: e^{-int beta/2}
    assert float(sd.process.SubVP().g2(0.5)) == pytest.approx(
        10.05 * (1 - math.exp(-2 * (0.1 * 0.5 + 19.9 * 0.125))), rel=1e-12
    )
    ve = sd.process.VE()
    assert float(ve.g(0.3)) == pytest.approx(0.01 * 5000**0.3 * math.sqrt(2 * math.log(5000)), rel=1e-12)
    betas = sd.process.ddpm_betas()
    ddpm = sd.process.DiscreteBetas()
    bar = torch.cumprod(1 - betas, 0)
    for n in (1, 10, 500, 1000):
        assert float(ddpm.alpha(n / 1000)) == pytest.approx(float(bar[n - 1].sqrt()), rel=1e-12)
        a, std = ddpm.transition((n - 1) / 1000, n / 1000)
        assert float(a) == pytest.approx(math.sqrt(1 - betas[n - 1]), rel=1e-11)
        assert float(std) == pytest.approx(math.sqrt(betas[n - 1]), rel=1e-10)
    ratio = float(ddpm.sigma(1.0) / ddpm.alpha(1.0))
    assert ratio == pytest.approx(157.4, abs=0.05)  # sigma_max of DDPM's schedule in EDM's letters


def test_a_simulated_forward_sde_has_the_stated_marginal():
    """f and g, by basis vectors: Euler–Maruyama's exact output law tends to N(alpha x_0, sigma^2) at first order."""
    for name in ("vp", "subvp", "ve", "cosine"):
        p, errors = sd.process.make(name), []
        for n in (200, 400):
            times = torch.linspace(0, 0.9 * p.T, n + 1, dtype=F64)
            dt = times.diff()
            f, g2 = p.f(times[:-1]), p.g2(times[:-1])
            growth = torch.cumprod((1 + f * dt).flip(0), 0).flip(0)
            after = torch.cat([growth[1:], growth.new_ones(1)])
            errors.append(
                (
                    abs(float(growth[0] - p.alpha(times[-1]))),
                    abs(float((after**2 * g2 * dt).sum() / p.var(times[-1]) - 1)),
                )
            )
        for coarse, fine in zip(*errors, strict=True):
            assert fine < 0.02 and (coarse < 1e-12 or 1.7 < coarse / fine < 2.3), (name, errors)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("shape", [(), (5,)])
def test_times_keep_shape_and_dtype(shape, dtype):
    for name in NAMES:
        p = sd.process.make(name)
        t = torch.full(shape, 0.3, dtype=dtype)
        for f in (p.alpha, p.sigma, p.lam, p.f, p.g, p.d_alpha, p.d_sigma, lambda t, p=p: p.t_of_lam(p.lam(t))):
            assert f(t).shape == shape and f(t).dtype == dtype
        assert p.alpha(0.3).dtype == F64


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("source", targets.NAMES)
@pytest.mark.parametrize("target", targets.NAMES)
def test_targets_round_trip(name, source, target):
    p = sd.process.make(name)
    t = torch.linspace(0.1, 0.9, 7, dtype=F64) * p.T
    x0, eps = sd.noise.normal((7, 3), 1, dtype=F64), sd.noise.normal((7, 3), 2, dtype=F64)
    x = p.perturb(x0, t, eps)
    P, Q = targets.basis(p, t, source)
    y = P[:, None] * x0 + Q[:, None] * eps
    z = targets.convert(y, x, t, p, source, target)
    P, Q = targets.basis(p, t, target)
    torch.testing.assert_close(
        z, P[:, None] * x0 + Q[:, None] * eps, rtol=1e-9, atol=1e-9 * float(P.abs().max() + Q.abs().max())
    )
    torch.testing.assert_close(
        targets.convert(z, x, t, p, target, source), y, rtol=1e-8, atol=1e-8 * float(y.abs().max())
    )


def test_targets_meet_their_definitions():
    p = sd.process.VP()
    x0, eps, t = sd.noise.normal((4, 2), 1, dtype=F64), sd.noise.normal((4, 2), 2, dtype=F64), 0.4
    x = p.perturb(x0, t, eps)
    h = 1e-6
    velocity = (p.perturb(x0, t + h, eps) - p.perturb(x0, t - h, eps)) / (2 * h)
    torch.testing.assert_close(targets.convert(x0, x, t, p, "x0", "velocity"), velocity, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(targets.convert(eps, x, t, p, "eps", "score"), -eps / p.sigma(t), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        targets.convert(x0, x, t, p, "x0", "v"), p.alpha(t) * eps - p.sigma(t) * x0, rtol=1e-12, atol=1e-12
    )


def test_zero_terminal_snr_with_eps_is_an_error():
    p, x = sd.process.RectifiedFlow(), torch.ones(2, 2)
    with pytest.raises(ValueError, match="does not determine x_0"):
        targets.convert(x, x, 1.0, p, "eps", "x0")
    torch.testing.assert_close(targets.convert(x, x, 1.0, p, "velocity", "x0"), torch.zeros(2, 2))


X = torch.ones(2, 2)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sd.process.make("vpp"), "did you mean 'vp'"),
        (lambda: sd.process.VP(beta_min=0), "beta_min"),
        (lambda: sd.process.VP(2.0, 1.0), "beta_min"),
        (lambda: sd.process.VE(2.0, 1.0), "sigma_min"),
        (lambda: sd.process.VE(0.0, 1.0), "sigma_min"),
        (lambda: sd.process.EDM(0.001), "sigma_max"),
        (lambda: sd.process.Cosine(-0.1), "s >= 0"),
        (lambda: sd.process.Cosine(math.nan), "s >= 0"),
        (lambda: sd.process.Cosine(T=1.1), "T <= 1"),
        (lambda: sd.process.DiscreteBetas(torch.tensor([0.5, 1.0])), "strictly between"),
        (lambda: sd.process.VP().transition(0.5, 0.4), "from s to t"),
        (lambda: sd.process.VP().transition(torch.tensor([0.1, 0.5]), 0.4), "from s to t"),
        (lambda: sd.process.VP().perturb(torch.ones(4, 1), 0.5, torch.ones(4)), "do not fit"),
        (lambda: targets.convert(torch.ones(4, 1), torch.ones(4, 2), 0.5, sd.process.VP(), "eps", "x0"), "shape of"),
        (lambda: targets.convert(X, X, 0.0, sd.process.VP(), "velocity", "x0"), "does not determine x_0"),
        (lambda: targets.convert(X, X, 0.0, sd.process.VP(), "x0", "eps"), "does not determine x_0"),
        (
            lambda: sd.process.VP().perturb(torch.ones(3, 2), torch.ones(2), torch.ones(3, 2)),
            "2 times for a batch of 3",
        ),
        (lambda: targets.basis(sd.process.VP(), 0.5, "noise"), "unknown target"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
