"""Noise: pure functions of (seed, key, row), normal, independent; Brownian paths do not depend on the questions."""

import itertools
import math

import pytest
import scipy.stats
import torch

import sdelab as sd
from sdelab import noise

F64 = torch.float64
LEVEL = 1e-5


def test_pure_function_and_batch_split():
    whole = noise.normal((10, 3, 5), seed=4, key=(2, 7))
    assert torch.equal(whole, noise.normal((10, 3, 5), seed=4, key=(2, 7)))
    assert torch.equal(whole[6:], noise.normal((4, 3, 5), seed=4, key=(2, 7), first=6))
    assert not torch.equal(whole, noise.normal((10, 3, 5), seed=5, key=(2, 7)))
    assert not torch.equal(whole, noise.normal((10, 3, 5), seed=4, key=(7, 2)))


def test_no_global_random_state():
    before = torch.get_rng_state()
    noise.normal((100,), seed=1)
    sd.Brownian((3,), 0, 1, seed=2)(0.1, 0.7)
    assert torch.equal(before, torch.get_rng_state())


def test_float32_and_float64_agree():
    single, double = (noise.normal((4000, 3), 1, dtype=dtype) for dtype in (torch.float32, F64))
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=2e-5)


def normality(z) -> float:
    return scipy.stats.kstest(z.flatten().numpy(), "norm").pvalue


@pytest.mark.parametrize("seed", range(5))
def test_normal_and_uniform_laws(seed):
    z = noise.normal((200_000,), seed, dtype=F64)
    assert normality(z) > LEVEL and normality(z * 1.03) < LEVEL  # the twin is 3 % too wide
    assert scipy.stats.kstest(noise.uniform((100_000,), seed, dtype=F64).numpy(), "uniform").pvalue > LEVEL
    moments = [float((z**p).mean()) for p in (1, 2, 3, 4)]
    for p, (seen, exact, var) in enumerate(zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True)):
        assert abs(seen - exact) < 4.5 * math.sqrt(var / len(z)), p


def independent(columns) -> float:
    """p-value of zero correlation, of the values and of their squares, over all pairs of columns (Bonferroni)."""
    columns = torch.stack(columns)
    n = columns.shape[1]
    worst = max(float(torch.corrcoef(c).fill_diagonal_(0).abs().max()) for c in (columns, columns**2, columns.abs()))
    pairs = 3 * len(columns) * (len(columns) - 1) / 2
    return float(min(1.0, pairs * 2 * scipy.stats.norm.sf(worst * math.sqrt(n))))


def test_keys_seeds_and_columns_are_independent():
    n = 50_000
    draws = [noise.normal((n,), seed, key, dtype=F64) for seed, key in itertools.product((0, 1, 2), (0, 1, -1, (1, 1)))]
    draws += list(noise.normal((n, 4), 0, 3, dtype=F64).T)
    assert independent(draws) > LEVEL
    assert independent([*draws, draws[0] + 30 * draws[1]]) < LEVEL  # the twin: 3 % of one column leaks into another


def test_one_seed_for_data_prior_and_steps():
    """The same seed everywhere, as everyone writes it: start and increments must not share numbers."""
    n, seed, process = 40_000, 0, sd.process.VP()
    start = sd.distributions.gaussian((0.0,), 1.0).sample(n, seed=seed, dtype=F64)[:, 0]
    prior = noise.prior(process, (n, 1), seed=seed, dtype=F64)[:, 0]
    walk = sd.SDE(lambda x, t: 0 * x, lambda x, t: 1.0)
    states = [
        x
        for _, x in sd.trajectory(walk, sd.EulerMaruyama(), torch.zeros(n, 1, dtype=F64), torch.arange(6.0), seed=seed)
    ]
    steps = [(b - a)[:, 0] for a, b in itertools.pairwise(states)]
    path = sd.Brownian((n, 1), 0, 1, seed=seed, dtype=F64)
    assert (
        independent([start, prior, noise.normal((n,), seed, dtype=F64), *steps, path(0, 0.5)[:, 0], path(0.5, 1)[:, 0]])
        > LEVEL
    )


def test_brownian_increments():
    """Variance |b - a| and independence over disjoint intervals of very different lengths; both tests can fail."""
    n, cuts = 40_000, [0.0, 1e-4, 0.1, 0.37, 0.370001, 0.5, 0.75, 0.9, 1.0]
    path = sd.Brownian((n, 1), 0.0, 1.0, seed=3, dtype=F64)
    steps = [path(a, b)[:, 0] / math.sqrt(b - a) for a, b in itertools.pairwise(cuts)]
    assert independent(steps) > LEVEL
    for z in steps:
        assert scipy.stats.chi2.cdf(float((z**2).sum()), n) == pytest.approx(0.5, abs=0.5 - LEVEL / 2)
        assert scipy.stats.chi2.sf(float(((1.03 * z) ** 2).sum()), n) < LEVEL


def test_brownian_does_not_depend_on_the_questions():
    times = [0.9, 0.1, 0.123456, 0.5, 0.5000001, 1.0, 0.0, 0.3]

    def fresh():
        return sd.Brownian((4, 2), 0.0, 1.0, seed=8, dtype=F64)

    one = fresh()
    asked = {t: one(0.0, t) for t in times}
    for order in (sorted(times), sorted(times, reverse=True), times[::-1]):
        other = fresh()
        for t in order:
            assert torch.equal(other(0.0, t), asked[t])
    for t in times:
        assert torch.equal(fresh()(0.0, t), asked[t])
    torch.testing.assert_close(one(0.1, 0.9), one(0.1, 0.3) + one(0.3, 0.9), rtol=0, atol=1e-14)
    rows = sd.Brownian((2, 2), 0.0, 1.0, seed=8, dtype=F64, first=2)
    assert torch.equal(rows(0.1, 0.3), one(0.1, 0.3)[2:])


def test_brownian_at_its_ends():
    path = sd.Brownian((3, 1), 0.1, 0.7, seed=1, dtype=F64)
    assert torch.equal(path(0.1, math.nextafter(0.7, 1)), path(math.nextafter(0.1, 0), 0.7))
    with pytest.raises(ValueError, match="asked for t = 0\\.8"):
        path(0.1, 0.8)
    with pytest.raises(ValueError, match="two different finite end times"):
        sd.Brownian((3, 1), 0.5, 0.5, seed=1)
    with pytest.raises(TypeError, match="seed must be an int"):
        noise.normal((3,), seed=0.5)  # type: ignore[arg-type]
