"""Discrete chains by their published formulas, their limits, and the exact posterior of a Gaussian."""

import math
from itertools import pairwise

import pytest
import torch

import sdelab as sd
from sdelab import orders
from sdelab.solvers import DDIM, DDPM, AnalyticDPM, LearnedDDPM, ReverseDiffusion, linear, posterior_variance

F64 = torch.float64
LAW = sd.distributions.ring()
X = torch.ones(2, 2)
VP, CHAIN, FLOW = sd.process.VP(), sd.process.DiscreteBetas(), sd.process.RectifiedFlow()


def one_step(solver, equation, x, s, t, seed=3):
    """(result, its noise z)."""
    return sd.solve(equation, solver, x, [s, t], seed=seed), sd.noise.normal(
        x.shape, seed, (sd.noise.STEP, 0), dtype=F64
    )


def chain(i):
    """(alpha-bar, beta) of a DDPM chain at index i = 1, …, from its betas."""
    return float((1 - CHAIN.betas[:i]).prod()), float(CHAIN.betas[i - 1])


@pytest.mark.parametrize("v, w", [("small", 0.0), ("large", 1.0), (0.3, 0.3)])
def test_ddpm_step_by_its_formula(v, w):
    """Ho et al., algorithm 2, with the variances of eq. 15 of Nichol & Dhariwal, on one link of the chain."""
    i, x = 400, sd.noise.normal((5, 2), 1, dtype=F64)
    (bar, beta), (bar_prev, _) = chain(i), chain(i - 1)
    equation = sd.Reverse(CHAIN, LAW.denoiser(CHAIN), 1.0)
    ours, z = one_step(DDPM(v), equation, x, i / 1000, (i - 1) / 1000)
    eps = (x - math.sqrt(bar) * equation.denoise(x, i / 1000)) / math.sqrt(1 - bar)
    mean = (x - beta / math.sqrt(1 - bar) * eps) / math.sqrt(1 - beta)
    tilde = (1 - bar_prev) / (1 - bar) * beta
    var = math.exp(w * math.log(beta) + (1 - w) * math.log(tilde))
    torch.testing.assert_close(ours, mean + math.sqrt(var) * z, rtol=1e-11, atol=1e-11)
    learned = one_step(LearnedDDPM(lambda y, t: torch.full_like(y, w)), equation, x, 0.4, 0.399)[0]
    torch.testing.assert_close(learned, ours, rtol=1e-12, atol=1e-12)


def test_which_variance_is_right():
    """Small for a point, large for N(0, I) on VP: the marginals of the chain are then exact, however long the steps."""
    times = [0.9, 0.5, 0.2, 0.05]
    for std, right, wrong in ((0.0, "small", "large"), (1.0, "large", "small")):
        denoise = sd.distributions.gaussian((0.0,), std).denoiser(VP)
        for variance, exact in ((right, True), (wrong, False)):
            out = posterior_moments(sd.Reverse(VP, denoise, 1.0), DDPM(variance), times, std)
            assert (abs(out - 1) < 1e-12) == exact, (std, variance, out)


def posterior_moments(equation, solver, times, std):
    """Variance of the output over that of p_t, for data N(0, std^2), started exactly; by basis vectors."""
    p = equation.process
    rows = len(times)
    x = torch.zeros(rows, 1, dtype=F64)
    x[0] = math.sqrt(float(p.alpha(times[0]) ** 2 * std**2 + p.var(times[0])))
    made = iter(range(1, rows))

    def draw(a, b, x, scale):
        z = torch.zeros_like(x)
        z[next(made)] = 1.0
        return z, scale

    memory = solver.start() | {"keep_states": True}
    for entry in solver.plan(equation, times):
        x = solver.step(equation, x, entry, memory, draw)
    return float(x.square().sum() / (p.alpha(times[-1]) ** 2 * std**2 + p.var(times[-1])))


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("process", [VP, FLOW, sd.process.EDM()], ids=lambda p: p.name)
def test_ddim_step_by_its_formula(eta, process):
    """Song, Meng & Ermon, eq. 12, where alpha and sigma are any."""
    s, t, x = 0.6, 0.25, sd.noise.normal((5, 2), 1, dtype=F64)
    equation = sd.Reverse(process, LAW.denoiser(process), eta)
    ours, z = one_step(DDIM(), equation, x, s, t)
    D, eps = equation.denoise(x, s), equation.eps(x, s)
    back = process.transition(t, s)[1] ** 2 * process.var(t) / process.var(s)
    exact = process.alpha(t) * D + (process.var(t) - eta**2 * back).sqrt() * eps + eta * back.sqrt() * z
    torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)


