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


@pytest.mark.parametrize("name", NAMES)
def test_bisection_is_the_general_route_from_lam_to_t(name):
    p = sd.process.make(name)
    t = torch.tensor([0.02, 0.3, 0.71, 0.97], dtype=F64) * p.T
    torch.testing.assert_close(sd.process.Process.t_of_lam(p, p.lam(t)), t, rtol=1e-9, atol=0)


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
    "zero_snr": (1.0, 1e-3, math.inf), "trig": (1.0, 1e-3, math.inf), "trigflow": (0.5 * math.pi, 1e-3, math.inf),
    "polynomial": (1.0, 1e-3, math.inf), "interpolant": (1.0, 1e-3, math.inf),
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


@pytest.mark.parametrize("name", [n for n in NAMES if float(sd.process.make(n).alpha(sd.process.make(n).T)) == 0])
def test_targets_where_alpha_is_zero(name):
    """At T the state is noise: x0, v and velocity still turn into each other, eps and score determine nothing."""
    p, x0, eps = sd.process.make(name), sd.noise.normal((4, 2), 1, dtype=F64), sd.noise.normal((4, 2), 2, dtype=F64)
    x = p.perturb(x0, p.T, eps)
    assert torch.equal(x, p.sigma(p.T) * eps)
    still = name == "polynomial"  # its path arrives at rest: the velocity at T is 0, whatever x_0
    for source in ("x0", "v", *["velocity"] * (not still)):
        P, Q = targets.basis(p, p.T, source)
        y = P * x0 + Q * eps
        torch.testing.assert_close(targets.convert(y, x, p.T, p, source, "x0"), x0, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(targets.convert(y, x, p.T, p, source, "eps"), eps, rtol=1e-12, atol=1e-12)
    for blind in ("eps", "score", *["velocity"] * still):
        with pytest.raises(ValueError, match="does not determine x_0"):
            targets.convert(x, x, p.T, p, blind, "x0")


@pytest.mark.parametrize("name", NAMES)
def test_preconditioning_by_its_definition(name):
    """Unit input and target, the least c_out, and the exact denoiser of Gaussian data with F = 0; all ends finite."""
    p, d = sd.process.make(name), 0.7
    pre, t = targets.Preconditioning(p, d), torch.tensor([0.05, 0.4, 0.9, 1.0], dtype=F64) * p.T
    alpha, sigma = p.alpha(t), p.sigma(t)
    torch.testing.assert_close(pre.c_in(t) ** 2 * (alpha**2 * d**2 + sigma**2), torch.ones(4, dtype=F64))
    left = lambda c: (1 - c * alpha) ** 2 * d**2 + c**2 * sigma**2  # noqa: E731  Var[x_0 - c x]
    torch.testing.assert_close(left(pre.c_skip(t)), pre.c_out(t) ** 2)
    for nearby in (0.99, 1.01):
        assert (left(pre.c_skip(t) * nearby)[:3] > pre.c_out(t)[:3] ** 2).all()
    torch.testing.assert_close(pre.c_noise(t[:3]), (sigma / alpha)[:3].log() / 4)
    x, x0 = sd.noise.normal((4, 2), 1, dtype=F64), sd.noise.normal((4, 2), 2, dtype=F64)
    exact = sd.distributions.gaussian((0.0, 0.0), d).denoiser(p)(x, t)
    torch.testing.assert_close(pre.denoiser(lambda y, c: 0 * y)(x, t), exact)
    network = lambda y, c: pre.target(x0, x, t)  # noqa: E731
    torch.testing.assert_close(pre.denoiser(network)(x, t), x0)


def test_preconditioning_of_the_papers():
    edm, t = targets.Preconditioning(sd.process.EDM(), 0.5), torch.tensor([0.01, 0.5, 30.0], dtype=F64)
    torch.testing.assert_close(edm.c_skip(t), 0.25 / (t**2 + 0.25))  # Karras et al. (2022), table 1
    torch.testing.assert_close(edm.c_out(t), t * 0.5 / (0.25 + t**2).sqrt())
    torch.testing.assert_close(edm.c_in(t), 1 / (0.25 + t**2).sqrt())
    torch.testing.assert_close(edm.c_noise(t), t.log() / 4)
    x0, eps, t = sd.noise.normal((3, 2), 1, dtype=F64), sd.noise.normal((3, 2), 2, dtype=F64), 0.6
    vp, trig = sd.process.VP(), sd.process.TrigFlow(0.3)
    x = vp.perturb(x0, t, eps)
    v = targets.convert(x0, x, t, vp, "x0", "v")
    torch.testing.assert_close(targets.Preconditioning(vp, 1.0).target(x0, x, t), -v)
    x = trig.perturb(x0, t, eps)  # Lu & Song: the network times sigma_data is the velocity, up to its sign
    velocity = targets.convert(x0, x, t, trig, "x0", "velocity")
    torch.testing.assert_close(-0.3 * targets.Preconditioning(trig, 0.3).target(x0, x, t), velocity)
    seen = []
    clock = targets.Preconditioning(sd.process.RectifiedFlow(), 0.5, c_noise=lambda t: 1000 * sd.process.as_time(t))
    clock.denoiser(lambda y, c: seen.append(c) or y)(torch.ones(2, 2), 1.0)
    assert seen[0].dtype == torch.float32 and float(seen[0]) == 1000


def test_chains_by_name():
    """Knots of every named chain, and zero terminal SNR as Lin et al. write it: first alpha kept, last exactly 0."""
    sd_betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=F64) ** 2
    t = torch.arange(1, 1001, dtype=F64) / 1000
    for name, betas in (("sd", sd_betas), ("ddpm_cosine", sd.process.cosine_betas()),
                        ("sd_zero_snr", sd.process.zero_snr(sd_betas))):  # fmt: skip
        p = sd.process.make(name)
        torch.testing.assert_close(p.alpha(t) ** 2, torch.cumprod(1 - betas, 0), rtol=1e-10, atol=0)
        torch.testing.assert_close(p.t_of_lam(p.lam(t)), t, rtol=1e-12, atol=0)
    cosine = sd.process.make("ddpm_cosine").alpha(t[:980]) ** 2  # until the cap: f(t)/f(0) of the paper
    f = torch.cos(0.5 * math.pi * (t + 0.008) / 1.008) ** 2 / math.cos(0.5 * math.pi * 0.008 / 1.008) ** 2
    torch.testing.assert_close(cosine, f[:980], rtol=1e-9, atol=0)
    assert float(sd.process.cosine_betas()[-1]) == 0.999
    bar = torch.cumprod(1 - sd_betas, 0).sqrt()
    ours = p.alpha(t)
    assert float(ours[-1]) == 0 and float(p.sigma(1.0)) == 1 and float(sd.process.zero_snr_betas()[-1]) == 1
    torch.testing.assert_close(ours, (bar - bar[-1]) * bar[0] / (bar[0] - bar[-1]), rtol=1e-9, atol=1e-15)
    inner = torch.tensor([0.9992, 0.9995, 0.9999], dtype=F64)  # in the last step alpha is a straight line
    torch.testing.assert_close(p.alpha(inner), ours[-2] * 1000 * (1 - inner), rtol=1e-9, atol=0)
    torch.testing.assert_close(p.t_of_lam(p.lam(inner)), inner, rtol=1e-12, atol=0)
    torch.testing.assert_close(p.f(inner), p.d_alpha(inner) / p.alpha(inner), rtol=1e-9, atol=0)
    assert float(p.d_alpha(1.0)) == pytest.approx(-1000 * float(ours[-2])) and p.d_sigma(1.0) == 0
    law = sd.distributions.ring()
    out = sd.sample(law.denoiser(p), p, sd.noise.prior(p, (8, 2), 1, dtype=F64), solver="ddpm", steps=30)
    assert (out.norm(dim=1) - 1.4).abs().max() < 0.5  # from exactly pure noise to the ring


