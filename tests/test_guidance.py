"""Guidance on laws whose conditional denoisers are exact."""

import math

import pytest
import torch

import sdelab as sd
from sdelab import guidance

F64 = torch.float64
MEAN, STD = (0.8, -0.5), 0.4
PROCESSES = [sd.process.make(name) for name in ("vp", "edm", "flow", "ddpm")]


def x_at(process, t, n=7):
    eps = sd.noise.normal((n, 2), 3, dtype=F64)
    return process.perturb(sd.distributions.ring().sample(n, seed=1, dtype=F64), t, eps)


def gaussians(process):
    return (sd.distributions.gaussian(mean, STD).denoiser(process) for mean in (MEAN, (0.0, 0.0)))


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
@pytest.mark.parametrize("w", [-0.5, 0.0, 1.0, 2.5])
def test_guiding_one_gaussian_away_from_another_samples_a_third(process, w):
    """D_u + w (D_c - D_u) for N(m, s^2) against N(0, s^2) is the denoiser of N(w m, s^2), on the whole way."""
    conditional, unconditional = gaussians(process)
    guided = guidance.classifier_free(conditional, unconditional, w)
    third = sd.distributions.gaussian(tuple(w * m for m in MEAN), STD).denoiser(process)
    x_T = sd.noise.prior(process, (50, 2), seed=2, dtype=F64)
    for solver in ("dpmpp_2m", "ddpm"):
        runs = [sd.sample(d, process, x_T, solver=solver, grid="logsnr", steps=12, seed=4) for d in (guided, third)]
        torch.testing.assert_close(*runs, rtol=1e-9, atol=1e-9)


def test_each_sample_has_its_own_weight():
    process = sd.process.VP()
    conditional, unconditional = gaussians(process)
    x, w = x_at(process, 0.4), torch.linspace(-1, 3, 7, dtype=F64)
    out = guidance.classifier_free(conditional, unconditional, w)(x, 0.4)
    for n in range(7):
        one = guidance.classifier_free(conditional, unconditional, float(w[n]))(x[n : n + 1], 0.4)
        torch.testing.assert_close(out[n : n + 1], one)


def test_a_denoiser_without_a_say_is_not_called():
    process = sd.process.VP()
    conditional, unconditional = map(sd.NFE, gaussians(process))
    x = x_at(process, 0.4)
    for w, calls in ((1.0, (1, 0)), (0.0, (0, 1)), (2.0, (1, 1)), (torch.ones(7), (1, 0))):
        conditional.count = unconditional.count = 0
        guidance.classifier_free(conditional, unconditional, w)(x, 0.4)
        assert (conditional.count, unconditional.count) == calls


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_the_interval_is_one_of_sigma_over_alpha(process):
    conditional, unconditional = gaussians(process)
    plain = guidance.classifier_free(conditional, unconditional, 3.0)
    part = guidance.classifier_free(conditional, unconditional, 3.0, interval=(0.3, 2.0), process=process)
    times = [float(process.t_of_lam(torch.tensor(-math.log(ratio), dtype=F64))) for ratio in (0.2, 0.5, 1.9, 2.5)]
    for t, expected in zip(times, (conditional, plain, plain, conditional), strict=True):
        x = x_at(process, t)
        torch.testing.assert_close(part(x, t), expected(x, t), rtol=0, atol=0)
        other = plain if expected is conditional else conditional
        assert (part(x, t) - other(x, t)).abs().max() > 0.01
    x, t = x_at(process, times[1], n=4), torch.tensor(times, dtype=F64)  # one time per sample
    rows = torch.cat([part(x[n : n + 1], times[n]) for n in range(4)])
    torch.testing.assert_close(part(x, t), rows)


