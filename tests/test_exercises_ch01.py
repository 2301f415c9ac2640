"""Chapter 1's checkers: right answers pass, and each planted mistake gets its own diagnosis in both languages."""

import pytest
import torch

from sdelab import exercises, noise, process


def _path(increments):
    return torch.nn.functional.pad(increments.cumsum(1), (1, 0))


def _steps(times):
    return times.diff()


def _draw(x0, sigmas, seed, *, below=None, power=1.0, size=1.0, same=False):
    """VE noising with mistakes to be planted: the range of the index, the power of sigma, the size of the noise."""
    n = len(x0)
    u = noise.uniform((n,), seed, key=0)
    i = (u * (below or len(sigmas))).long()
    i = i[:1].expand(n) if same else i
    z = noise.normal(x0.shape, seed, key=1, dtype=torch.float64)
    return x0 + size * sigmas[i, None] ** power * z, i


def _ddpm(b):
    return torch.cumprod(1 - b, 0)


def _move(x, t, p, q):
    u = q.t_of_lam(p.lam(t))
    return u, q.alpha(u) / p.alpha(t)


RIGHT = {
    "ch01-brownian": lambda z, times: _path(_steps(times).sqrt() * z),
    "ch01-ito-integral": lambda w: (w[:, :-1] * w.diff(dim=1)).sum(1),
    "ch01-fg": lambda s, ds, sigma, dsigma: (ds / s, s * (2 * sigma * dsigma).sqrt()),
    "ch01-same-noise": lambda x, t, p, q: (x * _move(x, t, p, q)[1], _move(x, t, p, q)[0]),
    "ch01-ddpm-kernel": lambda b: (_ddpm(b).sqrt(), (1 - _ddpm(b)).sqrt()),
    "ch01-fault": _draw,
}

MUTANTS = [
    # (exercise, words of the diagnosis in English, the wrong answer)
    ("ch01-brownian", "size dt", lambda z, times: _path(_steps(times) * z)),
    (
        "ch01-brownian",
        "increments",
        lambda z, times: _path(_steps(times).sqrt() * z).diff(dim=1, prepend=torch.zeros(64, 1)),
    ),
    ("ch01-brownian", "starting value", lambda z, times: (_steps(times).sqrt() * z).cumsum(1)),
    ("ch01-brownian", "independent", lambda z, times: times.sqrt() * torch.nn.functional.pad(z, (1, 0))),
    ("ch01-brownian", "one step size", lambda z, times: _path(_steps(times).mean().sqrt() * z)),
    ("ch01-brownian", "one step size", lambda z, times: _path(_steps(times)[0].sqrt() * z)),
    ("ch01-brownian", "2.00 times", lambda z, times: _path((2 * _steps(times)).sqrt() * z)),
    (
        "ch01-brownian",
        "dimension 0",
        lambda z, times: torch.nn.functional.pad((_steps(times).sqrt() * z).cumsum(0), (1, 0)),
    ),
    ("ch01-ito-integral", "limit", lambda w: w[:, -1] ** 2 / 2 - 0.5),
    ("ch01-ito-integral", "right end", lambda w: (w[:, 1:] * w.diff(dim=1)).sum(1)),
    ("ch01-ito-integral", "Stratonovich", lambda w: w[:, -1] ** 2 / 2),
    ("ch01-ito-integral", "2 w dw", lambda w: w[:, -1] ** 2 - (w.diff(dim=1) ** 2).sum(1)),
    ("ch01-ito-integral", "away", lambda w: w[:, -1] ** 2),
    ("ch01-fg", "s' alone", lambda s, ds, sigma, dsigma: (ds, s * (2 * sigma * dsigma).sqrt())),
    ("ch01-fg", "wrong sign", lambda s, ds, sigma, dsigma: (-ds / s, s * (2 * sigma * dsigma).sqrt())),
    ("ch01-fg", "s' = f s", lambda s, ds, sigma, dsigma: (2 * ds / s, s * (2 * sigma * dsigma).sqrt())),
    ("ch01-fg", "square root", lambda s, ds, sigma, dsigma: (ds / s, s**2 * 2 * sigma * dsigma)),
    ("ch01-fg", "factor s", lambda s, ds, sigma, dsigma: (ds / s, (2 * sigma * dsigma).sqrt())),
    ("ch01-fg", "wrong side", lambda s, ds, sigma, dsigma: (ds / s, (2 * sigma * dsigma).sqrt() / s)),
    ("ch01-fg", "factor 2", lambda s, ds, sigma, dsigma: (ds / s, s * (sigma * dsigma).sqrt())),
    (
        "ch01-fg",
        "OUR sigma",
        lambda s, ds, sigma, dsigma: (ds / s, (2 * sigma * dsigma - 2 * ds / s * sigma**2).sqrt()),
    ),
    ("ch01-fg", "3.00 times", lambda s, ds, sigma, dsigma: (ds / s, 3 * s * (2 * sigma * dsigma).sqrt())),
    ("ch01-fg", "negative", lambda s, ds, sigma, dsigma: (ds / s, (-sigma * dsigma).sqrt())),
    ("ch01-same-noise", "comes second", lambda x, t, p, q: RIGHT["ch01-same-noise"](x, t, p, q)[::-1]),
    ("ch01-same-noise", "time was kept", lambda x, t, p, q: (x, t)),
    ("ch01-same-noise", "the same lam at", lambda x, t, p, q: (x, q.t_of_lam(2 * p.lam(t)))),
    ("ch01-same-noise", "old scale", lambda x, t, p, q: (x, _move(x, t, p, q)[0])),
    ("ch01-same-noise", "upside down", lambda x, t, p, q: (x / _move(x, t, p, q)[1], _move(x, t, p, q)[0])),
    ("ch01-same-noise", "x / alpha", lambda x, t, p, q: (0 * x, _move(x, t, p, q)[0])),
    ("ch01-ddpm-kernel", "alpha-bar", lambda b: (_ddpm(b), (1 - _ddpm(b)).sqrt())),
    ("ch01-ddpm-kernel", "the limit", lambda b: (torch.exp(-b.cumsum(0) / 2), (1 - _ddpm(b)).sqrt())),
    ("ch01-ddpm-kernel", "one step only", lambda b: ((1 - b).sqrt(), b.sqrt())),
    (
        "ch01-ddpm-kernel",
        "one step behind",
        lambda b: (torch.cumprod(torch.cat([torch.ones(1), 1 - b[:-1]]), 0).sqrt(), b),
    ),
    ("ch01-ddpm-kernel", "not the product", lambda b: (1 - b, b)),
    ("ch01-ddpm-kernel", "variance", lambda b: (_ddpm(b).sqrt(), 1 - _ddpm(b))),
    ("ch01-ddpm-kernel", "added up", lambda b: (_ddpm(b).sqrt(), b.cumsum(0).sqrt())),
    ("ch01-ddpm-kernel", "last step", lambda b: (_ddpm(b).sqrt(), b.sqrt())),
    ("ch01-ddpm-kernel", "a^2 + std^2", lambda b: (_ddpm(b).sqrt(), _ddpm(b).sqrt())),
    ("ch01-fault", "batch size", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, below=len(x0))),
    (
        "ch01-fault",
        "leave the range",
        lambda x0, sigmas, seed: (_draw(x0, sigmas, seed)[0], _draw(x0, sigmas, seed)[1] + 1),
    ),
    ("ch01-fault", "whole batch", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, same=True)),
    ("ch01-fault", "never drawn", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, below=100)),
    ("ch01-fault", "never drawn", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, below=len(sigmas) - 1)),
    ("ch01-fault", "sigma^2", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, power=2)),
    ("ch01-fault", "sqrt(sigma)", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, power=0.5)),
    (
        "ch01-fault",
        "has a mean",
        lambda x0, sigmas, seed: (0.5 * x0 + _draw(0 * x0, sigmas, seed)[0], _draw(x0, sigmas, seed)[1]),
    ),
    ("ch01-fault", "deviation 2.00", lambda x0, sigmas, seed: _draw(x0, sigmas, seed, size=2.0)),
]


