"""Correctors: their formulas, the laws they leave alone, and predictor–corrector as their composition."""

import math

import pytest
import torch

import sdelab as sd
from sdelab import orders
from sdelab.solvers import DDIM, HMC, MALA, PC, AnnealedLangevin, LangevinCorrector, LearnedDDPM, ReverseDiffusion
from sdelab.solvers.linear import points

F64 = torch.float64
LAW = sd.distributions.ring()
VP, EDM = sd.process.VP(), sd.process.EDM()
LEVEL = 4.42  # of |N(0, 1)| at 1e-5


def equation(law=LAW, process: sd.process.Process = VP, eta=1.0):
    return sd.Reverse(process, law.denoiser(process), eta)


def draw_of(x, j=0, seed=3):
    return sd.noise.normal(x.shape, seed, (sd.noise.STEP, 0) + ((j,) if j else ()), dtype=x.dtype)


X = 0.8 * sd.noise.normal((7, 2), 1, dtype=F64)


@pytest.mark.parametrize("norm", ["level", "sample", "batch"])
@pytest.mark.parametrize("process", [VP, EDM], ids=lambda p: p.name)
def test_langevin_step_by_its_formula(norm, process):
    """Song et al., algorithms 4 and 5, with the score in x alone."""
    t, r, eq = 0.4, 0.2, equation(process=process)
    ours = sd.solve(eq, LangevinCorrector(r, norm=norm), X, [0.5, t], seed=3)
    z, s = draw_of(X), eq.score(X, t)
    size = {"level": process.sigma(t), "sample": z.norm(dim=1) / s.norm(dim=1),
            "batch": z.norm(dim=1).mean() / s.norm(dim=1).mean()}[norm]  # fmt: skip
    e = (2 * (r * size) ** 2).reshape(-1, 1)
    torch.testing.assert_close(ours, X + e * s + (2 * e).sqrt() * z, rtol=1e-12, atol=1e-12)


def test_algorithm_5_with_its_alpha():
    """On a DDPM chain e = 2 alpha_i (r |z|/|s|)^2: snr as a function of t."""
    chain, r, i = sd.process.DiscreteBetas(), 0.16, 250
    eq, alpha = equation(process=chain), 1 - float(chain.betas[i - 1])
    solver = LangevinCorrector(lambda t: r * math.sqrt(1 - float(chain.betas[round(t * 1000) - 1])), norm="sample")
    ours = sd.solve(eq, solver, X, [0.251, i / 1000], seed=3)
    z, s = draw_of(X), eq.score(X, i / 1000)
    e = 2 * alpha * (r * z.norm(dim=1, keepdim=True) / s.norm(dim=1, keepdim=True)) ** 2
    torch.testing.assert_close(ours, X + e * s + (2 * e).sqrt() * z, rtol=1e-12, atol=1e-12)


def test_annealed_langevin_by_its_formula():
    """Song & Ermon (2019), algorithm 1, for two levels of three steps."""
    eq, epsilon, sigmas = equation(process=EDM), 0.05, [1.0, 0.5]
    solver = AnnealedLangevin(epsilon / (2 * sigmas[-1] ** 2), repeats=3)
    ours, x = sd.solve(eq, solver, X, [2.0, *sigmas], seed=3), X
    for n, sigma in enumerate(sigmas):
        a = epsilon * sigma**2 / sigmas[-1] ** 2
        for j in range(3):
            z = sd.noise.normal(X.shape, 3, (sd.noise.STEP, n) + ((j,) if j else ()), dtype=F64)
            x = x + a / 2 * eq.score(x, sigma) + math.sqrt(a) * z
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


def at(process, t):
    return points(process, [t])[0]


def stationary(solver, law, t=0.3, dim=1):
    """Variance to which the corrector tends, in units of Var x_t, by basis vectors."""
    count = 400
    x = torch.zeros(count + 1, 1, dtype=F64)
    made = iter(range(1, count + 1))

    def draw(a, b, x, std):
        z = torch.zeros_like(x)
        z[next(made)] = 1.0
        return z, std

    eq, point = equation(law), at(VP, t)
    for _ in range(count):
        x = solver.correct(eq, x, point, draw)
    return float(x.square().sum() / law.at(VP, t).cov)


