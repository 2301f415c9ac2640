"""The benchmark behind chapter 7: its laws of times, its interpolation of grids, and that its file is whole."""

import math

import pytest
import torch

import sdelab as sd
from benchmarks import schedules


def test_the_cosines_law_of_times_on_the_linear_process():
    u = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    cosine = sd.process.Cosine()
    times = schedules.lam_of(cosine)(u)
    t = cosine.t_min + u * (cosine.T - cosine.t_min)
    torch.testing.assert_close(schedules.LINEAR.lam(times), cosine.lam(t), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("steps", [5, 20])
def test_stretched_grids_keep_their_ends_and_their_law_in_lam(steps):
    even = sd.grids.logsnr(schedules.VP, 10)
    torch.testing.assert_close(schedules.stretched(even, steps), sd.grids.logsnr(schedules.VP, steps))
    karras = sd.grids.karras(schedules.VP, 10)
    other = schedules.stretched(karras, steps)
    assert other[0] == karras[0] and other[-1] == karras[-1] and (other.diff() < 0).all()
    torch.testing.assert_close(schedules.stretched(karras, 10), karras)


def test_errors_of_a_perfect_and_of_a_blind_denoiser():
    x0 = sd.noise.normal((40, 1, 16, 16), seed=0, dtype=torch.float64)
    small = torch.nn.functional.avg_pool2d(x0, 2)
    eps, low = schedules.errors(lambda x, t: x0, 16, x0, small)
    assert max(eps) == 0 and max(low) == 0
    eps, low = schedules.errors(lambda x, t: 0 * x, 16, x0, small)
    for lam, e, v in zip(schedules.LEVELS.tolist(), eps, low, strict=True):
        assert e == pytest.approx(math.exp(2 * lam) * float(x0.square().mean()))
        assert v == pytest.approx(float(small.square().mean()))


def test_the_kept_file_is_whole():
    kept = sd.claims.measured("schedules")
    seeds = list(schedules.SEEDS)
    for side, laws in schedules.SIDES.items():
        for law in laws:
            assert [r["seed"] for r in kept["kana"] if (r["side"], r["law"]) == (side, law)] == seeds
    for way in schedules.WAYS:
        assert [r["seed"] for r in kept["points"] if r["way"] == way] == seeds
    cases = {f"{p}, {s}, {n}" for p in schedules.PROBLEMS for s in schedules.SOLVERS for n in schedules.BUDGETS}
    assert set(kept["lent"]["errors"]) == set(kept["lent"]["times"]) == cases
    assert kept["settings"]["levels"] == schedules.LEVELS.tolist()
