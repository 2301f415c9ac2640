"""Exact laws held to their definitions: integrals, gradients, Tweedie, brute-force posteriors, scipy."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

import sdelab as sd
from sdelab import distributions as laws

F64 = torch.float64


def anisotropic(d=2, K=4) -> laws.GaussianMixture:
    rng = np.random.default_rng(3)
    A = rng.standard_normal((K, d, d))
    covs = A @ A.transpose(0, 2, 1) * 0.1 + 0.02 * np.eye(d)
    return laws.GaussianMixture(rng.uniform(0.5, 1.5, K), rng.standard_normal((K, d)), covs)


ALL = {**{name: make() for name, make in laws.table.items()}, "anisotropic": anisotropic()}


@pytest.fixture(params=ALL, name="law")
def _law(request):
    return ALL[request.param]


def square(n=181, half=6.0):
    axis = torch.linspace(-half, half, n, dtype=F64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


def test_density_integrates_to_one_with_the_stated_moments(law):
    for t in (None, 0.1, 0.4):
        p = law if t is None else law.at(sd.process.VP(), t)
        x, cell = square()
        mass = p.log_prob(x).exp() * cell
        assert float(mass.sum()) == pytest.approx(1, abs=1e-6)
        mean = mass @ x
        torch.testing.assert_close(mean, p.mean, rtol=0, atol=1e-6)
        torch.testing.assert_close((x - mean).T @ ((x - mean) * mass[:, None]), p.cov, rtol=0, atol=1e-5)


def test_score_is_the_gradient_of_the_log_density(law):
    p = law.at(sd.process.VE(), 0.5)
    x = (2 * sd.noise.normal((50, 2), 1, dtype=F64)).requires_grad_()
    (gradient,) = torch.autograd.grad(p.log_prob(x).sum(), x)
    torch.testing.assert_close(p.score(x), gradient, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(sd.process.table))
def test_denoiser_is_tweedie(law, name):
    """D = (x + sigma^2 score)/alpha, for one time and for a time per sample."""
    process = sd.process.make(name)
    D = law.denoiser(process)
    times = torch.tensor([0.05, 0.3, 0.7, 0.95], dtype=F64) * process.T
    x = sd.noise.normal((4, 2), 1, dtype=F64) * 1.5
    for i, t in enumerate(times.tolist()):
        tweedie = (x + process.var(t) * law.at(process, t).score(x)) / process.alpha(t)
        tolerance = 1e-9 * max(1.0, float(process.var(t) / process.alpha(t)))
        torch.testing.assert_close(D(x, t), tweedie, rtol=1e-9, atol=tolerance)
        for each in (times, times[:, None]):
            torch.testing.assert_close(D(x, each)[i], D(x, t)[i], rtol=1e-12, atol=1e-12)
        assert float((D(x, t) - 1.03 * tweedie).abs().max()) > 1e-3 or float(tweedie.abs().max()) < 0.1  # it can fail


def test_density_against_scipy():
    law = anisotropic(d=3)
    x = np.random.default_rng(0).standard_normal((20, 3))
    components = zip(law.weights.tolist(), law.means.numpy(), law.covs.numpy(), strict=True)
    density = sum(w * scipy.stats.multivariate_normal(m, C).pdf(x) for w, m, C in components)
    np.testing.assert_allclose(law.log_prob(torch.tensor(x)).numpy(), np.log(density), rtol=1e-11)


def test_empirical_denoiser_is_the_softmax_over_the_data():
    data = sd.noise.normal((30, 5), 1, dtype=F64)
    process, t = sd.process.EDM(), 0.7
    x = sd.noise.normal((8, 5), 2, dtype=F64)
    weights = torch.softmax(-(torch.cdist(x, data) ** 2) / (2 * t**2), 1)
    torch.testing.assert_close(laws.empirical(data).denoiser(process)(x, t), weights @ data, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="point mass"):
        laws.empirical(data).log_prob(x)


def test_sampling_follows_the_law():
    """Chi-square over components' cells and over a histogram, level 1e-5; a twin 3 % off must fail."""

    def p_value(x, law):
        axis = torch.linspace(-2.5, 2.5, 11, dtype=F64)
        fine, cell = square(501, 2.5)
        mass = law.log_prob(fine).exp() * cell
        expected = np.histogram2d(*fine.T.numpy(), bins=[axis.numpy()] * 2, weights=mass.numpy())[0].ravel() * len(x)
        seen = np.histogram2d(*x.T.numpy(), bins=[axis.numpy()] * 2)[0].ravel()
        keep = expected > 20
        statistic = ((seen - expected)[keep] ** 2 / expected[keep]).sum()
        return scipy.stats.chi2.sf(statistic, keep.sum())

    law = laws.moons(std=0.3)
    x = law.sample(40_000, seed=1, dtype=F64)
    assert p_value(x, law) > 1e-5
    assert p_value(1.03 * x, law) < 1e-5


