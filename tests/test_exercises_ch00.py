"""Chapter 0's checkers: right answers pass, and every planted mistake is named."""

import pytest
import torch

import sdelab as sd

B = lambda t: torch.as_tensor(0.1 * t + 19.9 * t**2 / 2)  # noqa: E731
A = lambda t: torch.exp(-B(t) / 2)  # noqa: E731
S = lambda t: torch.sqrt(1 - torch.exp(-B(t)))  # noqa: E731


def right_sigmas(p, s, t):
    a = p.alpha(s) / p.alpha(t)
    posterior = p.sigma(t) ** 2 / p.sigma(s) ** 2 * (p.sigma(s) ** 2 - a**2 * p.sigma(t) ** 2)  # Bayes, another route
    return {"ours": p.sigma(t), "book": p.sigma(t) / p.alpha(t), "dw": p.g(t), "step": posterior.sqrt()}


def but(**changed):
    return lambda p, s, t: {**right_sigmas(p, s, t), **{k: f(p, s, t) for k, f in changed.items()}}


RIGHT = {
    "ch00-perturb": lambda x0, t, eps: A(t) * x0 + S(t) * eps,
    "ch00-book-sigma": lambda s, b: (s, s * b),
    "ch00-time-direction": lambda u, x, t: -u(x, 1 - t),
    "ch00-four-sigmas": right_sigmas,
}

MUTANTS = [
    ("ch00-perturb", lambda x0, t, eps: A(t) * x0 + S(t) ** 2 * eps, "variance sigma^2"),
    ("ch00-perturb", lambda x0, t, eps: A(t) ** 2 * x0 + S(t) * eps, "1/2"),
    ("ch00-perturb", lambda x0, t, eps: A(t) ** 2 * x0 + S(t) ** 2 * eps, "both factors"),
    ("ch00-perturb", lambda x0, t, eps: A(t) ** 2 * x0 + torch.sqrt(1 - A(t) ** 4) * eps, "twice too large"),
    ("ch00-perturb", lambda x0, t, eps: S(t) * x0 + A(t) * eps, "changed places"),
    (
        "ch00-perturb",
        lambda x0, t, eps: (lambda b: torch.exp(-b / 2) * x0 + torch.sqrt(1 - torch.exp(-b)) * eps)(
            torch.tensor((0.1 + 19.9 * t) * t)
        ),
        "integrate it",
    ),
    (
        "ch00-perturb",
        lambda x0, t, eps: (lambda b: torch.exp(-b / 2) * x0 + torch.sqrt(1 - torch.exp(-b)) * eps)(
            torch.tensor(0.1 + 19.9 * t)
        ),
        "beta(t) itself",
    ),
    ("ch00-perturb", lambda x0, t, eps: x0 + S(t) * eps, "does not come out"),
    ("ch00-perturb", lambda x0, t, eps: (A(t) * x0 + S(t) * eps)[0], "does not come out"),
    ("ch00-book-sigma", lambda s, b: (s, b), "takes the textbook's sigma for ours"),
    ("ch00-book-sigma", lambda s, b: (s, b / s), "divided"),
    ("ch00-book-sigma", lambda s, b: (s, (s * b) ** 2), "variance"),
    ("ch00-book-sigma", lambda s, b: (s, s**2 * b), "root of s^2"),
    ("ch00-book-sigma", lambda s, b: (s * b, s), "wrong order"),
    ("ch00-book-sigma", lambda s, b: (1 / s, s * b), "alpha multiplies x0"),
    ("ch00-book-sigma", lambda s, b: s * b, "pair"),
    ("ch00-book-sigma", lambda s, b: (s, 1.01 * s * b), "standard deviation"),
    ("ch00-time-direction", lambda u, x, t: u(x, 1 - t), "not the sign"),
    ("ch00-time-direction", lambda u, x, t: -u(x, t), "the time is not"),
    ("ch00-time-direction", lambda u, x, t: u(x, t), "nothing is turned"),
    ("ch00-time-direction", lambda u, x, t: 2 * u(x, 1 - t), "turned time"),
    ("ch00-time-direction", lambda u, x, t: u(x), "stopped with TypeError"),
    ("ch00-four-sigmas", lambda p, s, t: p.sigma(t), "a dict"),
    ("ch00-four-sigmas", but(ours=lambda p, s, t: p.sigma(t) ** 2), "'ours': that is the variance"),
    ("ch00-four-sigmas", but(book=lambda p, s, t: p.sigma(t)), "'book': that is ours"),
    (
        "ch00-four-sigmas",
        but(step=lambda p, s, t: p.sigma(t) * (1 - torch.exp(p.lam(s) - p.lam(t))) ** 0.5),
        "'step': exp(-h) should be exp(-2h)",
    ),
    ("ch00-four-sigmas", but(book=lambda p, s, t: p.sigma(t) * p.alpha(t)), "'book': divide"),
    ("ch00-four-sigmas", but(dw=lambda p, s, t: p.g2(t)), "'dw': that is g^2"),
    ("ch00-four-sigmas", but(step=lambda p, s, t: right_sigmas(p, s, t)["step"] ** 2), "'step': that is the variance"),
    ("ch00-four-sigmas", but(step=lambda p, s, t: (1 - (p.alpha(s) / p.alpha(t)) ** 2).sqrt()), "*forward* step"),
    ("ch00-four-sigmas", but(step=lambda p, s, t: p.sigma(t)), "only a part"),
    ("ch00-four-sigmas", but(step=lambda p, s, t: 0.0), "h = lam(t) - lam(s)"),
]


@pytest.mark.parametrize("key", RIGHT)
def test_a_right_answer_passes(key, capsys):
    torch.set_default_dtype(torch.float64)
    try:
        assert sd.exercises.check(key, RIGHT[key])
    finally:
        torch.set_default_dtype(torch.float32)
    assert f"PASS {key}" in capsys.readouterr().out


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}-{n}" for n, (k, _, _) in enumerate(MUTANTS)])
def test_a_planted_mistake_is_named(key, mutant, says, capsys):
    assert not sd.exercises.check(key, mutant)
    out = capsys.readouterr().out
    assert says in out
    english, japanese = out.strip().splitlines()[:2]
    assert english.startswith(f"NOT YET {key}: ") and japanese.startswith(f"NOT YET {key}: ")
    assert any(ord(c) > 0x3000 for c in japanese)


@pytest.mark.parametrize("key", RIGHT)
def test_hints_are_given_in_both_languages(key, capsys):
    sd.exercises.hint(key)
    assert len(capsys.readouterr().out.strip().splitlines()) == 2