def test_ddim_eta_and_the_family():
    """Equal at eta = 0 and 1 whatever the step; between, less noise, and a gap that closes at first order."""
    x = sd.noise.normal((50, 2), 1, dtype=F64)

    def gap(eta, steps, **noise):
        equation, ts = sd.Reverse(VP, LAW.denoiser(VP), eta), sd.grids.logsnr(VP, steps, t_start=0.9, t_end=0.05)
        a, b = (sd.solve(equation, solver, x, ts, **noise) for solver in (DDIM(), sd.ExpEuler()))
        return float((a - b).abs().mean())

    assert max(gap(eta, 5, seed=1) for eta in (0.0, 1.0)) < 1e-14
    path = sd.Brownian(x.shape, *(math.exp(0.5 * float(VP.lam(t))) for t in (0.9, 0.05)), seed=2, dtype=F64)
    steps = (20, 40, 80)
    gaps = [gap(0.5, n, brownian=path) for n in steps]
    assert gaps[0] > 1e-3 and orders.slope(steps, gaps) == pytest.approx(1, abs=0.15)
    (a, b), s, t = ((DDIM(), sd.ExpEuler()), 0.8, 0.3)
    equation = sd.Reverse(VP, LAW.denoiser(VP), 0.5)
    stds = [solver.plan(equation, [s, t])[0].stages[0].noise[0] for solver in (a, b)]
    assert stds[0] < 0.6 * stds[1]


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_zero_terminal_snr(eta):
    """From alpha = 0 DDIM's formula holds as it stands: eps is x itself."""
    x = sd.noise.normal((5, 2), 1, dtype=F64)
    equation = sd.Reverse(FLOW, LAW.denoiser(FLOW), eta)
    ours, z = one_step(DDIM(), equation, x, 1.0, 0.7)
    exact = 0.3 * equation.denoise(x, 1.0) + 0.7 * (math.sqrt(1 - eta**2) * x + eta * z)
    torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)
    ddpm = sd.solve(sd.Reverse(FLOW, LAW.denoiser(FLOW), 1.0), DDPM(), x, [1.0, 0.7], seed=3)
    torch.testing.assert_close(ddpm, 0.3 * equation.denoise(x, 1.0) + 0.7 * z, rtol=1e-12, atol=1e-12)


def test_reverse_diffusion_by_its_formulas():
    """Song et al.: on a DDPM chain x <- (2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z, half as an ODE."""
    i, x = 300, sd.noise.normal((5, 2), 1, dtype=F64)
    beta = float(CHAIN.betas[i - 1])
    for eta in (1.0, 0.0):
        equation = sd.Reverse(CHAIN, LAW.denoiser(CHAIN), eta)
        ours, z = one_step(ReverseDiffusion(), equation, x, i / 1000, (i - 1) / 1000)
        score = equation.score(x, i / 1000)
        exact = (2 - math.sqrt(1 - beta)) * x + (1 + eta**2) / 2 * beta * score + eta * math.sqrt(beta) * z
        torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)


def test_song_ancestral_sampling():
    """Their VE step, and their VP step, which adds beta and not beta tilde: DDPM small and large."""
    edm, x = sd.process.EDM(), 3 * sd.noise.normal((5, 2), 1, dtype=F64)
    equation = sd.Reverse(edm, LAW.denoiser(edm), 1.0)
    ours, z = one_step(sd.solvers.row("ancestral").make(), equation, x, 2.0, 1.5)
    gap = 2.0**2 - 1.5**2
    exact = x + gap * equation.score(x, 2.0) + math.sqrt(1.5**2 * gap / 2.0**2) * z
    torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)
    i = 300
    equation, beta = sd.Reverse(CHAIN, LAW.denoiser(CHAIN), 1.0), float(CHAIN.betas[i - 1])
    ours, z = one_step(DDPM("large"), equation, x, i / 1000, (i - 1) / 1000)
    exact = (x + beta * equation.score(x, i / 1000)) / math.sqrt(1 - beta) + math.sqrt(beta) * z
    torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-11)


