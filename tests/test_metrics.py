"""The metrics against closed forms, scipy, and samples with a planted 3 % error."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import ndtr
from scipy.stats import energy_distance as scipy_energy
from scipy.stats import wasserstein_distance

from sdelab import metrics
from sdelab.cells import Grid

Z = 4.42  # two-sided level 1e-5


def draw(n, d=1, mean=0.0, std=1.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(n, d, generator=g, dtype=torch.float64)


def gaussian(mean=0.0, std=1.0):
    """Log density of N(mean, std^2 I) at points (n, d)."""
    return lambda x: (-0.5 * ((x - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))).sum(-1)


# --- sliced Wasserstein ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n, m", [(50, 50), (60, 45), (7, 31), (1, 5)])
def test_wasserstein_in_one_dimension_is_scipy_s(n, m):
    x, y = draw(n, seed=1), draw(m, mean=0.4, std=2.0, seed=2)
    assert float(metrics.sliced_wasserstein(x, y, p=1)) == pytest.approx(
        wasserstein_distance(x[:, 0], y[:, 0]), rel=1e-12
    )
    assert float(metrics.sliced_wasserstein(x, x)) == 0


def test_wasserstein_of_an_increasing_map_is_its_own_coupling():
    x = draw(200, seed=3)
    y = 1.7 * x + 0.3
    for p in (1.0, 2.0, 3.0):
        exact = float(((x - y).abs() ** p).mean() ** (1 / p))
        assert float(metrics.sliced_wasserstein(x, y[torch.randperm(200)], p=p)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("d", [2, 3, 10])
def test_shift_in_d_dimensions_is_its_length_over_root_d(d):
    x, m, k = draw(20, d, seed=4), torch.arange(1, d + 1).double(), 20_000
    sw2 = float(metrics.sliced_wasserstein(x, x + m, projections=k, seed=5)) ** 2
    exact = float(m @ m) / d
    deviation = exact * math.sqrt((3 * d / (d + 2) - 1) / k)  # E cos^4 = 3 / (d (d + 2))
    assert abs(sw2 - exact) < Z * deviation
    assert abs(1.03**2 * sw2 - exact) > Z * deviation


def wasserstein_of_gaussians_is_right(shift, n=400_000):
    """W_2^2(N(0,1), N(1, 1.5^2)) = 1 + 0.25."""
    x, y = draw(n, seed=6), draw(n, mean=shift, std=1.5, seed=7)
    error = float(metrics.sliced_wasserstein(x, y)) ** 2 - 1.25
    deviation = 2 * math.sqrt((1 + 0.25 / 2) * (1 + 2.25) / n)  # of (m1 - m2)^2 + (s1 - s2)^2
    return abs(error) < Z * deviation


def test_wasserstein_of_gaussians():
    assert wasserstein_of_gaussians_is_right(1.0)
    assert not wasserstein_of_gaussians_is_right(1.03)


def test_directions_depend_on_the_seed_alone():
    x, y = draw(40, 3, seed=8), draw(30, 3, seed=9)
    torch.manual_seed(0)
    first = metrics.sliced_wasserstein(x, y, seed=1)
    state = torch.get_rng_state()
    assert torch.equal(first, metrics.sliced_wasserstein(x, y, seed=1))
    assert not torch.equal(first, metrics.sliced_wasserstein(x, y, seed=2))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("metric", [metrics.sliced_wasserstein, metrics.energy_distance])
def test_sample_metrics_are_differentiable_and_keep_the_dtype(metric):
    x, y = draw(6, 2, seed=10).requires_grad_(), draw(8, 2, mean=1.0, seed=11)
    assert torch.autograd.gradcheck(lambda v: metric(v, y), (x,))
    x = x.detach()
    assert metric(x.float(), y.float()).dtype == torch.float32
    assert float(metric(x.float(), y.float())) == pytest.approx(float(metric(x, y)), rel=1e-5)


# --- energy distance ------------------------------------------------------------------------------------------------
def test_energy_distance_of_empirical_laws_is_scipy_s():
    x, y = draw(40, seed=12), draw(70, mean=1.0, seed=13)
    ours = float(metrics.energy_distance(x, y, unbiased=False))
    assert ours == pytest.approx(scipy_energy(x[:, 0], y[:, 0]) ** 2, rel=1e-10)
    assert float(metrics.energy_distance(x, x, unbiased=False)) == pytest.approx(0, abs=1e-14)


def energy_of_gaussians_is_right(shift, n=8000):
    """N(0,1) and N(5,1): E|N(5, 2)| in closed form, E|N(0, 2)| = 2/sqrt(pi)."""
    m, s = 5.0, math.sqrt(2)
    folded = s * math.sqrt(2 / math.pi) * math.exp(-((m / s) ** 2) / 2) + m * math.erf(m / (s * math.sqrt(2)))
    x, y = draw(n, seed=14), draw(n, mean=shift, seed=15)
    error = float(metrics.energy_distance(x, y)) - (2 * folded - 4 / math.sqrt(math.pi))
    # First-order projections of the U-statistic: their spread gives its deviation.
    to = lambda a, b: (a - b[:500].T).abs().mean(1)  # noqa: E731
    spread = (to(x, y) - to(x, x)).var() + (to(y, x) - to(y, y)).var()
    return abs(error) < Z * 2 * math.sqrt(float(spread) / n)


def test_energy_distance_of_gaussians():
    assert energy_of_gaussians_is_right(5.0)
    assert not energy_of_gaussians_is_right(5.15)


def test_unbiased_energy_distance_has_mean_zero_for_equal_laws():
    values = torch.stack([metrics.energy_distance(draw(20, 2, seed=s), draw(30, 2, seed=1000 + s)) for s in range(400)])
    biased = [
        float(metrics.energy_distance(draw(20, 2, seed=s), draw(30, 2, seed=1000 + s), unbiased=False))
        for s in range(400)
    ]
    limit = Z * float(values.std()) / 20
    assert abs(float(values.mean())) < limit < abs(np.mean(biased))


def test_energy_distance_in_blocks_is_the_whole():
    x, y = draw(50, 3, seed=16), draw(20, 3, seed=17)
    assert float(metrics.mean_distance(x, y, rows=7)) == pytest.approx(float(torch.cdist(x, y).mean()), rel=1e-12)


# --- Kullback-Leibler -----------------------------------------------------------------------------------------------
def test_kl_on_a_grid_of_two_gaussians():
    grid = Grid(-9, 9, 400)
    p, q = (grid.density(SimpleNamespace(log_prob=gaussian(m, s))) for m, s in ((0.5, 0.7), (0.0, 1.0)))
    exact = math.log(1 / 0.7) + (0.49 + 0.25) / 2 - 0.5
    assert metrics.kl_grid(p, q, grid.volume) == pytest.approx(exact, rel=1e-10)
    assert metrics.kl_grid(p, p, grid.volume) == 0
    q[60] = 0
    assert metrics.kl_grid(p, q, grid.volume) == math.inf


def kl_of_gaussians_is_right(shift, d, n=50_000, k=5):
    """KL(N(2 e_1, I) || N(0, I)) = 2."""
    x = draw(n, d, seed=18)
    x[:, 0] += shift
    return abs(metrics.kl_to_density(x, gaussian(), k=k) - 2) < Z * math.sqrt((4 + 1 / k) / n)


@pytest.mark.parametrize("d", [1, 2])
def test_kl_from_nearest_neighbours(d):
    assert kl_of_gaussians_is_right(2.0, d)
    assert not kl_of_gaussians_is_right(2.06, d)


def test_kl_of_a_sample_of_the_law_itself_is_near_zero():
    law = SimpleNamespace(log_prob=gaussian(1.0, 0.5))
    assert abs(metrics.kl_to_density(draw(20_000, 2, mean=1.0, std=0.5, seed=19), law)) < Z * math.sqrt(0.2 / 20_000)


# --- histograms -----------------------------------------------------------------------------------------------------
def test_bin_masses_are_those_of_the_distribution_function():
    line = Grid(-5, 6, 33)
    exact = np.diff(ndtr((line.edges[0].numpy() - 0.5) / 0.8))
    assert np.abs(metrics.bin_masses(gaussian(0.5, 0.8), line).numpy() - exact).max() < 1e-9
    plane = Grid((-3, -2), (3, 2), (20, 17))
    a, b = (np.diff(ndtr(e.numpy())) for e in plane.edges)
    assert np.abs(metrics.bin_masses(gaussian(), plane).numpy() - np.outer(a, b)).max() < 1e-9


def test_histogram_is_a_density_and_counts_what_falls_outside():
    grid = Grid((0, 0), (1, 2), (4, 5))
    x = torch.tensor([[0.1, 0.1], [0.1, 0.3], [0.9, 1.9], [5.0, 5.0]])
    p = metrics.histogram(x, grid)
    assert p.shape == (4, 5) and p.dtype == torch.float64
    assert p[0, 0] == pytest.approx(0.5 / grid.volume) and p[3, 4] == pytest.approx(0.25 / grid.volume)
    assert float(p.sum()) * grid.volume == pytest.approx(0.75)


BINS = Grid(-5.5, 6.5, 48)  # 1/2, where the two densities below cross, is an edge


def histogram_distance_is_right(shift, n=200_000):
    """TV(N(1,1), N(0,1)) = 2 Phi(1/2) - 1; one point moves it by 1/n, so its deviation is below 1/(2 sqrt n)."""
    value = metrics.histogram_distance(draw(n, mean=shift, seed=20), gaussian(), BINS)
    return abs(value - (2 * float(ndtr(0.5)) - 1)) < Z / (2 * math.sqrt(n))


def test_histogram_distance_of_gaussians():
    assert histogram_distance_is_right(1.0)
    assert not histogram_distance_is_right(1.03)


def at_the_floor(std, n=200_000):
    value = metrics.histogram_distance(draw(n, std=std, seed=21), gaussian(), BINS)
    return value < metrics.histogram_floor(gaussian(), n, BINS) + Z / (2 * math.sqrt(n))


def test_a_sample_of_the_law_itself_sits_at_the_floor():
    assert at_the_floor(1.0)
    assert not at_the_floor(1.03)
    floor = metrics.histogram_floor(gaussian(), 2000, BINS)
    values = [metrics.histogram_distance(draw(2000, seed=s), gaussian(), BINS) for s in range(50)]
    assert np.mean(values) == pytest.approx(floor, rel=0.05)


def test_histogram_distance_between_samples():
    x = draw(500, 2, seed=22)
    assert metrics.histogram_distance(x, x, 8) == 0
    assert metrics.histogram_distance(x, x + 100, 8) == pytest.approx(1)
    assert metrics.histogram_distance(x, gaussian(), 8) < 0.2
    assert metrics.histogram_distance(x + 100, gaussian(), Grid((-4, -4), (4, 4), 8)) == pytest.approx(1, abs=1e-3)


# --- bad input ------------------------------------------------------------------------------------------------------
X = draw(10, 2)
BAD_CALLS = [
    (lambda: metrics.sliced_wasserstein(X, draw(10, 3)), ValueError, "do not match"),
    (lambda: metrics.sliced_wasserstein(X, X.float()), ValueError, "do not match"),
    (lambda: metrics.sliced_wasserstein(X, X, p=0.5), ValueError, "at least 1"),
    (lambda: metrics.energy_distance(X * math.inf, X), ValueError, "x holds values that are not finite"),
    (lambda: metrics.energy_distance(X[:1], X), ValueError, "at least two points"),
    (lambda: metrics.energy_distance(X.reshape(5, 2, 2), X), ValueError, "flatten images first"),
    (lambda: metrics.energy_distance(X.long(), X), TypeError, "floating-point tensor"),
    (lambda: metrics.kl_to_density(X, lambda x: x), ValueError, r"must be \(10,\)"),
    (lambda: metrics.kl_to_density(X, lambda x: x[:, 0] * math.nan), ValueError, "NaN"),
    (lambda: metrics.kl_to_density(torch.ones(20, 1), gaussian()), ValueError, "coincide"),
    (lambda: metrics.kl_to_density(X, gaussian(), k=10), ValueError, "fewer than the 10"),
    (lambda: metrics.kl_grid([1.0, 1.0], [1.0, 1.0], 1.0), ValueError, "of mass 1"),
    (lambda: metrics.kl_grid([1.0], [0.5, 0.5], 1.0), ValueError, "same grid"),
    (lambda: metrics.histogram(X, BINS), ValueError, "dimension 2 do not fit"),
]


@pytest.mark.parametrize("call, kind, message", BAD_CALLS, ids=[m for _, _, m in BAD_CALLS])
def test_bad_input_is_named(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