def test_rescaling_brings_back_the_conditional_spread():
    process, x = sd.process.VP(), sd.noise.normal((5, 1, 6, 6), 8, dtype=F64)
    conditional, unconditional = (lambda x, t: 0.5 * x.tanh()), (lambda x, t: 0.1 * x)
    D_c, D_w = conditional(x, 0.5), guidance.classifier_free(conditional, unconditional, 4.0)(x, 0.5)
    for phi in (0.0, 0.7, 1.0):
        out = guidance.classifier_free(conditional, unconditional, 4.0, rescale=phi, process=process)(x, 0.5)
        for n in range(5):
            spread = phi * D_c[n].std() + (1 - phi) * D_w[n].std()
            torch.testing.assert_close(out[n].std(), spread)
            torch.testing.assert_close(out[n] / out[n].std(), D_w[n] / D_w[n].std())


@pytest.mark.parametrize("process", PROCESSES[:3], ids=lambda p: p.name)
def test_the_exact_classifier_makes_the_conditional_denoiser(process):
    """Classes of a mixture are its halves: p(y | x_t) by Bayes from the densities of the parts."""
    ring = sd.distributions.ring(8)
    part = sd.distributions.GaussianMixture(ring.weights[:3], ring.means[:3], 0.1)
    rest = sd.distributions.GaussianMixture(ring.weights[3:], ring.means[3:], 0.1)

    def log_prob(x, t):
        log_p = [math.log(c) + law.at(process, t).log_prob(x) for c, law in ((3 / 8, part), (5 / 8, rest))]
        return log_p[0] - torch.logaddexp(*log_p)

    for ratio in (0.2, 1.0, 4.0):
        t = float(process.t_of_lam(torch.tensor(-math.log(ratio), dtype=F64)))
        x = x_at(process, t)
        guided = guidance.classifier(ring.denoiser(process), log_prob, process)
        torch.testing.assert_close(guided(x, t), part.denoiser(process)(x, t), rtol=1e-7, atol=1e-7)
        off = guidance.classifier(ring.denoiser(process), log_prob, process, 1.03)(x, t)
        assert (off - part.denoiser(process)(x, t)).abs().max() > 1e-4
        with torch.inference_mode():
            torch.testing.assert_close(guided(x.clone(), t), guided(x, t))


def test_thresholds():
    x = torch.tensor([[0.5, -3.0, 2.0, 0.1], [0.2, 0.3, -0.4, 0.9]], dtype=F64)
    same = lambda x, t: x  # noqa: E731
    assert torch.equal(guidance.threshold(same, 1.5)(x, 0.5)[0], torch.tensor([0.5, -1.5, 1.5, 0.1], dtype=F64))
    out = guidance.dynamic_threshold(same, quantile=2 / 3, limit=1.5)(x, 0.5)
    torch.testing.assert_close(out[0], torch.tensor([0.5, -2.0, 2.0, 0.1], dtype=F64) * 1.5 / 2)  # s = 2
    assert torch.equal(out[1], x[1])  # within the limit: as it was


def test_what_makes_no_sense_is_told():
    process, d = sd.process.make("flow"), lambda x, t: x
    for make, says in (
        (lambda: guidance.classifier_free(d, d, float("nan")), "finite"),
        (lambda: guidance.classifier_free(d, d, torch.ones(2, 2)), "one per sample"),
        (lambda: guidance.classifier_free(d, d, 2.0, rescale=1.5), "between 0 and 1"),
        (lambda: guidance.classifier_free(d, d, 2.0, interval=(2.0, 1.0), process=process), "low < high"),
        (lambda: guidance.classifier_free(d, d, 2.0, interval=(0.1, 1.0)), "give the process"),
        (lambda: guidance.classifier_free(d, d, torch.ones(3) * 2)(torch.ones(4, 2), 0.5), "for a batch of 4"),
        (lambda: guidance.threshold(d, 0.0), "positive"),
        (lambda: guidance.dynamic_threshold(d, 1.5), "quantile"),
        (lambda: guidance.classifier(d, lambda x, t: x.sum(1), process)(torch.ones(4, 2), 1.0), "alpha"),
    ):
        with pytest.raises(ValueError, match=says):
            make()
