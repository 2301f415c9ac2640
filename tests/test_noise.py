"""Noise: pure functions of (seed, key, row), normal, independent; Brownian paths do not depend on the questions."""

import itertools
import math
import statistics

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import torch

import sdelab as sd
from sdelab import brownian, noise

F64 = torch.float64
LEVEL = 1e-5


def test_pure_function_and_batch_split():
    whole = noise.normal((10, 3, 5), seed=4, key=(2, 7))
    assert torch.equal(whole, noise.normal((10, 3, 5), seed=4, key=(2, 7)))
    assert torch.equal(whole[6:], noise.normal((4, 3, 5), seed=4, key=(2, 7), first=6))
    assert not torch.equal(whole, noise.normal((10, 3, 5), seed=5, key=(2, 7)))
    assert not torch.equal(whole, noise.normal((10, 3, 5), seed=4, key=(7, 2)))


M = (1 << 64) - 1


def splitmix(k):
    k = (k + 0x9E3779B97F4A7C15) & M
    k = ((k ^ k >> 30) * 0xBF58476D1CE4E5B9) & M
    k = ((k ^ k >> 27) * 0x94D049BB133111EB) & M
    return k ^ k >> 31


W = (1 << 32) - 1


def table(n):
    """The n-th random word of the table, of which there are two for each of 2^16 counters."""
    x = n
    for factor, shift in ((0x9E3779B1, 16), (0x21F0AAAD, 15), (0x735A2D97, 16)):
        x = x * factor & W
        x ^= x >> shift
    return x


def word(seed, key, counter):
    """The stream by the definition, in Python's unbounded integers: every stored number in the book hangs on it."""
    k = splitmix(seed & M)
    for part in key:
        k = splitmix(k ^ part & M)
    high, low = divmod(counter, 1 << 16)
    c, d = table(low) | 1, table(low + (1 << 16))
    n = splitmix(k ^ high & M)
    return (d + n * c) * (c + 2 * (n >> 32) * d) & W


def stretched():
    """a, b for which a m + b m^3 has variance 1 and fourth moment 3 over the medians m of 2^16 cells."""
    medians = scipy.special.ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))

    def wrong(ab):
        square = (medians * (ab[0] + ab[1] * medians**2)) ** 2
        return square.mean() - 1, (square**2).mean() - 3

    return scipy.optimize.root(wrong, (1.0, 0.0), tol=1e-12).x.tolist()