def test_the_clock_that_overshoots():
    """Public code's steps of 1/N on a grid of N times: the last one ends before t = 0, and the law is missed by more
    than with steps as long as the gaps, at the same number of calls."""
    N, eps = 30, 0.02
    grid = torch.linspace(1, eps, N, dtype=F64)
    assert float(grid[-1]) - 1 / N < 0 < eps
    ode = orders.linear_problem(VP, 0.0)
    x = start = torch.linspace(-2, 2, 9, dtype=F64)[:, None]
    for t in grid.tolist():
        x = x - ode.drift(x, t) / N
    growth = orders.spread(VP, eps) / orders.spread(VP, 1.0)
    exact = VP.alpha(eps) * orders.MEAN + (start - VP.alpha(1.0) * orders.MEAN) * growth
    ours = sd.solve(ode, sd.Euler(), start, torch.linspace(1, eps, N + 1, dtype=F64))
    assert float((ours - exact).abs().max()) < 0.5 * float((x - exact).abs().max())


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("process", [VP, FLOW, sd.process.EDM()], ids=lambda p: p.name)
def test_analytic_dpm_is_exact_on_gaussian_data(process, eta):
    """Three long steps, from alpha = 0 on the straight path; 3 % of error in the data's variance is seen."""
    std, times = 0.6, [process.T, 0.5 * process.T, 0.1 * process.T, 0.05 * process.T]
    equation = sd.Reverse(process, sd.distributions.gaussian((0.0,), std).denoiser(process), eta)
    for variance, error in ((std**2, 0.0), (1.03 * std**2, 1e-4)):
        out = posterior_moments(equation, AnalyticDPM(variance), times, std)
        assert (abs(out - 1) < 1e-12) == (error == 0) and abs(out - 1) >= error


def test_analytic_variance_in_the_letters_of_the_paper():
    """Bao et al., theorem 1: lambda^2 + (sqrt(B/A) - sqrt(B' - lambda^2))^2 (1 - B E|score|^2/d), B = 1 - alpha-bar."""
    i, eta, c = 600, 0.5, 0.4
    (bar, beta), (bar_prev, _) = chain(i), chain(i - 1)
    equation = sd.Reverse(CHAIN, sd.distributions.gaussian((0.0,), math.sqrt(c)).denoiser(CHAIN), eta)
    noise = AnalyticDPM(c).plan(equation, [i / 1000, (i - 1) / 1000])[0].stages[0].noise[0]
    lam2 = eta**2 * (1 - bar_prev) / (1 - bar) * beta
    gamma = 1 / (bar * c + 1 - bar)  # E|score|^2/d of N(0, bar c + 1 - bar)
    square = (math.sqrt((1 - bar) / (1 - beta)) - math.sqrt(1 - bar_prev - lam2)) ** 2
    assert noise**2 == pytest.approx(lam2 + square * (1 - (1 - bar) * gamma), rel=1e-8)


def test_measured_posterior_variance():
    """Both routes against the closed form on a Gaussian, and the loss on two modes against quadrature."""
    times, std = [0.2, 0.5, 0.8], 0.6
    law = sd.distributions.gaussian((0.0, 0.0), std)
    x0 = law.sample(40_000, seed=1, dtype=F64)
    closed = AnalyticDPM(std**2)
    for route, count in (("loss", 3), ("score", 1)):  # the score's cancels where noise is most of x
        V = posterior_variance(law.denoiser(VP), VP, x0, times, seed=2, route=route)
        for point in linear.points(VP, times[:count]):
            assert V(point.t) == pytest.approx(closed.spread_of_data(point), rel=0.03)
    assert posterior_variance(lambda x, t: 0 * x, FLOW, x0, [1.0], seed=2)(1.0) == pytest.approx(std**2, rel=0.02)