def test_the_bias_of_a_langevin_step():
    """On N(0, v) the variance tends to v/(1 - e/(2 v)); with 3 % more noise it would not."""
    law, t, r = sd.distributions.gaussian((0.0,), 0.5), 0.3, 0.3
    e, v = 2 * (r * float(VP.sigma(t))) ** 2, float(law.at(VP, t).cov)
    assert stationary(LangevinCorrector(r), law) == pytest.approx(1 / (1 - e / (2 * v)), rel=1e-12)

    class Noisy(LangevinCorrector):
        def correct(self, equation, x, at, draw):
            return super().correct(equation, x, at, lambda a, b, x, std: draw(a, b, x, 1.03 * std))

    assert stationary(Noisy(r), law) == pytest.approx(1.03**2 / (1 - e / (2 * v)), rel=1e-12)
    small = [stationary(LangevinCorrector(r), law) - 1 for r in (0.3, 0.15)]
    assert small[0] / small[1] == pytest.approx(4, rel=0.1)  # second order in r


def test_norms_of_single_samples_change_the_law():
    """For d = 4 a fixed step keeps E|x|^2 = d; norms per sample make it (d + 2)^2/d = 9; batch means do not."""
    d, law = 4, sd.distributions.gaussian((0.0,) * 4, 1.0)
    x = sd.noise.normal((4000, d), 1, dtype=F64)
    times = torch.linspace(0.5, 0.45, 501, dtype=F64)  # p_t is N(0, I) throughout
    second = {}
    for norm in ("level", "sample", "batch"):
        out = sd.solve(equation(law), LangevinCorrector(0.07, norm=norm), x, times, seed=2)
        second[norm] = float(out.square().sum(1).mean())
    assert second["sample"] == pytest.approx((d + 2) ** 2 / d, rel=0.05)
    assert second["level"] == pytest.approx(d, rel=0.05) and second["batch"] == pytest.approx(d, rel=0.05)


def chi(solver, model, steps, law, dim, n):
    """Deviation of |x|^2 from its law under ``law``, in standard deviations, after correcting exact samples."""
    eq, times = equation(model), torch.linspace(0.3, 0.299999, steps + 1, dtype=F64)
    v = float(law.at(VP, 0.3).cov[0, 0])
    x = sd.solve(eq, solver, law.at(VP, 0.3).sample(n, seed=1, dtype=F64), times, seed=4)
    return (float(x.square().sum()) / v - n * dim) / math.sqrt(2 * n * dim)


@pytest.mark.parametrize("solver, steps", [(HMC(0.5, 4), 10), (MALA(0.7), 25)], ids=["hmc", "mala"])
def test_accepted_chains_keep_a_gaussian(solver, steps):
    """At level 1e-5, without a density; a model with a variance 3 % off, or Langevin without acceptance, must fail."""
    dim, n = 20, 8000
    law = sd.distributions.gaussian((0.0,) * dim, 0.7)
    t = at(VP, 0.3)
    off = sd.distributions.gaussian((0.0,) * dim, math.sqrt(1.03 * 0.49 + 0.03 * (t.sigma / t.alpha) ** 2))
    assert abs(chi(solver, law, steps, law, dim, n)) < LEVEL
    assert 0.3 < float(solver.accepted) < 0.99
    assert chi(solver, off, steps, law, dim, n) > LEVEL
    assert chi(LangevinCorrector(0.25), law, 40, law, dim, n) > LEVEL


def test_a_density_makes_it_exact_on_any_law():
    """Two modes: second moment and share of the right mode at level 1e-5; means 3 % off must fail."""
    n, t = 60_000, 0.2

    def modes(scale):
        return sd.distributions.GaussianMixture([0.3, 0.7], [[-scale], [scale]], 0.5)

    def deviation(model):
        law = modes(1.0).at(VP, t)
        log_prob = lambda x, time: model.at(VP, time).log_prob(x)  # noqa: E731
        x = law.sample(n, seed=1, dtype=F64)
        times = torch.linspace(t + 1e-9, t, 13, dtype=F64)
        out = sd.solve(equation(model), HMC(0.6, 3, log_prob=log_prob), x, times, seed=4)
        m, v = float(law.means[1]), float(law.covs[0])
        var = 2 * v**2 + 4 * v * m**2
        return (float(out.square().mean()) - float(m**2 + v)) / math.sqrt(var / n)

    assert abs(deviation(modes(1.0))) < LEVEL
    assert deviation(modes(1.03)) > LEVEL


