"""General SDEs against their exact laws."""

import math

import pytest
import scipy.stats
import torch

import sdelab as sd

F64 = torch.float64
LEVEL = 1e-5


def ends(equation, x0, t1=1.0, n=400, seed=1):
    return sd.solve(equation, sd.EulerMaruyama(), x0, torch.linspace(0, t1, n + 1, dtype=F64), seed=seed)


def test_ou_law():
    """Kolmogorov–Smirnov against the exact Gaussian, level 1e-5; the twin with sqrt(dt) for sqrt(2 dt) fails."""
    ou = sd.OU(theta=1.0, mu=0.5, sigma=math.sqrt(2))
    x0 = torch.full((40_000, 1), 2.0, dtype=F64)
    exact = scipy.stats.norm(ou.mean(2.0, 1.0), ou.std(1.0))
    assert scipy.stats.kstest(ends(ou, x0)[:, 0], exact.cdf).pvalue > LEVEL
    assert scipy.stats.kstest(ends(sd.OU(1.0, 0.5, 1.0), x0)[:, 0], exact.cdf).pvalue < LEVEL


def test_ou_moments_solve_their_equations():
    """mean' = theta (mu - mean), var' = sigma^2 - 2 theta var, by finite differences."""
    ou, t, h = sd.OU(1.7, 0.5, 0.8), 0.6, 1e-5
    assert (ou.mean(2.0, t + h) - ou.mean(2.0, t - h)) / (2 * h) == pytest.approx(
        1.7 * (0.5 - ou.mean(2.0, t)), rel=1e-8
    )
    assert (ou.std(t + h) ** 2 - ou.std(t - h) ** 2) / (2 * h) == pytest.approx(0.64 - 3.4 * ou.std(t) ** 2, rel=1e-8)


def test_gbm_law():
    gbm = sd.GBM(0.3, 0.4)
    x0 = torch.ones(20_000, 1, dtype=F64)
    exact = scipy.stats.norm(0.3 - 0.08, 0.4)
    assert scipy.stats.kstest(ends(gbm, x0, n=400).log()[:, 0], exact.cdf).pvalue > LEVEL
    assert (
        scipy.stats.kstest(ends(sd.GBM(0.3 + 0.08, 0.4), x0, n=400).log()[:, 0], exact.cdf).pvalue < LEVEL
    )  # Itô term lost
    assert gbm.mean(1.0, 2.0) == pytest.approx(math.exp(0.6))
    w = scipy.stats.norm(0, 0.7).ppf((torch.arange(20_000, dtype=F64) + 0.5) / 20_000)  # W at t = 0.49
    assert float(gbm.exact_path(x0[:1, 0], 0.49, torch.as_tensor(w)).mean()) == pytest.approx(
        gbm.mean(1.0, 0.49), rel=1e-4
    )


def test_double_well_and_langevin_have_the_same_stationary_law():
    """Both are gradient dynamics: drift = sigma^2/2 grad log p and sqrt(2 tau) noise, exactly."""
    well = sd.DoubleWell(1.3, 0.7)
    x = torch.linspace(-2, 2, 21, dtype=F64)[:, None].requires_grad_()
    (score,) = torch.autograd.grad(well.log_stationary(x).sum(), x)
    torch.testing.assert_close(well.drift(x, 0.0), 0.5 * 0.7**2 * score, rtol=1e-12, atol=1e-12)
    langevin = sd.Langevin(lambda x: -x, temperature=0.25)
    assert langevin.diffusion(x, 0.0) == pytest.approx(math.sqrt(0.5))
    assert not sd.Langevin(lambda x: -x, temperature=0.0).stochastic
    with pytest.raises(ValueError, match="temperature"):
        sd.Langevin(lambda x: -x, temperature=-1.0)


def test_langevin_reaches_its_law():
    law = sd.distributions.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.5)
    out = ends(sd.Langevin(law.score), law.sample(20_000, seed=3, dtype=F64), t1=1.0, n=300)
    cdf = lambda v: 0.5 * (scipy.stats.norm(-1, 0.5).cdf(v) + scipy.stats.norm(1, 0.5).cdf(v))  # noqa: E731
    assert scipy.stats.kstest(out[:, 0], cdf).pvalue > LEVEL
    assert scipy.stats.kstest(1.03 * out[:, 0], cdf).pvalue < 0.1  # a weak twin: 3 % is near the resolution here


def test_reverse_sde_returns_to_the_data():
    """eta = 0, 1, 2 all end in the same law (claim U2, U5 in one dimension)."""
    process, law = sd.process.VP(), sd.distributions.GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], 0.25)
    start = law.at(process, 1.0).sample(8_000, seed=1, dtype=F64)
    target = law.at(process, 0.02)
    cdf = lambda v: sum(  # noqa: E731
        float(w) * scipy.stats.norm(float(m), float(C.sqrt())).cdf(v)
        for w, m, C in zip(target.weights, target.means[:, 0], target.covs[:, 0, 0], strict=True)
    )
    for eta in (0.0, 1.0, 2.0):
        times = sd.grids.logsnr(process, 300, t_end=0.02)
        out = sd.solve(sd.Reverse(process, law.denoiser(process), eta), sd.ExpAdams(2), start, times, seed=4)
        assert scipy.stats.kstest(out[:, 0], cdf).pvalue > LEVEL, eta
    off = sd.Reverse(process, lambda x, t: 0.9 * law.denoiser(process)(x, t), 1.0)
    assert scipy.stats.kstest(sd.solve(off, sd.ExpAdams(2), start, times, seed=4)[:, 0], cdf).pvalue < LEVEL


def test_slope_of_the_diffusion_in_every_grad_mode():
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    equation = sd.SDE(lambda x, t: x, lambda x, t: torch.sin(scale * x) * t)
    x = torch.linspace(-1, 1, 7, dtype=torch.float64)
    exact = 2 * 0.3 * torch.cos(2 * x)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            y = x.clone()
            b, slope = map(torch.as_tensor, equation.with_slope(y, 0.3))
        assert not y.requires_grad and b.requires_grad == slope.requires_grad == (mode is torch.enable_grad)
        torch.testing.assert_close(b.detach(), torch.sin(2 * x) * 0.3)
        torch.testing.assert_close(slope.detach(), exact)
    y = x.clone().requires_grad_()
    slope = torch.as_tensor(equation.with_slope(y, 0.3)[1])
    first, second = torch.autograd.grad(slope.sum(), (y, scale))
    torch.testing.assert_close(first, -4 * 0.3 * torch.sin(2 * x))
    torch.testing.assert_close(second, (0.3 * (torch.cos(2 * x) - 2 * x * torch.sin(2 * x))).sum())
    for constant in (lambda x, t: 0.3, lambda x, t: torch.full_like(x, 0.3), lambda x, t: torch.ones(2)):
        assert sd.SDE(lambda x, t: x, constant).with_slope(x, 0.3)[1] == 0.0