def test_samples_do_not_depend_on_the_batch_split(law):
    whole = law.sample(100, seed=7)
    torch.testing.assert_close(
        torch.cat([law.sample(30, seed=7), law.sample(70, seed=7, first=30)]), whole, rtol=0, atol=0
    )


def test_everything_is_differentiable():
    law, process = laws.ring(), sd.process.VP()
    x = sd.noise.normal((3, 2), 1, dtype=F64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: law.denoiser(process)(x, 0.4), (x,))
    t = torch.tensor([0.2, 0.5, 0.8], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: law.denoiser(process)(x.detach(), t), (t,))


def test_dtype_is_kept():
    law = laws.ring()
    exact = law.score(torch.ones(3, 2, dtype=F64))
    for dtype in (torch.float32, F64):
        x = torch.ones(3, 2, dtype=dtype)
        assert law.score(x).dtype == law.denoiser(sd.process.VP())(x, 0.5).dtype == dtype
    torch.testing.assert_close(law.score(torch.ones(3, 2, dtype=F64)), exact, rtol=1e-14, atol=0)  # not through float32


def test_at_time_zero_the_denoiser_divides_by_alpha():
    class Half(sd.process.EDM):
        def log_alpha(self, t):
            return super().log_alpha(t) + math.log(0.5)

    x = sd.noise.normal((3, 2), 1, dtype=F64)
    torch.testing.assert_close(laws.ring().denoiser(Half())(x, 0.0), 2 * x)
    for law in (laws.ring(), laws.empirical(torch.eye(2))):  # point masses too, where the formula is 0/0
        some = law.denoiser(Half())(x, torch.tensor([0.0, 0.5, 0.0], dtype=F64))
        torch.testing.assert_close(some[::2], 2 * x[::2])
        torch.testing.assert_close(some[1], law.denoiser(Half())(x, 0.5)[1])


SIZES = {"gaussian": (1, 1.0, 0.0), "ring": (8, 0.1, 1.4), "grid": (9, 0.12, 1.3), "moons": (32, 0.09, 1.95),
         "spiral": (48, 0.08, 1.99), "checkerboard": (200, 0.1, 1.86)}  # fmt: skip


@pytest.mark.parametrize("name", list(laws.table))
def test_named_laws_have_their_sizes(name):
    """Components, standard deviation, largest coordinate of a centre; the symmetric ones have mean 0."""
    law = laws.table[name]()
    count, std, reach = SIZES[name]
    assert len(law.weights) == count and float(law.covs[0, 0, 0]) == pytest.approx(std**2)
    assert float(law.means.abs().max()) == pytest.approx(reach, abs=0.01)
    if name != "spiral":
        assert float(law.mean.abs().max()) < 1e-12


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: laws.GaussianMixture([1.0], [[0.0, 0.0], [1.0, 1.0]], 1.0), "do not fit"),
        (lambda: laws.GaussianMixture([-1.0], [[0.0]], 1.0), "non-negative"),
        (lambda: laws.GaussianMixture([1.0], [[0.0]], -1.0), "spread"),
        (lambda: laws.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 2.0], [2.0, 1.0]]]), "negative eigenvalue"),
        (lambda: laws.GaussianMixture([1, 1], [[0.0], [1.0]], [1.0, 1.0, 1.0]), "spread"),
        (lambda: laws.GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), "not symmetric"),
        (lambda: laws.ring().at(sd.process.VP(), torch.tensor([0.1, 0.2])), "one time"),  # type: ignore[arg-type]
        (lambda: laws.ring().denoiser(sd.process.VP())(torch.ones(1, 2), torch.ones(3)), "3 times for a batch of 1"),
        (lambda: laws.ring().log_prob(torch.ones(3)), r"shape \(n, 2\)"),
        (lambda: laws.ring().score(torch.ones(3, 5)), r"shape \(n, 2\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_checkerboard_has_empty_squares():
    law = laws.checkerboard()
    x = law.sample(4000, seed=1)
    cell = ((x + 2) // 1).long()
    assert ((cell.sum(1) % 2 == 0) | (x.abs() > 2).any(1)).double().mean() > 0.85 and math.isclose(law.dim, 2)