def test_the_line_integral_is_of_second_order():
    """Trapezia along leaps of a fixed total length against the exact log-density, and exact on a Gaussian."""
    p = sd.noise.normal(X.shape, 9, dtype=F64)
    for law, exact in ((LAW, False), (sd.distributions.gaussian((0.3, -0.2), 0.4), True)):
        density = law.at(VP, 0.3)
        errors = []
        for leaps in (4, 8, 16):
            y, _, gain = HMC(leaps=leaps).leap(density.score, X, p, 0.6 / leaps)
            errors.append(float((gain - density.log_prob(y) + density.log_prob(X)).abs().max()))
        if exact:
            assert max(errors) < 1e-12
        else:
            assert orders.slope((4, 8, 16), errors) == pytest.approx(2, abs=0.15)


def test_leapfrog_is_reversible():
    y, p, gain = HMC(leaps=6).leap(LAW.at(VP, 0.3).score, X, X.flip(0), 0.1)
    back, p_back, loss = HMC(leaps=6).leap(LAW.at(VP, 0.3).score, y, -p, 0.1)
    torch.testing.assert_close(back, X, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(-p_back, X.flip(0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(loss, -gain, rtol=1e-10, atol=1e-10)


def test_mala_accepts_by_the_rule_of_metropolis_and_hastings():
    """p(y) q(x|y) against p(x) q(y|x) with q(y|x) = N(x + e s(x), 2 e), for each of many samples."""
    law, t, l = sd.distributions.gaussian((0.2, -0.1), 0.5), 0.4, 1.7
    eq, density, n = equation(law), law.at(VP, t), 2000
    x = density.sample(n, seed=1, dtype=F64)
    e = (l * float(VP.sigma(t))) ** 2 / 2
    z, u = draw_of(x), sd.noise.normal((n,), 3, (sd.noise.STEP, 0, 1), dtype=F64)
    y = x + e * density.score(x) + math.sqrt(2 * e) * z

    def log_q(b, a):
        return -(b - a - e * density.score(a)).square().sum(1) / (4 * e)

    log_ratio = density.log_prob(y) - density.log_prob(x) + log_q(x, y) - log_q(y, x)
    accept = 0.5 * torch.erfc(-u / math.sqrt(2)) < log_ratio.exp()
    assert 0.2 < float(accept.double().mean()) < 0.8
    ours = sd.solve(eq, MALA(l), x, [0.5, t], seed=3)
    torch.testing.assert_close(ours, torch.where(accept[:, None], y, x), rtol=1e-11, atol=1e-11)


def test_mala_proposes_a_langevin_step():
    """One leap of length l is Langevin with e = l^2/2: where accepted, the same numbers."""
    solver, step = MALA(0.1), 0.1
    accepted = sd.solve(equation(), solver, X, [0.5, 0.4], seed=3)
    proposed = sd.solve(equation(), LangevinCorrector(step / 2), X, [0.5, 0.4], seed=3)
    assert float(solver.accepted) == 1
    torch.testing.assert_close(accepted, proposed, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("predictor", [sd.ExpEuler(), sd.EulerMaruyama(), sd.ExpAdams(2), ReverseDiffusion()],
                         ids=lambda s: type(s).__name__)  # fmt: skip
@pytest.mark.parametrize("corrector", [LangevinCorrector(0.1, 2), MALA(), HMC(leaps=2)], ids=lambda s: type(s).__name__)
def test_pc_is_its_two_halves(predictor, corrector):
    times = [0.8, 0.5, 0.3]
    counted = sd.NFE(LAW.denoiser(VP))
    both = PC(predictor, corrector)
    ours = sd.solve(sd.Reverse(VP, counted, 1.0), both, X, times, seed=3)
    assert counted.count == both.calls(2) == 2 * both.nfe == 2 * (predictor.nfe + corrector.nfe)
    x, eq, memory = X, equation(), predictor.start() | {"keep_states": True}
    for n, (entry, t) in enumerate(zip(predictor.plan(eq, times), times[1:], strict=True)):
        keys = iter([(), *((j,) for j in range(1, 9))])

        def draw(a, b, x, std, n=n, keys=keys):
            return sd.noise.normal(x.shape, 3, (sd.noise.STEP, n, *next(keys)), dtype=F64), std

        x = predictor.step(eq, x, entry, memory, draw)
        for _ in range(corrector.repeats):
            x = corrector.correct(eq, x, at(VP, t), draw)
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


def test_a_corrector_mends_a_coarse_predictor():
    """Exact error of mean and deviation after 15 coarse steps: corrections take most of it away. On this law the same
    calls spent on smaller steps take away more."""

    def error(solver, steps):
        return orders.weak_error(solver, VP, 1.0, sd.grids.logsnr(VP, steps, t_start=0.9, t_end=0.05))

    plain, mended = error(ReverseDiffusion(), 15), error(PC(ReverseDiffusion(), LangevinCorrector(0.16, 16)), 15)
    assert mended < 0.25 * plain
    assert error(ReverseDiffusion(), 15 * 17) < 0.5 * mended


EXTRAS = [MALA(), HMC(), LangevinCorrector(norm="sample"), PC(ReverseDiffusion(), HMC()), PC(DDIM(), MALA()),
          LearnedDDPM(lambda x, t: torch.sigmoid(x))]  # fmt: skip


@pytest.mark.parametrize("solver", EXTRAS, ids=lambda s: type(s).__name__)
def test_protocol_of_what_is_in_no_row(solver):
    """Deterministic, invariant to splits, in any shape and dtype, differentiable, input untouched, calls as stated."""
    counted = sd.NFE(LAW.denoiser(VP))
    eq, x, times = sd.Reverse(VP, counted, 1.0), 0.8 * sd.noise.normal((12, 2), 1, dtype=F64), [0.9, 0.6, 0.3, 0.1]
    kept = x.clone()
    out = sd.solve(eq, solver, x, times, seed=3)
    assert counted.count == 3 * solver.nfe and torch.equal(x, kept)
    assert torch.equal(out, sd.solve(eq, solver, x, times, seed=3))
    halves = [sd.solve(eq, solver, x[a:b], times, seed=3, first=a) for a, b in ((0, 5), (5, 12))]
    torch.testing.assert_close(torch.cat(halves), out, rtol=1e-9, atol=1e-9)
    eq = sd.Reverse(VP, lambda x, t: torch.tanh(x), 1.0)
    for shape in ((0, 2), (1, 1), (5,), (2, 3, 4, 4)):
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            state = sd.solve(eq, solver, sd.noise.normal(shape, 1).to(dtype), [0.9, 0.5, 0], seed=1)
            assert state.shape == shape and state.dtype == dtype and state.isfinite().all()
    x = x[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sd.solve(eq, solver, x, times, seed=1), (x,))


def test_noise_free_equations_are_welcome():
    """A corrector brings noise of its own: the run needs a seed although eta = 0."""
    pc = PC(sd.ExpEuler(), LangevinCorrector())
    with pytest.raises(ValueError, match="adds noise: pass seed="):
        sd.solve(equation(eta=0.0), pc, X, [0.5, 0.4])
    with pytest.raises(ValueError, match="no Brownian path drives"):
        sd.solve(equation(eta=0.0), pc, X, [0.5, 0.4], brownian=sd.Brownian(X.shape, 0, 1, 1, dtype=F64))
    heun = sd.solve(equation(eta=0.0), PC(sd.Heun(), MALA()), X, [0.5, 0.4], seed=1)
    assert heun.isfinite().all()


def test_a_predictor_with_a_costly_start_is_counted():
    counted, pc = sd.NFE(LAW.denoiser(VP)), PC(sd.solvers.row("pndm").make(), MALA())
    sd.solve(sd.Reverse(VP, counted, 0.0), pc, X, sd.grids.logsnr(VP, 6, t_start=0.9), seed=1)
    assert counted.count == pc.calls(6) > 6 * 3


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: LangevinCorrector(norm="mean"), ValueError, "norm must be"),
        (lambda: LangevinCorrector(0.0), ValueError, "snr is a positive number"),
        (lambda: LangevinCorrector(repeats=0), ValueError, "repeats must be at least 1"),
        (lambda: AnnealedLangevin(1.5), ValueError, "fraction of the noise variance"),
        (lambda: HMC(step=-1.0), ValueError, "step > 0"),
        (lambda: HMC(leaps=0), ValueError, "leaps >= 1"),
        (lambda: PC(LangevinCorrector(), ReverseDiffusion()), TypeError, "not the other way"),  # type: ignore[arg-type]
        (lambda: PC(type("Replay", (ReverseDiffusion,), {"rewinds": True})()), ValueError, "replays one Brownian path"),
        (lambda: sd.solve(equation(eta=0.0), PC(sd.ExpAdams(2, corrector=True)), X, [0.5, 0.4, 0.3, 0.2], seed=1),
         ValueError, "PEC"),
        (lambda: sd.solve(equation(), PC(sd.Heun()), X, [0.5, 0.4], seed=1), ValueError, "use eta=0"),
        (lambda: sd.solve(sd.OU(), LangevinCorrector(), X, [0.0, 0.4], seed=0), ValueError, "needs a Reverse"),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