def numbers(seed, key, first, count):
    """The normals first … of a stream: blocks of four quarters of 128, and in each place one rotation of four."""
    a, b = stretched()

    def cell(half):  # a word has two halves, the lower one first
        median = statistics.NormalDist().inv_cdf(
            ((word(seed, key, half // 2) >> 16 * (half % 2) & 0xFFFF) + 0.5) / 2**16
        )
        return round((a * median + b * median**3) * 2**19) / 2**20

    for n in range(first, first + count):
        block, place = divmod(n, 512)
        i, j, q = place // 256, place // 128 % 2, place % 128
        signs = {(k, l): (-1) ** (i * k + j * l) for k in (0, 1) for l in (0, 1)}
        yield sum(sign * cell(512 * block + 256 * k + 128 * l + q) for (k, l), sign in signs.items())


@pytest.mark.parametrize("seed, key", [(0, (0,)), (3, (-4, 17)), (-1, (5,)), (2**63 + 9, (0,))])
@pytest.mark.parametrize("first", [0, 1000, 84, 2**31 - 1, 2**40, -7])
def test_numbers_by_another_route(seed, key, first):
    uniforms = [(word(seed, key, n) ^ 1 << 31) + 0.5 for n in range(3 * first, 3 * first + 12)]  # rows of 3
    ours = noise.normal((4, 3), seed, key if len(key) > 1 else key[0], first, dtype=F64)
    assert ours.flatten().tolist() == list(numbers(seed, key, 3 * first, 12))
    assert noise.uniform((4, 3), seed, key, first, dtype=F64).flatten().tolist() == [u / 2**32 for u in uniforms]
    assert torch.equal(noise.normal((3,), seed), noise.normal((3,), seed, key=0, first=0))


def test_several_keys_at_once_and_long_streams():
    keys = [(1, 2), (1, 3), (9,)]
    for shape in ((7, 3), (3, 4, 5), (40_000, 5)):  # the last one is hashed in several chunks
        together = noise.normals(shape, 4, keys, first=11)
        for key, z in zip(keys, together, strict=True):
            assert torch.equal(z, noise.normal(shape, 4, key, first=11))
    whole = noise.normal((170_000, 2), 1, first=2**32 - 30_000, dtype=F64)  # through several tables and past 32 bits
    assert torch.equal(whole[29_990:30_010], noise.normal((20, 2), 1, first=2**32 - 10, dtype=F64))
    assert len(whole.unique()) > 300_000  # of multiples of 2^-20 some occur twice


def test_integers_of_any_make_and_nothing_else():
    ours = noise.normal((4, 2), np.int64(3), key=(np.int32(1), np.int64(-2)), first=np.int64(5))
    assert torch.equal(ours, noise.normal((4, 2), 3, key=(1, -2), first=5))
    assert torch.equal(noise.normal((4,), 3, key=np.int64(7)), noise.normal((4,), 3, key=7))
    for wrong in (True, 0.5, "a", None):
        with pytest.raises(TypeError, match="seed must be an int"):
            noise.normal((3,), seed=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="key must be an int"):
        noise.normal((3,), 1, key=0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="first must be an int"):
        noise.normal((3,), 1, first=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first is too large"):
        noise.normal((3, 8), 1, first=2**62)


def test_shapes_without_numbers_and_single_numbers():
    assert noise.normal((0, 3), 1).shape == (0, 3) and noise.normal((3, 0), 1).shape == (3, 0)
    assert noise.normal((), 1).shape == () and noise.uniform((), 1).shape == ()


def test_uniform_never_rounds_to_one():
    assert float(noise.uniform((1 << 20,), 0, dtype=torch.bfloat16).max()) < 1
    assert float(noise.uniform((1 << 20,), 0, dtype=torch.float16).max()) < 1


def test_prior_has_the_last_noise_level():
    for name in ("vp", "ve", "edm"):
        process = sd.process.make(name)
        whole = noise.prior(process, (6, 2), seed=3, dtype=F64)
        z = noise.normal((6, 2), 3, key=noise.PRIOR, dtype=F64)
        torch.testing.assert_close(whole, z * math.sqrt(float(process.var(process.T))), rtol=1e-14, atol=0)
        assert torch.equal(noise.prior(process, (2, 2), seed=3, first=4, dtype=F64), whole[4:])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_memory_kept_from_inference_mode_serves_outside(dtype):
    for size in (3, 200_000):  # the larger one makes new scratch memory
        noise._kept.__dict__.clear()
        noise._tables.cache_clear()
        noise._cells.cache_clear()
        with torch.inference_mode():
            inside = noise.normal((size,), 1, dtype=dtype)
        assert torch.equal(noise.normal((size,), 1, dtype=dtype), inside)
        with torch.inference_mode():
            assert torch.equal(noise.normal((size,), 1, dtype=dtype), inside)


def test_no_global_random_state():
    before = torch.get_rng_state()
    noise.normal((100,), seed=1)
    sd.Brownian((3,), 0, 1, seed=2)(0.1, 0.7)
    assert torch.equal(before, torch.get_rng_state())


def test_float32_and_float64_agree():
    single, double = (noise.normal((4000, 3), 1, dtype=dtype) for dtype in (torch.float32, F64))
    assert torch.equal(single.double(), double)
    half = noise.normal((4000, 3), 1, dtype=torch.bfloat16)
    assert torch.equal(half, double.bfloat16())


def normality(z) -> float:
    return scipy.stats.kstest(z.flatten().numpy(), "norm").pvalue


@pytest.mark.parametrize("seed", range(5))
def test_normal_and_uniform_laws(seed):
    z = noise.normal((100_000, 2), seed, dtype=F64)
    assert normality(z[:, 0]) > LEVEL and normality(z[:, 1]) > LEVEL
    z = z.flatten()
    assert normality(z) > LEVEL and normality(z * 1.03) < LEVEL  # the twin is 3 % too wide
    assert scipy.stats.kstest(noise.uniform((100_000,), seed, dtype=F64).numpy(), "uniform").pvalue > LEVEL
    moments = [float((z**p).mean()) for p in (1, 2, 3, 4)]
    for p, (seen, exact, var) in enumerate(zip(moments, (0, 1, 0, 3), (1, 2, 15, 96), strict=True)):
        assert abs(seen - exact) < 4.5 * math.sqrt(var / len(z)), p


def counts(z, bounds) -> list[float]:
    """p-values of how many numbers lie beyond each bound, on either side."""
    n, tails = z.numel(), [2 * float(scipy.stats.norm.sf(b)) for b in bounds]
    return [
        float(scipy.stats.binomtest(int((z.abs() > b).sum()), n, p).pvalue) for b, p in zip(bounds, tails, strict=True)
    ]


def test_tails_and_moments_of_many():
    """Beyond the last cell, whose number is 4.33, as often as the normal law: what the rotation of four is for."""
    z = noise.normal((1 << 24,), 3)
    assert min(counts(z, (1.0, 2.0, 3.0, 4.0, 4.4, 4.8, 5.2))) > LEVEL
    cells = 2 * noise._cells(z.device).double()
    assert float(cells.max()) < 4.33 and counts(cells[torch.arange(1 << 24) % len(cells)], (4.4,))[0] < LEVEL
    for p, (exact, var) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96), (0, 945), (15, 10170)], 1):
        assert abs(float(z.double().pow(p).mean()) - exact) < 4.5 * math.sqrt(var / len(z)), p
    for p, exact in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs(float(cells.pow(p).mean()) - exact) < 1e-6


def four(z) -> float:
    """p-value that the four numbers of a rotation are independent: their radius, and products of powers of them."""
    z = z.view(-1, 4, 128).transpose(0, 1).reshape(4, -1)
    worst = [scipy.stats.kstest(z.square().sum(0).numpy(), scipy.stats.chi2(4).cdf).pvalue]
    for a, b in itertools.combinations(range(4), 2):
        for f in (z[a] * z[b], (z[a] ** 2 - 1) * (z[b] ** 2 - 1) / 2, z[a] * (z[b] ** 3 - 3 * z[b]) / 6**0.5):
            worst.append(2 * scipy.stats.norm.sf(abs(float(f.mean())) * math.sqrt(f.numel())))
    worst.append(2 * scipy.stats.norm.sf(abs(float(z.prod(0).mean())) * math.sqrt(z.shape[1])))
    return min(1.0, len(worst) * min(worst))


@pytest.mark.parametrize("seed", range(3))
def test_the_four_of_a_rotation_are_independent(seed, monkeypatch):
    assert four(noise.normal((512 * 2000,), seed, dtype=F64)) > LEVEL
    flat = torch.arange(-32767.5, 32768, dtype=torch.float32) * 2**-15 * 3**0.5 / 2
    monkeypatch.setattr(
        noise, "_cells", lambda device: flat
    )  # the twin: a rotation of four uniforms is not four normals
    assert four(noise.normal((512 * 2000,), seed, dtype=F64)) < LEVEL


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


def gram(z) -> float:
    """p-value of the Gram matrix of many columns: its entries off the diagonal are N(0, 1/n), nearly independent."""
    rows, cols = torch.triu_indices(len(z), len(z), 1)
    seen = (z @ z.T / math.sqrt(z.shape[1]))[rows, cols]
    return scipy.stats.kstest(seen.numpy(), "norm").pvalue


def test_a_thousand_keys_of_one_table():
    """All draws share their random words and differ by the multipliers of their keys alone: nothing may show of it in
    the sums over keys, in products of two, three and four of them, nor from one part of the stream to the next."""
    z = noise.normals((1 << 15,), 5, range(1000)).double()
    assert normality(z.sum(0) / math.sqrt(1000)) > LEVEL
    assert gram(z) > LEVEL and gram((z[:300] ** 2 - 1) / math.sqrt(2)) > LEVEL
    assert gram(z[:300] * z[300:600]) > LEVEL  # products of four
    assert normality((z[:100] * z[100:200]) @ z[200:600].T / 2**7.5) > LEVEL  # of three
    assert gram(z + 0.03 * z[0]) < LEVEL  # the twin: 3 % of one key leaks into each
    parts = noise.normal((64, 1 << 16), 5, 1).double()  # a table serves 2^17 numbers: every second row has its words
    assert gram(parts) > LEVEL and gram(parts + 0.1 * parts[0]) < LEVEL


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
    ends = [path(0, 0.5)[:, 0], path(0.5, 1)[:, 0]]
    assert independent([start, prior, noise.normal((n,), seed, dtype=F64), *steps, *ends]) > LEVEL
    # the choice of a component and the number drawn within it
    two = sd.distributions.GaussianMixture([0.5, 0.5], [[-100.0], [100.0]], 1.0).sample(n, seed=seed, dtype=F64)[:, 0]
    assert independent([two.sign(), two - 100 * two.sign()]) > LEVEL
    keys = {
        name: value for name, value in vars(noise).items() if name.isupper() and isinstance(value, int) and value < 0
    }
    assert len(keys) == len(set(keys.values())) == 10


@pytest.mark.parametrize("t0, t1", [(0.0, 1.0), (-3.0, 6.0)])
def test_brownian_increments(t0, t1):
    """Variance |b - a| and independence over disjoint intervals of very different lengths; both tests can fail."""
    n, cuts = 40_000, [t0 + (t1 - t0) * r for r in (0.0, 1e-4, 0.1, 0.37, 0.370001, 0.5, 0.75, 0.9, 1.0)]
    path = sd.Brownian((n, 1), t0, t1, seed=3, dtype=F64, depth=24)
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


def test_brownian_resolves_the_early_end_of_an_exponential_clock():
    """From 1e-110 to 1e98: each increment has its variance, where an absolute resolution would leave no noise."""
    n, cuts = 20_000, [10.0**e for e in (-110, -109, -60, -9, -8, 2, 50, 98)]
    path = sd.Brownian((n, 1), cuts[0], cuts[-1], seed=3, dtype=F64)
    steps = [path(a, b)[:, 0] / math.sqrt(b - a) for a, b in itertools.pairwise(cuts)]
    assert independent(steps) > LEVEL
    for z in steps:
        assert scipy.stats.chi2.cdf(float((z**2).sum()), n) == pytest.approx(0.5, abs=0.5 - LEVEL / 2)


def test_brownian_keeps_one_path_down_the_tree():
    path = sd.Brownian((2, 1), 0.0, 1.0, seed=1, depth=12)
    for i in range(200):
        path(0.0, 0.1 + 0.004 * i)
    assert len(path._cells) <= 13 and len(path._known) <= 4


def exact_grid(path, cuts, rows) -> None:
    """The increments of a whole grid are independent and of the right variance; a twin 3 % off fails."""
    z = [path(a, b) / math.sqrt(b - a) for a, b in itertools.pairwise(cuts)]
    assert independent(z) > LEVEL
    total = float(torch.stack(z).square().sum())
    assert LEVEL / 2 < scipy.stats.chi2.cdf(total, rows * len(z)) < 1 - LEVEL / 2
    assert scipy.stats.chi2.sf(1.03**2 * total, rows * len(z)) < LEVEL


@pytest.mark.parametrize("steps", [5, 20, 60])
def test_brownian_on_the_clock_of_a_grid(steps):
    process = sd.process.VP()
    cuts = (2 * process.lam(sd.grids.karras(process, steps))).exp().tolist()
    exact_grid(sd.Brownian((20_000,), cuts[0], cuts[-1], seed=5, dtype=F64), cuts, 20_000)


def test_brownian_with_a_step_in_nearly_every_leaf():
    """Sixty of a thousand even steps on 1024 leaves of nearly the same length: most end inside a leaf of their own."""
    cuts = [0.3 + i / 1000 for i in range(61)]
    exact_grid(sd.Brownian((20_000,), 0.0, 1.0, seed=5, dtype=F64, depth=11), cuts, 20_000)


def test_brownian_below_its_resolution():
    """Between the leaves' ends the leaf's own normal; two times in one leaf would not be Brownian, and are refused."""
    path = sd.Brownian((40_000,), 0.0, 1.0, seed=1, depth=3, dtype=F64)
    left, right = 1 / 16 + 15 / 64, 1 / 16 + 30 / 64  # leaf 5 of 8
    middle = 0.5 * (left + right)
    bridge = (path(left, middle) - 0.5 * path(left, right)) / math.sqrt((right - left) / 4)
    assert independent([bridge, path(left, right)]) > LEVEL and normality(bridge) > LEVEL
    assert path(0.6, 0.6).abs().max() == 0
    with pytest.raises(ValueError, match=r"inside one of the 2\^3 leaves"):
        path(left + 0.02, right - 0.02)


def test_brownian_at_its_ends():
    path = sd.Brownian((3, 1), 0.1, 0.7, seed=1, dtype=F64)
    assert torch.equal(path(0.1, math.nextafter(0.7, 1)), path(math.nextafter(0.1, 0), 0.7))
    with pytest.raises(ValueError, match="asked for t = 0\\.8"):
        path(0.1, 0.8)
    with pytest.raises(ValueError, match="two different finite end times"):
        sd.Brownian((3, 1), 0.5, 0.5, seed=1)


def clock(process, times) -> list[float]:
    return (2 * process.lam(times)).exp().tolist()


@pytest.mark.parametrize("steps", [3, 20, 1000])
def test_brownian_with_knots(steps):
    """Exact at the knots, between them and on both; the value at a time is one, whatever was asked before."""
    process = sd.process.VP()
    cuts = clock(process, sd.grids.karras(process, steps))

    def fresh(rows, **options):
        return sd.Brownian((rows,), cuts[0], cuts[-1], seed=5, dtype=F64, knots=cuts, **options)

    few = cuts if steps < 100 else [*cuts[:20], *cuts[490:520], *cuts[-20:]]
    exact_grid(fresh(20_000), few, 20_000)
    between = sorted([*few[:15], *(0.4 * a + 0.6 * b for a, b in itertools.pairwise(few[:15]))])
    exact_grid(fresh(20_000), between, 20_000)
    other = clock(process, sd.grids.logsnr(process, 11))
    exact_grid(fresh(20_000), other, 20_000)
    whole, backwards = fresh(6), fresh(6)
    asked = {t: whole(cuts[0], t) for t in (*few, *other)}
    for t in sorted(asked, reverse=True):
        assert torch.equal(backwards(cuts[0], t), asked[t])
        assert torch.equal(fresh(2, first=4)(cuts[0], t), asked[t][4:])
    knotless = sd.Brownian((6,), cuts[0], cuts[-1], seed=5, dtype=F64)
    assert torch.equal(knotless(cuts[0], cuts[-1]), whole(cuts[0], cuts[-1]))
    assert not torch.equal(knotless(cuts[0], cuts[1]), whole(cuts[0], cuts[1]))


def test_a_walk_along_the_knots_draws_once_a_step(monkeypatch):
    monkeypatch.setattr(brownian, "_AHEAD", 1)
    for count in (1, 2, 20, 1000):
        cuts = [math.exp(0.01 * i) for i in range(count + 1)]
        drawn = {}
        for knots in (cuts, cuts[::-1], None):
            path, keys = sd.Brownian((1,), cuts[0], cuts[-1], seed=0, knots=knots), []
            draw = path._draw
            monkeypatch.setattr(path, "_draw", lambda ks, keys=keys, draw=draw: keys.extend(ks) or draw(ks))
            for a, b in itertools.pairwise(cuts):
                path(a, b)
            drawn[knots is None] = len(keys)
        assert drawn[False] <= 1.3 * count and (count == 1 or drawn[True] > 2 * count)


def test_knots_that_cannot_be():
    def path(knots, **options):
        return sd.Brownian((2,), 0.0, 1.0, seed=0, knots=knots, **options)

    for wrong, message in (
        ([0.1, 0.1], "strictly"),
        ([0.1, 0.5, 0.3], "strictly"),
        ([0.5, 1.5], r"must lie in \[0.0, 1.0\]"),
    ):
        with pytest.raises(ValueError, match=message):
            path(wrong)
    with pytest.raises(ValueError, match="depth of 5 at least, not 3"):
        path([i / 20 for i in range(21)], depth=3)
    plain = path([])
    assert torch.equal(path([0.0, 1.0])(0.2, 0.7), plain(0.2, 0.7)) and torch.equal(
        path([1.0])(0.2, 0.7), plain(0.2, 0.7)
    )
    grid = torch.tensor([1.0, 0.5, 0.0])
    assert torch.equal(path(grid)(0.2, 0.7), path(grid.tolist())(0.2, 0.7))