def test_zero_snr_is_vp_shifted_and_scaled():
    p, vp, t = sd.process.ZeroSNR(), sd.process.VP(), torch.linspace(0, 1, 41, dtype=F64)
    last = float(vp.alpha(1.0))
    torch.testing.assert_close(p.alpha(t), (vp.alpha(t) - last) / (1 - last), rtol=1e-12, atol=1e-15)
    assert float(p.alpha(1.0)) == 0 == float(p.alpha(torch.tensor(1.0))) and float(p.var(1.0)) == 1


@pytest.mark.parametrize("n", [1.0, 1.5, 3.0])
def test_flow_paths_by_definition(n):
    t = torch.linspace(0, 1, 21, dtype=F64)
    p = sd.process.Polynomial(n)
    torch.testing.assert_close(p.alpha(t), (1 - t) ** n, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(p.sigma(t), 1 - (1 - t) ** n, rtol=1e-12, atol=1e-15)
    trig, angle = sd.process.TrigFlow(n), t * math.pi / 2
    torch.testing.assert_close(trig.alpha(angle), angle.cos(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(trig.sigma(angle), n * angle.sin(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(sd.process.Trigonometric().alpha(t), angle.cos(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("path", ["linear", "trig"])
@pytest.mark.parametrize("gamma, scale", [("none", 1.0), ("brownian", 1.3), ("quadratic", 1.0), ("sine", 0.3)])
def test_interpolants_by_definition(path, gamma, scale):
    """alpha, the sum of the two noises' variances, and derivatives, for every kind."""
    p, t = sd.process.Interpolant(path, gamma, scale), torch.linspace(0.02, 0.98, 25, dtype=F64)
    a, b = (1 - t, t) if path == "linear" else ((t * math.pi / 2).cos(), (t * math.pi / 2).sin())
    g = {"none": 0 * t, "brownian": (t * (1 - t)).sqrt(), "quadratic": t * (1 - t), "sine": (math.pi * t).sin() ** 2}
    torch.testing.assert_close(p.alpha(t), a, rtol=1e-12, atol=0)
    torch.testing.assert_close(p.var(t), b**2 + (scale * g[gamma]) ** 2, rtol=1e-12, atol=0)
    h = 1e-6
    torch.testing.assert_close(p.d_alpha(t), (p.alpha(t + h) - p.alpha(t - h)) / (2 * h), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(p.d_var(t), (p.var(t + h) - p.var(t - h)) / (2 * h), rtol=1e-7, atol=1e-8)
    assert (p.g2(t) >= 0).all()
    if gamma == "none" and path == "linear":
        torch.testing.assert_close(p.lam(t), sd.process.RectifiedFlow().lam(t))


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
        (lambda: sd.process.DiscreteBetas(torch.tensor([1.0, 0.5])), "strictly between"),
        (lambda: sd.process.DiscreteBetas(torch.tensor([0.5, 1.1])), "the last may be 1"),
        (lambda: sd.process.make("sdd"), "did you mean 'sd'"),
        (lambda: sd.process.Polynomial(0.5), "at least 1"),
        (lambda: sd.process.TrigFlow(0.0), "must be positive"),
        (lambda: sd.process.Interpolant("straight"), "unknown path"),
        (lambda: sd.process.Interpolant(gamma="root"), "unknown gamma"),
        (lambda: sd.process.Interpolant(scale=-1.0), "must not be negative"),
        (lambda: sd.process.Interpolant("linear", "sine", 3.0), "falls again"),
        (lambda: targets.Preconditioning(sd.process.VP(), 0.0), "must be positive"),
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
