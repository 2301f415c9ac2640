"""Every checker of chapter 7: right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

import itertools
import math

import numpy as np
import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed

import sdelab as sd

F64 = torch.float64


def score_transfer(scale=lambda a, b: a / b, inside=lambda c, x: c * x, outside=lambda c, s: c * s, when=None):
    def answer(score, x, t, source, target):
        there = source.t_of_lam(target.lam(t))
        c = scale(source.alpha(there), target.alpha(t))
        return outside(c, score(inside(c, x), t if when else there))

    return answer


def score_by_the_denoiser(score, x, t, source, target):
    """By Tweedie: score -> D, the library's transfer, D -> score."""

    def denoise(x, t):
        return (x + source.var(t) * score(x, t)) / source.alpha(t)

    D = sd.process.transfer(denoise, source, target)(x, t)
    return (target.alpha(t) * D - x) / target.var(t)


def density(value=lambda lam: 1 / (math.pi * torch.cosh(lam))):
    return value


def density_by_differences(lam):
    t = lambda lam: sd.process.Trigonometric().t_of_lam(lam)  # noqa: E731
    return (t(lam - 1e-5) - t(lam + 1e-5)) / 2e-5


def cosine_betas(power=2, use_s=True, use_cap=True, knots=1):
    def answer(n, s, cap):
        s = s if use_s else 0.0
        t = torch.linspace(0, 1, n + knots, dtype=F64)
        c = torch.cos(0.5 * math.pi * (t + s) / (1 + s)) ** power
        return (1 - c[1:] / c[:-1]).clamp_max(cap if use_cap else 1.0)

    return answer


def alpha_bar(n, s):
    t = torch.arange(n + 1, dtype=F64) / n
    return torch.cos(0.5 * math.pi * (t + s) / (1 + s)) ** 2


def c_out(of=lambda a, s, d, c: ((1 - c * a) ** 2 * d**2 + c**2 * s**2) ** 0.5):
    return of


def c_out_by_moments(alpha, sigma, d, c_skip):
    """Two orthogonal directions stand for x_0/d and eps; the deviation is the length of the vector."""
    x0, eps = torch.tensor([d, 0.0], dtype=F64), torch.tensor([0.0, 1.0], dtype=F64)
    x = alpha[:, None] * x0 + sigma[:, None] * eps
    return (x0 - c_skip[:, None] * x).norm(dim=1)


def steps(train=lambda u, T: torch.floor(u * T) + 1, sample=lambda T, n: torch.round(T - torch.arange(n) * T / n)):
    return lambda u, T, n: (train(u, T), sample(T, n))


def steps_in_numpy(u, T, n):
    grid = sd.grids.trailing(sd.process.DiscreteBetas(torch.full((T,), 0.01)), n, zero=True)
    return np.ceil(u.numpy() * T + 1e-12).clip(1), (grid[:-1] * T).round()


def equal_error(root=lambda e, p: e ** (1 / (p + 1)), of=lambda v: v):
    def answer(lam, e, p, n):
        rate = root(e, p).numpy()
        lam = lam.numpy()
        sums = np.concatenate([[0], np.cumsum(0.5 * (rate[1:] + rate[:-1]) * np.diff(lam))])
        return torch.from_numpy(of(np.interp(np.linspace(0, sums[-1], n + 1), sums, lam)))

    return answer


def equal_error_by_bisection(lam, e, p, n):
    from scipy.integrate import cumulative_simpson
    from scipy.interpolate import PchipInterpolator
    from scipy.optimize import brentq

    F = PchipInterpolator(lam.numpy(), cumulative_simpson((e ** (1 / (p + 1))).numpy(), x=lam.numpy(), initial=0))
    a, b = float(lam[0]), float(lam[-1])
    inner = [brentq(lambda v, k=k: float(F(v)) - k * float(F(b)) / n, a, b) for k in range(1, n)]
    return torch.tensor([a, *inner, b], dtype=F64)


def zero_terminal(move=lambda a: (a - a[-1]) * a[0] / (a[0] - a[-1]), power=2, back=True):
    def answer(betas):
        alpha = move(torch.cumprod(1 - betas, 0).sqrt())
        return 1 - torch.cat([alpha[:1], alpha[1:] / alpha[:-1]]) ** power if back else alpha

    return answer