def _answers(key, word):
    """An answer that ignores what it is given and returns `word`."""
    return lambda *_: word


@pytest.mark.parametrize("key", RIGHT)
def test_right_answer_passes(key, capsys):
    assert exercises.check(key, RIGHT[key])
    assert capsys.readouterr().out.startswith(f"PASS {key}")


@pytest.mark.parametrize("key", [key for key in RIGHT if key != "ch01-fault"])
def test_right_answer_passes_in_float32(key):
    """A reader who computes in float32 is told nothing about rounding."""

    def single(part):
        return part.float() if torch.is_tensor(part) else part

    def answer(*given):
        result = RIGHT[key](*given)
        return tuple(map(single, result)) if isinstance(result, tuple) else single(result)

    assert exercises.check(key, answer)


@pytest.mark.parametrize(("key", "words", "answer"), MUTANTS)
def test_mutant_gets_its_own_diagnosis(key, words, answer, capsys):
    assert not exercises.check(key, answer)
    english, japanese = capsys.readouterr().out.strip().splitlines()
    assert words in english, english
    assert english.startswith(f"NOT YET {key}") and japanese.startswith(f"NOT YET {key}")
    assert any("\u3040" <= letter <= "\u30ff" for letter in japanese), japanese


@pytest.mark.parametrize("key", RIGHT)
def test_unwritten_answer_is_told_so(key, capsys):
    assert not exercises.check(key, _answers(key, None))
    assert "nothing is returned yet" in capsys.readouterr().out


@pytest.mark.parametrize("key", RIGHT)
def test_wrong_shape_is_told(key, capsys):
    pair = isinstance(RIGHT[key](*_arguments(key)), tuple)
    wrong = torch.zeros(3, 7, 2)
    assert not exercises.check(key, _answers(key, (wrong, wrong) if pair and key != "ch01-same-noise" else wrong))
    said = capsys.readouterr().out
    assert "shape" in said or "return the pair" in said


def test_same_noise_reports_a_wrong_shape(capsys):
    assert not exercises.check("ch01-same-noise", lambda x, t, p, q: (x[0], _move(x, t, p, q)[0]))
    assert "shape" in capsys.readouterr().out


@pytest.mark.parametrize("key", RIGHT)
def test_answer_that_raises_is_reported_not_raised(key, capsys):
    def broken(*_):
        raise KeyError("no such thing")

    assert not exercises.check(key, broken)
    assert "KeyError" in capsys.readouterr().out


@pytest.mark.parametrize("key", RIGHT)
def test_hint_speaks_both_languages(key, capsys):
    exercises.hint(key)
    assert len(capsys.readouterr().out.strip().splitlines()) == 2


def _arguments(key):
    """Some input on which the right answer runs."""
    ones = torch.full((5,), 0.5)
    return {
        "ch01-brownian": (torch.ones(2, 5), torch.arange(6.0)),
        "ch01-ito-integral": (torch.ones(2, 5),),
        "ch01-fg": (ones, ones, ones, ones),
        "ch01-same-noise": (torch.ones(2, 3), 0.5, process.VP(), process.VE()),
        "ch01-ddpm-kernel": (ones,),
        "ch01-fault": (torch.ones(4, 3), torch.arange(1.0, 9.0), 0),
    }[key]