def test_a_step_has_the_right_second_moment_on_any_law():
    """One long step from the exact law of two modes, by quadrature; DDPM's two variances miss it."""
    law, s, t = sd.distributions.GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], 0.3), 0.5, 0.2
    x = torch.linspace(-8, 8, 4001, dtype=F64)[:, None]
    p = law.at(VP, s).log_prob(x).exp() * (x[1, 0] - x[0, 0])
    equation = sd.Reverse(VP, law.denoiser(VP), 1.0)
    D = equation.denoise(x, s)[:, 0]
    second = float(law.covs[0] + 1.0)  # E x_0^2
    V = second - float((p * D**2).sum())  # Var of x_0 given x_s, by the law of total variance
    exact = float(VP.alpha(t) ** 2) * second + float(VP.var(t))

    def moment(solver):
        (_, _, keep, (w,), _, (std,)) = solver.plan(equation, [s, t])[0].stages[0]
        return float((p * (keep * x[:, 0] + w * D) ** 2).sum()) + std**2

    assert moment(AnalyticDPM(lambda t: V)) == pytest.approx(exact, rel=1e-10)
    assert moment(DDPM()) < 0.98 * exact and moment(DDPM("large")) > 1.02 * exact
    x0 = law.sample(40_000, seed=1, dtype=F64)
    assert posterior_variance(law.denoiser(VP), VP, x0, [s], seed=2)(s) == pytest.approx(V, rel=0.03)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("process", [VP, sd.process.EDM()], ids=lambda p: p.name)
def test_euler_a_is_ddim(process, eta):
    """The same chain under two names, with the same eta; at eta = 1 it is DDPM."""
    x, times = sd.noise.normal((5, 2), 1, dtype=F64), [0.8, 0.5, 0.2, 0.1]
    equation = sd.Reverse(process, LAW.denoiser(process), eta)
    keys = ("euler_ancestral", "ddim_eta") + (("ddpm", "ancestral") if eta == 1 else ())
    outs = [sd.solve(equation, sd.solvers.row(key).make(), x, times, seed=3) for key in keys]
    for other in outs[1:]:
        torch.testing.assert_close(other, outs[0], rtol=1e-11, atol=1e-11)


def test_where_euler_is_ddim():
    """Where alpha and sigma are linear in t, to rounding; on VP Euler in t is another method of order 1."""
    x, times = sd.noise.normal((5, 2), 1, dtype=F64), [0.8, 0.5, 0.2, 0.1]
    for process, same in ((sd.process.EDM(), True), (FLOW, True), (VP, False)):
        equation = sd.Reverse(process, LAW.denoiser(process), 0.0)
        pair = [sd.solve(equation, solver, x, times) for solver in (sd.Euler(), DDIM())]
        assert torch.allclose(*pair, rtol=1e-12, atol=1e-12) == same


def step(process, eta, solver):
    return sd.solve(sd.Reverse(process, LAW.denoiser(process), eta), solver, torch.ones(2, 2), [1.0, 0.4], seed=0)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: DDPM("middle"), "'small', 'large' or a fraction"),
        (lambda: DDPM(1.5), "between 0 and 1"),
        (lambda: AnalyticDPM(-1.0), "data's variance"),
        (lambda: posterior_variance(lambda x, t: x, VP, X, [0.5], 0, route="norm"), "route must be"),
        (lambda: posterior_variance(lambda x, t: x, VP, X[:0], [0.5], 0), "must not be empty"),
        (lambda: posterior_variance(lambda x, t: x, FLOW, X, [1.0], 0, route="score"), "use route='loss'"),
        (lambda: step(VP, 1.5, AnalyticDPM()), "between 0 and 1"),
        (lambda: step(VP, 0.5, DDPM()), "use eta=1"),
        (lambda: step(VP, 1.5, DDIM()), "between 0 and 1, not 1.5"),
        (lambda: step(FLOW, 0.0, ReverseDiffusion()), "alpha = 0 at t = 1"),
        (lambda: sd.solve(sd.OU(), DDIM(), torch.ones(2, 2), [0.0, 0.4], seed=0), "needs a Reverse"),
    ],
)  # fmt: skip
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_memory_of_no_step_grows():
    solver, equation = DDPM("large"), sd.Reverse(VP, LAW.denoiser(VP), 1.0)
    memory = solver.start() | {"keep_states": False}
    x = torch.ones(3, 2, dtype=F64)
    for _, entry in zip(pairwise(range(9)), solver.plan(equation, sd.grids.logsnr(VP, 8).tolist()), strict=True):
        x = solver.step(equation, x, entry, memory, lambda a, b, x, std: (torch.zeros_like(x), std))
    assert not memory["past"]