def zero_terminal_one_by_one(betas):
    alpha, bar = [], 1.0
    for beta in betas.tolist():
        bar *= 1 - beta
        alpha.append(math.sqrt(bar))
    moved = [(a - alpha[-1]) / (alpha[0] - alpha[-1]) * alpha[0] for a in alpha]
    out = [1 - moved[0] ** 2] + [1 - (b / a) ** 2 for a, b in itertools.pairwise(moved)]
    return torch.tensor(out, dtype=F64)


def squares(a):
    v = a**2 - a[-1] ** 2
    return (v * a[0] ** 2 / v[0]).sqrt()


def shift(s=lambda side, base: side / base, of=lambda s, t: s * t / (1 + (s - 1) * t)):
    return lambda t, side, base: of(s(side, base), t)


def shift_by_lam(t, side, base):
    flow = sd.process.RectifiedFlow()
    return flow.t_of_lam(flow.lam(t) - math.log(side / base))


leading = lambda T, n: (torch.arange(n) * (T // n)).flip(0)  # noqa: E731

RIGHT = {
    "ch07-score-transfer": [score_transfer(), score_by_the_denoiser],
    "ch07-density": [density(), density_by_differences],
    "ch07-cosine-betas": [cosine_betas(), sd.process.cosine_betas],
    "ch07-c-out": [c_out(), c_out_by_moments],
    "ch07-steps": [steps(), steps_in_numpy],
    "ch07-equal-error": [equal_error(), equal_error_by_bisection],
    "ch07-zero-snr": [zero_terminal(), zero_terminal_one_by_one, sd.process.zero_snr],
    "ch07-shift": [shift(), shift_by_lam],
}

MUTANTS = [
    ("ch07-score-transfer", score_transfer(outside=lambda c, s: s), "chain rule's factor"),
    ("ch07-score-transfer", score_transfer(outside=lambda c, s: s / c), "divided by c"),
    ("ch07-score-transfer", score_transfer(inside=lambda c, x: x), "source's units"),
    ("ch07-score-transfer", score_transfer(lambda a, b: b / a), "upside down"),
    ("ch07-score-transfer", score_transfer(when="target"), "the time is the target's"),
    ("ch07-score-transfer", lambda score, x, t, source, target: score(x, t), "neither the time"),
    ("ch07-density", density(lambda v: 2 / (math.pi * torch.cosh(v))), "twice too large"),
    ("ch07-density", density(lambda v: -1 / (math.pi * torch.cosh(v))), "the sign"),
    ("ch07-density", density(lambda v: 1 / torch.cosh(v)), "not normalised"),
    ("ch07-density", density(lambda v: math.pi * torch.cosh(v)), "its inverse"),
    ("ch07-density", density(lambda v: torch.sigmoid(v) * torch.sigmoid(-v)), "straight flow's"),
    ("ch07-density", density(lambda v: 1 / (2 * torch.cosh(v) ** 2)), "belongs to tanh"),
    ("ch07-density", density(lambda v: sd.process.Trigonometric().t_of_lam(v)), "this is t itself"),
    ("ch07-cosine-betas", cosine_betas(use_cap=False), "the cap is missing"),
    ("ch07-cosine-betas", cosine_betas(power=1), "not of alpha"),
    ("ch07-cosine-betas", cosine_betas(use_s=False), "s does not enter"),
    ("ch07-cosine-betas", cosine_betas(knots=0), "has shape"),
    ("ch07-cosine-betas", lambda n, s, cap: alpha_bar(n, s)[:-1] / alpha_bar(n, s)[0], "alpha_bar, not betas"),
    ("ch07-cosine-betas", lambda n, s, cap: 1 - alpha_bar(n, s)[1:] / alpha_bar(n, s)[0], "the variance so far"),
    ("ch07-c-out", lambda *a: c_out()(*a) ** 2, "this is the variance"),
    ("ch07-c-out", lambda a, s, d, c: s * d / (a**2 * d**2 + s**2).sqrt(), "at the best c_skip"),
    ("ch07-c-out", lambda a, s, d, c: c_out()(a, s, 1.0, c), "does not enter"),
    ("ch07-c-out", lambda a, s, d, c: c_out()(1.0, s, d, c), "alpha is missing"),
    ("ch07-c-out", c_out(lambda a, s, d, c: ((1 - c * a) ** 2 * d**2 + s**2) ** 0.5), "multiplied by c_skip"),
    ("ch07-c-out", c_out(lambda a, s, d, c: (1 - c * a).abs() * d + c.abs() * s), "add up in variance"),
    ("ch07-c-out", c_out(lambda a, s, d, c: ((1 - c * a) ** 2 * d + c**2 * s) ** 0.5), "square them"),
    ("ch07-c-out", lambda *a: 1 / c_out()(*a), "1/c_out"),
    ("ch07-steps", steps(lambda u, T: torch.floor(u * len(u))), "below the batch size"),
    ("ch07-steps", steps(lambda u, T: torch.floor(u * len(u)) + 1), "up to the batch size"),
    ("ch07-steps", steps(lambda u, T: torch.floor(u * T)), "0 to T - 1"),
    ("ch07-steps", steps(lambda u, T: torch.floor(u * (T - 1)) + 1), "1 to T - 1"),
    ("ch07-steps", steps(lambda u, T: torch.round(u * T)), "rounding gives 0"),
    ("ch07-steps", steps(lambda u, T: u * T), "whole number"),
    ("ch07-steps", steps(sample=leading), "(leading)"),
    ("ch07-steps", steps(sample=lambda T, n: leading(T, n) + 1), "offset of 1"),
    ("ch07-steps", steps(sample=lambda T, n: torch.round(T - torch.arange(n) * T / n).flip(0)), "must fall"),
    ("ch07-steps", steps(sample=lambda T, n: torch.round(T - torch.arange(n) * T / n) - 1), "one too small"),
    ("ch07-steps", steps(sample=lambda T, n: torch.linspace(T, 1, n).round()), "ends at 1"),
    ("ch07-steps", steps(sample=lambda T, n: torch.linspace(T, 0, n, dtype=F64).round()), "0 is the data"),
    ("ch07-equal-error", equal_error(lambda e, p: e), "the root is missing"),
    ("ch07-equal-error", equal_error(lambda e, p: e ** (1 / p)), "of order p:"),
    ("ch07-equal-error", equal_error(lambda e, p: e ** (-1 / (p + 1))), "upside down"),
    ("ch07-equal-error", equal_error(lambda e, p: e ** (p + 1)), "a power instead"),
    ("ch07-equal-error", lambda lam, e, p, n: torch.linspace(float(lam[0]), float(lam[-1]), n + 1), "no say"),
    ("ch07-zero-snr", zero_terminal(lambda a: a - a[-1]), "only shifted"),
    ("ch07-zero-snr", zero_terminal(lambda a: (a - a[-1]) / (a[0] - a[-1])), "became 1"),
    ("ch07-zero-snr", zero_terminal(squares), "alpha^2 was shifted"),
    ("ch07-zero-snr", zero_terminal(power=1), "square the ratio"),
    ("ch07-zero-snr", zero_terminal(back=False), "these are the alphas"),
    ("ch07-zero-snr", lambda betas: zero_terminal(back=False)(betas) ** 2, "alpha^2 (alpha_bar)"),
    ("ch07-zero-snr", lambda betas: torch.cat([betas[:-1], torch.ones(1, dtype=F64)]), "only the last beta"),
    ("ch07-zero-snr", lambda betas: betas, "nothing is changed"),
    ("ch07-shift", shift(lambda side, base: (side / base) ** 2), "instead of its root"),
    ("ch07-shift", shift(lambda side, base: (side / base) ** 0.5), "ratio of sides"),
    ("ch07-shift", shift(lambda side, base: base / side), "the wrong way"),
    ("ch07-shift", shift(of=lambda s, t: s * t), "t itself is multiplied"),
    ("ch07-shift", shift(of=lambda s, t: s * t / (1 - t)), "solve for t"),
    ("ch07-shift", lambda t, side, base: t, "nothing is changed"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s} {n}" for n, (k, _, s) in enumerate(MUTANTS)])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


@pytest.mark.parametrize("key", RIGHT)
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    shape = "return the pair" if key == "ch07-steps" else "3, 5, 7)"
    assert_nonsense_is_told(key, RIGHT[key][0], capsys, shape=shape)


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_solutions_printed_in_the_chapter_pass(edition, capsys):
    space = printed(edition, "07_schedules", {"math": math, "np": np, "sd": sd, "torch": torch})
    for key, name in {
        "ch07-score-transfer": "my_score", "ch07-density": "my_density", "ch07-cosine-betas": "my_cosine_betas",
        "ch07-c-out": "my_c_out", "ch07-steps": "my_steps", "ch07-equal-error": "my_equal_error",
        "ch07-zero-snr": "my_zero_snr", "ch07-shift": "my_shift",
    }.items():  # fmt: skip
        assert_passes(key, space[name], capsys)
