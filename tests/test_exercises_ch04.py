"""Every checker of chapter 4: right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

import math

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed
from torch.func import jvp, vjp

import sdelab as sd


def drift(factor, of=lambda p, t: p.g2(t), pull=lambda p, t, x: p.f(t) * x):
    return lambda x, t, eta, p, score: pull(p, t, x) - factor(eta) * of(p, t) * score(x, t)


def half(eta):
    return (1 + eta**2) / 2


def ddpm_style_drift(x, t, eta, p, score):
    """The same from alpha', sigma' and the predicted noise, as the library writes it."""
    eps = -p.sigma(t) * score(x, t)
    D = (x - p.sigma(t) * eps) / p.alpha(t)
    return p.d_alpha(t) * D + p.d_sigma(t) * eps + eta**2 * p.g2(t) / (2 * p.sigma(t)) * eps


def size(p, t, std, power=2):
    return p.alpha(t) ** 2 * std**power + p.var(t)


def correlation(power=lambda eta: eta**2, f=None):
    def right(s, t, p, std):
        return p.alpha(s) / p.alpha(t) * (size(p, t, std) / size(p, s, std)).sqrt()

    return lambda s, t, eta, p, std: (f or right)(s, t, p, std) ** power(eta)


def correlation_by_integral(s, t, eta, p, std, n=4000):
    """exp(-eta^2/2 int_t^s g^2/v), by the midpoint rule."""
    u = t + (s - t) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return torch.exp(-(eta**2) / 2 * (p.g2(u) / size(p, u, std)).mean() * (s - t))


def step(back=lambda p, s, t: p.alpha(t), ratio=lambda p, s, t: p.sigma(t) / p.alpha(t) / (p.sigma(s) / p.alpha(s)), y=lambda x, p, s: x / p.alpha(s)):  # noqa: E501  # fmt: skip
    return lambda x, D, s, t, p: back(p, s, t) * (D + ratio(p, s, t) * (y(x, p, s) - D))


def ddim(x, D, s, t, p):
    return p.alpha(t) * D + p.sigma(t) * (x - p.alpha(s) * D) / p.sigma(s)


def euler(x, D, s, t, p):
    eps = (x - p.alpha(s) * D) / p.sigma(s)
    return x + (t - s) * (p.d_alpha(s) * D + p.d_sigma(s) * eps)


def by_grad(v, x, z):
    out = []
    for one in z:
        y = x.detach().requires_grad_()
        out.append((torch.autograd.grad((v(y) * one).sum(), y)[0] * one).sum(1))
    return torch.stack(out)


def by_library(v, x, z):
    return sd.likelihood.divergence(v, x.detach(), z)


def transposed(v, x, z):
    return torch.stack([vjp(v, x.detach())[1](one)[0] for one in z])


def forward(v, x, z):
    return torch.stack([jvp(v, (x.detach(),), (one,))[1] for one in z])


def exact(v, x, z):
    return sd.likelihood.divergence(v, x.detach()).expand(len(z), -1)


def diagonal(v, x, z):
    J = torch.func.vmap(torch.func.jacrev(lambda a: v(a[None])[0]))(x.detach())
    return (z**2 * torch.diagonal(J, dim1=1, dim2=2)).sum(2)


def bits(place=lambda k, u, L: -1 + 2 * (k + u) / L, offset=lambda L: math.log2(L / 2), unit=lambda d: d * math.log(2), whole=lambda d: 1.0):  # noqa: E501  # fmt: skip
    return lambda log_prob, k, u, L: whole(k.shape[1]) * (-log_prob(place(k, u, L)) / unit(k.shape[1]) + offset(L))


def bits_by_library(log_prob, k, u, L):
    return sd.likelihood.bits_per_dim(log_prob(2 / L * (k + u) - 1), k.shape[1], 2 / L)


def one_by_one(log_prob, k, u, L):
    return torch.cat([1.3 * bits()(log_prob, k[i : i + 1], u[i : i + 1], L) for i in range(len(k))])


RIGHT = {
    "ch04-drift": [drift(half), ddpm_style_drift],
    "ch04-correlation": [correlation(), correlation_by_integral],
    "ch04-exact-step": [step(), ddim],
    "ch04-divergence": [by_grad, by_library, lambda v, x, z: (forward(v, x, z) * z).sum(2)],
    "ch04-bits": [bits(), bits_by_library],
}

MUTANTS = [
    ("ch04-drift", drift(lambda eta: (1 + eta) / 2), "eta = 0 and 1 only"),
    ("ch04-drift", drift(lambda eta: 1 + eta**2), "1/2 missing"),
    ("ch04-drift", drift(lambda eta: eta**2), "vanishes with the noise"),
    ("ch04-drift", drift(lambda eta: eta**2 / 2), "vanishes with the noise"),
    ("ch04-drift", drift(lambda eta: 0.5 + eta**2), "eta^2 is not halved"),
    ("ch04-drift", drift(lambda eta: 1.0), "the reverse SDE's drift for every eta"),
    ("ch04-drift", drift(lambda eta: 0.5), "the ODE's velocity for every eta"),
    ("ch04-drift", drift(lambda eta: -half(eta)), "sign of the score"),
    ("ch04-drift", lambda *a: -drift(half)(*a), "sign of the whole"),
    ("ch04-drift", drift(half, of=lambda p, t: p.g(t)), "g is not squared"),
    ("ch04-drift", drift(half, of=lambda p, t: p.g2(t) ** 2), "squared already"),
    ("ch04-drift", drift(half, pull=lambda p, t, x: p.f(t)), "multiply it by x"),
    ("ch04-drift", drift(half, pull=lambda p, t, x: 0.0), "f x is missing"),
    ("ch04-correlation", correlation(lambda eta: 1), "right at eta = 1 only"),
    ("ch04-correlation", correlation(lambda eta: eta), "the power is eta^2"),
    ("ch04-correlation", correlation(lambda eta: eta**2 / 2), "half the right one"),
    ("ch04-correlation", correlation(lambda eta: 2 * eta**2), "twice the right one"),
    ("ch04-correlation", correlation(half), "at eta = 0 nothing is random"),
    ("ch04-correlation", correlation(lambda eta: 0), "the ODE's"),
    ("ch04-correlation", correlation(lambda eta: -(eta**2)), "s and t are swapped"),
    ("ch04-correlation", correlation(f=lambda s, t, p, std: p.alpha(s) / p.alpha(t)), "only for std = 1"),
    (
        "ch04-correlation",
        correlation(f=lambda s, t, p, std: p.alpha(s) / p.alpha(t) * size(p, t, std) / size(p, s, std)),
        "needs a square root",
    ),
    (
        "ch04-correlation",
        correlation(f=lambda s, t, p, std: p.alpha(s) / p.alpha(t) * (size(p, s, std) / size(p, t, std)).sqrt()),
        "v_s and v_t are swapped",
    ),
    (
        "ch04-correlation",
        correlation(f=lambda s, t, p, std: p.alpha(s) / p.alpha(t) * (size(p, t, std, 1) / size(p, s, std, 1)).sqrt()),
        "std is not squared",
    ),
    ("ch04-exact-step", step(back=lambda p, s, t: 1.0), "1/alpha_t too large"),
    ("ch04-exact-step", step(back=lambda p, s, t: p.alpha(s)), "come back with alpha_t"),
    ("ch04-exact-step", step(y=lambda x, p, s: x), "x is used for y"),
    ("ch04-exact-step", step(ratio=lambda p, s, t: p.sigma(t) / p.sigma(s)), "here it is sigma/alpha"),
    ("ch04-exact-step", step(ratio=lambda p, s, t: p.sigma(s) / p.alpha(s) / (p.sigma(t) / p.alpha(t))), "upside down"),
    ("ch04-exact-step", lambda x, D, s, t, p: p.alpha(t) * D + x - p.alpha(s) * D, "not shrunk"),
    (
        "ch04-exact-step",
        lambda x, D, s, t, p: D + p.sigma(t) * (x - p.alpha(s) * D) / p.sigma(s),
        "D is not multiplied",
    ),
    ("ch04-exact-step", lambda x, D, s, t, p: p.alpha(t) * D, "noise is missing"),
    ("ch04-exact-step", lambda x, D, s, t, p: p.alpha(t) * D + p.sigma(t) * (x - D) / p.sigma(s), "alpha_s is missing"),
    ("ch04-exact-step", euler, "Euler's step in t"),
    ("ch04-divergence", exact, "the exact divergence"),
    ("ch04-divergence", lambda v, x, z: by_grad(v, x, z) / 3, "not a mean"),
    ("ch04-divergence", lambda v, x, z: transposed(v, x, z).sum(2), "J'z is summed"),
    ("ch04-divergence", lambda v, x, z: forward(v, x, z).sum(2), "Jz is summed"),
    ("ch04-divergence", diagonal, "only the diagonal"),
    ("ch04-divergence", lambda v, x, z: (z * v(x)).sum(2), "derivative is missing"),
    ("ch04-divergence", lambda v, x, z: -by_grad(v, x, z), "sign is wrong"),
    ("ch04-divergence", lambda v, x, z: forward(v, x, z).square().sum(2), "|Jz|^2"),
    ("ch04-divergence", lambda v, x, z: transposed(v, x, z).square().sum(2), "|J'z|^2"),
    ("ch04-divergence", lambda v, x, z: by_grad(v, x, z).mean(0), "keep the probes apart"),
    ("ch04-bits", bits(lambda k, u, L: 2 * k.double() / (L - 1) - 1, lambda L: 7.0), "the colleague's"),
    ("ch04-bits", bits(offset=lambda L: 7.0), "256 levels"),
    ("ch04-bits", bits(lambda k, u, L: 2 * k.double() / (L - 1) - 1), "u does not enter"),
    ("ch04-bits", bits(lambda k, u, L: -1 + 2 * k.double() / L), "u does not enter"),
    ("ch04-bits", bits(lambda k, u, L: 2 * (k + u) / (L - 1) - 1), "the top level"),
    ("ch04-bits", bits(lambda k, u, L: 2 * (k + u) / (L - 1) - 1, lambda L: math.log2((L - 1) / 2)), "the top level"),
    ("ch04-bits", bits(lambda k, u, L: -1 + 2 * (k + u - 0.5) / L), "u is centred"),
    ("ch04-bits", bits(lambda k, u, L: (k + u) / L), "not on [0, 1]"),
    ("ch04-bits", bits(lambda k, u, L: (k + u) / L, lambda L: math.log2(L)), "not on [0, 1]"),
    ("ch04-bits", bits(offset=lambda L: 0.0), "width of a level is missing"),
    ("ch04-bits", bits(offset=lambda L: math.log2(L)), "the offset is that of [0, 1]"),
    ("ch04-bits", bits(offset=lambda L: -math.log2(L / 2)), "sign of the offset"),
    ("ch04-bits", bits(offset=lambda L: math.log(L / 2), unit=lambda d: d), "these are nats"),
    ("ch04-bits", bits(unit=lambda d: d), "in nats and the offset in bits"),
    ("ch04-bits", bits(whole=lambda d: d), "bits per picture"),
    ("ch04-bits", bits(unit=lambda d: math.log(2)), "not divided by the dimension"),
    ("ch04-bits", bits(whole=lambda d: -1.0), "sign is wrong"),
    ("ch04-bits", one_by_one, "all pictures at once"),
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
    "drift": "my_drift", "correlation": "my_correlation", "exact-step": "my_exact_step",
    "divergence": "my_divergence", "bits": "my_bits",
}  # fmt: skip


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass(edition, capsys):
    space = printed(edition, "04_probability_flow_ode", {"torch": torch, "math": math, "sd": sd})
    for key, name in NAMES.items():
        assert_passes(f"ch04-{key}", space[name], capsys)
