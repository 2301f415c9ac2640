"""Every checker of chapter 5 (2): right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

import math
from itertools import pairwise

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed
from scipy.integrate import quad

import sdelab as sd
from sdelab.solvers.exp_rk import ExpRK, midpoint
from sdelab.solvers.exponential import weights


def moments(first=lambda h: math.exp(h) - 1, rule=lambda h, n, last: n * last - h**n):
    def answer(h, count):
        M = [first(h)]
        for n in range(1, count):
            M.append(rule(h, n, M[-1]))
        return torch.tensor(M)

    return answer


def moments_by_quadrature(h, count):
    return torch.tensor([quad(lambda u, n=n: math.exp(h - u) * u**n, 0, h, epsabs=1e-13)[0] for n in range(count)])


def scaled_moments(h, count):
    return torch.tensor([m / h**n for n, m in enumerate(moments()(h, count).tolist())])


def ddim_eps(p, x, a, b, e):
    return p.alpha(b) / p.alpha(a) * x - p.sigma(b) * torch.expm1(p.lam(b) - p.lam(a)) * e


def eps_of(p, D, x, t):
    return (x - p.alpha(t) * D(x, t)) / p.sigma(t)


def dpm2(middle=lambda p, s, t: p.t_of_lam((p.lam(s) + p.lam(t)) / 2), use=None, start=False, stop=False):
    def answer(x, s, t, D, p):
        m = middle(p, s, t)
        e = eps_of(p, D, x, s)
        y = ddim_eps(p, x, s, m, e)
        if stop:
            return y
        late = eps_of(p, D, y, m)
        e = late if use is None else use(p, D, x, e, late, m)
        return ddim_eps(p, y, m, t, e) if start else ddim_eps(p, x, s, t, e)

    return answer


def dpm2_by_library(x, s, t, D, p, value="eps"):
    return sd.solve(sd.Reverse(p, D, 0.0), ExpRK(midpoint(), value), x, [s, t])


def correct(w=lambda h, M0, M1: (M0 - M1 / h, M1 / h), keep=lambda p, s, t: p.sigma(t) / p.sigma(s), scale=lambda p, t: p.alpha(t)):  # noqa: E501  # fmt: skip
    def answer(x, D_s, D_t, s, t, p):
        h = float(p.lam(t) - p.lam(s))
        M0 = 1 - math.exp(-h)
        a, b = w(h, M0, h - M0)
        return keep(p, s, t) * x + scale(p, t) * (a * D_s + b * D_t)

    return answer


def correct_by_library(x, D_s, D_t, s, t, p):
    b, a = weights(float(p.lam(t) - p.lam(s)), 1.0, [float(p.lam(t) - p.lam(s)), 0.0])
    return p.sigma(t) / p.sigma(s) * x + p.alpha(t) * (a * D_s + b * D_t)


def third(nodes=lambda h, a, b: (0.0, -a, -a - b), change=lambda M: M):
    def answer(h, h1, h2):
        M0 = 1 - math.exp(-h)
        M = change([M0, h - M0, h * h - 2 * (h - M0)])
        u = torch.tensor(nodes(h, h1, h2), dtype=torch.float64)
        return torch.linalg.solve(torch.vander(u, increasing=True).T, torch.tensor(M, dtype=torch.float64))

    return answer


def third_by_library(h, h1, h2):
    return torch.tensor(weights(h, 1.0, [0.0, -h1, -h1 - h2]), dtype=torch.float64)


def third_published(h, h1, h2):
    return torch.tensor(sd.solvers.DPMpp3M().weights(h, 1.0, [0.0, -h1, -h1 - h2]), dtype=torch.float64)


def two_m(h, h1, h2):
    return torch.tensor([*sd.DPMpp2M().weights(h, 1.0, [0.0, -h1]), 0.0], dtype=torch.float64)


PRICE = {
    "ddim": lambda n: n, "edm_heun": lambda n: 2 * n, "plms": lambda n: n + min(n, 1),
    "pndm": lambda n: n + 3 * min(n, 3),
}  # fmt: skip


def steps(price=PRICE, last=1, extra=1):
    return lambda method, calls: (
        max((n for n in range(calls + 1) if price[method](n) <= calls - last), default=0) + extra
    )


def steps_by_library(method, calls):
    return sd.solvers.row(method).fit(calls - 1)[1] + 1


def repaired(factor=1.0, ratio=lambda h, old: h / old, half=0.5, eps=False):
    def answer(D, x, times, p):
        before, old = None, 1.0
        for s, t in pairwise(times):
            h, now = factor * float(p.lam(t) - p.lam(s)), D(x, s)
            use = now if before is None else now + half * ratio(h, old) * (now - before)
            keep = p.alpha(t) / p.alpha(s) if eps else p.sigma(t) / p.sigma(s)
            x, before, old = keep * x + p.alpha(t) * (1 - math.exp(-h)) * use, now, h
        return x

    return answer


def repaired_by_library(D, x, times, p):
    return sd.solve(sd.Reverse(p, D, 0.0), sd.DPMpp2M(), x, times)


RIGHT = {
    "ch05b-moments": [moments(), moments_by_quadrature],
    "ch05b-dpm2": [dpm2(), dpm2_by_library],
    "ch05b-correct": [correct(), correct_by_library],
    "ch05b-3m": [third(), third_by_library],
    "ch05b-steps": [steps(), steps_by_library],
    "ch05b-repair": [repaired(), repaired_by_library],
}

MUTANTS = [
    ("ch05b-moments", moments(lambda h: 1 - math.exp(-h), lambda h, n, last: h**n - n * last), "belong to D"),
    ("ch05b-moments", moments(rule=lambda h, n, last: n * last + h**n), "sign of the boundary term"),
    ("ch05b-moments", moments(rule=lambda h, n, last: h**n - n * last), "both signs"),
    ("ch05b-moments", moments(rule=lambda h, n, last: last - h**n), "factor n"),
    ("ch05b-moments", moments(rule=lambda h, n, last: n * last - h ** (n + 1)), "not h^(n+1)"),
    ("ch05b-moments", moments(math.exp), "not e^h"),
    ("ch05b-moments", scaled_moments, "divided by h^n"),
    ("ch05b-moments", lambda h, count: -moments()(h, count), "sign of the whole"),
    ("ch05b-dpm2", lambda x, s, t, D, p: ddim_eps(p, x, s, t, eps_of(p, D, x, s)), "this is DDIM"),
    ("ch05b-dpm2", dpm2(lambda p, s, t: torch.tensor((s + t) / 2, dtype=torch.float64)), "taken in t"),
    ("ch05b-dpm2", lambda *a: dpm2_by_library(*a, value="D"), "DPM++ 2S"),
    ("ch05b-dpm2", dpm2(start=True), "two DDIM steps"),
    ("ch05b-dpm2", dpm2(use=lambda p, D, x, e, late, m: (e + late) / 2), "mean of both"),
    ("ch05b-dpm2", dpm2(use=lambda p, D, x, e, late, m: eps_of(p, D, x, m)), "taken at x_s"),
    ("ch05b-dpm2", dpm2(stop=True), "state at the middle"),
    ("ch05b-correct", correct(lambda h, M0, M1: (M0, 0.0)), "the predictor"),
    ("ch05b-correct", correct(lambda h, M0, M1: (M0 / 2, M0 / 2)), "bh2"),
    ("ch05b-correct", correct(lambda h, M0, M1: (M1 / h, M0 - M1 / h)), "swapped"),
    ("ch05b-correct", correct(lambda h, M0, M1: (M0 - M1, M1)), "not divided by h"),
    ("ch05b-correct", correct(lambda h, M0, M1: (0.0, M0)), "only D_t"),
    ("ch05b-correct", correct(keep=lambda p, s, t: 1.0), "multiplied by sigma_t/sigma_s"),
    ("ch05b-correct", correct(keep=lambda p, s, t: p.alpha(t) / p.alpha(s)), "goes with eps"),
    ("ch05b-correct", correct(scale=lambda p, t: 1.0), "multiplied by alpha_t"),
    ("ch05b-3m", third_published, "halved"),
    ("ch05b-3m", third(change=lambda M: [M[0], M[1], 2 * M[2]]), "doubled"),
    ("ch05b-3m", third(change=lambda M: [M[0], M[1], 0.0]), "second moment is missing"),
    ("ch05b-3m", two_m, "DPM++ 2M"),
    ("ch05b-3m", third(lambda h, a, b: (0.0, -a, -b)), "not at -h2"),
    ("ch05b-3m", third(lambda h, a, b: (0.0, -h, -2 * h)), "as long as this one"),
    ("ch05b-3m", third(lambda h, a, b: (0.0, a, a + b)), "past nodes are negative"),
    ("ch05b-3m", lambda *a: third()(*a).flip(0), "reversed"),
    ("ch05b-steps", steps(dict.fromkeys(PRICE, PRICE["ddim"])), "one call a step"),
    ("ch05b-steps", steps(extra=0), "is a step too"),
    ("ch05b-steps", steps(last=0, extra=0), "takes one call whatever"),
    ("ch05b-steps", steps(last=0), "not paid for"),
    ("ch05b-steps", steps(PRICE | {"plms": lambda n: n}), "PLMS takes 2"),
    ("ch05b-steps", steps(PRICE | {"pndm": lambda n: n}), "PNDM takes 4 calls in each"),
    ("ch05b-steps", steps(PRICE | {"pndm": lambda n: n + 9}), "fewer than three"),
    ("ch05b-steps", steps(PRICE | {"pndm": lambda n: n + 2 * min(n, 3)}), "3 more than later"),
    ("ch05b-steps", steps(PRICE | {"edm_heun": lambda n: n}), "Heun takes two"),
    ("ch05b-repair", repaired(2.0, lambda h, old: old / h), "both faults"),
    ("ch05b-repair", repaired(ratio=lambda h, old: old / h), "upside down"),
    ("ch05b-repair", repaired(2.0), "half the log-SNR"),
    ("ch05b-repair", repaired(0.5), "h is half"),
    ("ch05b-repair", repaired(half=1.0), "end of the step"),
    ("ch05b-repair", repaired(half=0.0), "this is DDIM"),
    ("ch05b-repair", repaired(ratio=lambda h, old: 1.0), "is missing"),
    ("ch05b-repair", repaired(half=-0.5), "sign of the difference"),
    ("ch05b-repair", repaired(eps=True), "goes with eps"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s} {n}" for n, (k, _, s) in enumerate(MUTANTS)])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


@pytest.mark.parametrize("key", RIGHT)
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    assert_nonsense_is_told(key, RIGHT[key][0], capsys, shape="3, 5, 7)")


NAMES = {
    "moments": "my_noise_moments", "dpm2": "my_dpm2", "correct": "my_correct", "3m": "my_3m_weights",
    "steps": "my_steps", "repair": "my_repair",
}  # fmt: skip


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass(edition, capsys):
    space = printed(edition, "05b_exponential", {"torch": torch, "math": math, "sd": sd, "pairwise": pairwise})
    for key, name in NAMES.items():
        assert_passes(f"ch05b-{key}", space[name], capsys)
