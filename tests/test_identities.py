"""Algebraic identities to rounding: DDIM, the DDPM posterior, and the one integral behind every solver."""

import math

import pytest
import scipy.integrate
import torch

import sdelab as sd
from sdelab.solvers.exponential import moments, weights

F64 = torch.float64
PROCESSES = list(sd.process.table)


def problem(name, eta):
    process = sd.process.make(name)
    denoise = sd.distributions.ring().denoiser(process)
    s, t = 0.6 * process.T, 0.35 * process.T
    x = process.perturb(
        sd.distributions.ring().sample(64, seed=1, dtype=F64), s, sd.noise.normal((64, 2), 2, dtype=F64)
    )
    return process, denoise, sd.Reverse(process, denoise, eta), x, s, t


@pytest.mark.parametrize("name", PROCESSES)
def test_one_node_is_ddim(name):
    process, denoise, ode, x, s, t = problem(name, 0.0)
    D = denoise(x, s)
    eps = (x - process.alpha(s) * D) / process.sigma(s)
    ddim = process.alpha(t) * D + process.sigma(t) * eps
    torch.testing.assert_close(sd.solve(ode, sd.ExpEuler(), x, [s, t]), ddim, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_one_node_at_eta_one_is_the_ddpm_posterior(name):
    """q(x_t | x_s, x_0 = D) by Bayes' rule on Gaussians, computed without lam."""
    process, denoise, sde, x, s, t = problem(name, 1.0)
    a, std = process.transition(t, s)
    precision = 1 / process.var(t) + a**2 / std**2
    mean = (process.alpha(t) * denoise(x, s) / process.var(t) + a * x / std**2) / precision
    z = sd.noise.normal(x.shape, 9, dtype=F64)
    path = lambda a, b: z * math.sqrt(b - a)  # noqa: E731
    ours = sd.solve(sde, sd.ExpEuler(), x, [s, t], brownian=path)
    torch.testing.assert_close(ours, mean + z / precision.sqrt(), rtol=1e-11, atol=1e-11)


def test_dpmpp_2m_by_its_published_formulas():
    """Algorithm 2 of DPM-Solver++ written out with k-diffusion's letters (log-sigma time, VE)."""
    process = sd.process.EDM()
    denoise = sd.distributions.moons().denoiser(process)
    sigmas = sd.grids.karras(process, 10, zero=True)
    x = x0 = sd.noise.prior(process, (32, 2), seed=4, dtype=F64)
    old = None
    for i in range(10):
        D = denoise(x, float(sigmas[i]))
        t, t_next = -sigmas[i].log(), -sigmas[i + 1].log()
        h = t_next - t
        d = D
        if old is not None and sigmas[i + 1] > 0:
            r = (t + sigmas[i - 1].log()) / h
            d = (1 + 1 / (2 * r)) * D - 1 / (2 * r) * old
        x = (sigmas[i + 1] / sigmas[i]) * x - torch.expm1(-h) * d
        old = D
    ours = sd.sample(denoise, process, x0, solver="dpmpp_2m", grid="karras", steps=10)
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("h", [1e-6, 1e-3, 0.1, 0.7, 3.0, 20.0])
@pytest.mark.parametrize("k", [1.0, 2.0, 5.0])
def test_weights_integrate_polynomials_exactly(h, k):
    nodes = [h, 0.0, -0.8 * h, -1.7 * h]
    for degree in range(4):
        exact, _ = scipy.integrate.quad(
            lambda u, n=degree: k * math.exp(-k * (h - u)) * (u / h) ** n, 0, h, epsabs=0, epsrel=1e-12
        )
        ours = sum(w * (u / h) ** degree for w, u in zip(weights(h, k, nodes), nodes, strict=True))
        assert ours == pytest.approx(exact, rel=1e-10)


def test_moments_are_continuous_where_the_formulas_meet():
    for below, above in zip(moments(1.0, 6), moments(1.0 + 1e-12, 6), strict=True):
        assert below == pytest.approx(above, rel=1e-11)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0, 2.0])
def test_the_family_by_its_definition(name, eta):
    """drift = f x - (1 + eta^2)/2 g^2 score and diffusion = eta g with the exact score, for one time and one each."""
    process, law = sd.process.make(name), sd.distributions.ring()
    equation = sd.Reverse(process, law.denoiser(process), eta)
    times = torch.tensor([0.2, 0.5, 0.9], dtype=F64) * process.T
    x = 1.5 * sd.noise.normal((3, 2), 1, dtype=F64)
    for i, t in enumerate(times.tolist()):
        score = law.at(process, t).score(x)
        drift = process.f(t) * x - 0.5 * (1 + eta**2) * process.g2(t) * score
        torch.testing.assert_close(equation.drift(x, t), drift, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(equation.score(x, t), score, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(equation.eps(x, t), -process.sigma(t) * score, rtol=1e-8, atol=1e-8)
        assert float(equation.diffusion(x, t)) == pytest.approx(eta * float(process.g(t)), rel=1e-14)
        for each in (equation.drift, equation.score):
            torch.testing.assert_close(each(x, times)[i], each(x, t)[i], rtol=1e-12, atol=1e-12)
    if eta:
        torch.testing.assert_close(equation.diffusion(x, times), (eta * process.g(times))[:, None])


EXPONENTIAL_ODE = [r for r in sd.solvers.table if r.family == "exponential" and not r.stochastic]


@pytest.mark.parametrize("row", EXPONENTIAL_ODE, ids=lambda r: r.key)
def test_one_point_of_data_is_exact_in_one_exponential_step(row):
    """Data at a single point: D is constant, so exponential solvers are exact in one step, whatever the process."""
    process = sd.process.VP()
    denoise = sd.distributions.empirical(torch.tensor([[0.3, -1.2]], dtype=F64)).denoiser(process)
    x = sd.noise.normal((16, 2), 1, dtype=F64)
    eps = (x - process.alpha(1.0) * torch.tensor([0.3, -1.2], dtype=F64)) / process.sigma(1.0)
    exact = process.alpha(0.1) * torch.tensor([0.3, -1.2], dtype=F64) + process.sigma(0.1) * eps
    ours = sd.solve(sd.Reverse(process, denoise, 0.0), row.make(), x, [1.0, 0.1])
    if row.key.startswith("lawson"):  # an integrating factor is exact on the linear part alone, not with a constant D
        assert float((ours - exact).abs().max()) > 0.1
        return
    rounding = 1e-10  # methods in eps or sigma go through x/alpha, 150 times larger than x here, and stages multiply it
    torch.testing.assert_close(ours, exact, rtol=rounding, atol=rounding)


def test_euler_is_ddim_only_on_edms_clock():
    law = sd.distributions.ring()
    for process, same in ((sd.process.EDM(), True), (sd.process.VP(), False)):
        ode = sd.Reverse(process, law.denoiser(process), 0.0)
        x = sd.noise.prior(process, (32, 2), seed=1, dtype=F64)
        times = sd.grids.logsnr(process, 12)
        gap = (sd.solve(ode, sd.Euler(), x, times) - sd.solve(ode, sd.ExpEuler(), x, times)).abs().max()
        assert (gap < 1e-9) == same
