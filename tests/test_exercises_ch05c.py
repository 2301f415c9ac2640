"""Every checker of chapter 5 (3): right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

import math
from itertools import pairwise

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed

import sdelab as sd
from sdelab.solvers.linear import points
from sdelab.solvers.linear import spread as added

F64 = torch.float64


def noise_std(power=lambda e: 2 * e**2, front=lambda p, s, t: p.sigma(t), root=0.5):
    def answer(s, t, eta, p):
        return front(p, s, t) * (1 - torch.exp(-power(eta) * (p.lam(t) - p.lam(s)))) ** root

    return answer


def noise_by_library(s, t, eta, p):
    a, b = points(p, [s, t])
    return added(a, b, eta**2)


def noise_by_forward_kernel(s, t, eta, p):
    """The posterior's standard deviation at eta = 1, on a clock that runs eta^2 times as fast."""
    a = p.alpha(s) / p.alpha(t)
    kept = (a * p.sigma(t) / p.sigma(s)) ** 2  # of the variance, at eta = 1
    return p.sigma(t) * (1 - kept ** (eta**2)).sqrt()


def up_down(up=lambda a, b, e: e * b * (1 - b**2 / a**2).sqrt(), down=lambda b, u: (b**2 - u**2).clamp(min=0).sqrt()):
    def answer(r_s, r_t, eta):
        u = torch.minimum(up(r_s, r_t, eta), r_t)
        return down(r_t, u), u

    return answer


def up_down_by_library(r_s, r_t, eta):
    """From the coefficients of one step of Euler a: x_t = keep x + weight D + noise, in EDM's process (alpha = 1)."""
    entry = sd.solvers.row("euler_ancestral").make().plan(
        sd.Reverse(sd.process.EDM(), lambda x, t: x, float(eta)), [float(r_s), float(r_t)]
    )[0]  # fmt: skip
    last = entry.stages[-1]
    up = last.noise[0] if last.noise else 0.0
    return math.sqrt(max(0.0, float(r_t) ** 2 - up**2)), up


def ddim_eta(e, h):
    return (-torch.log1p(e**2 * torch.expm1(-2 * h)) / (2 * h)).sqrt()


def ddim_eta_by_bisection(e, h):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        more = 1 - math.exp(-2 * middle**2 * h) > e**2 * (1 - math.exp(-2 * h))
        low, high = (low, middle) if more else (middle, high)
    return torch.tensor(high, dtype=F64)


def churn(r, gamma, s_noise):
    hat = (1 + gamma) * r
    return hat, s_noise * (hat**2 - r**2).sqrt()


def churn_by_library(r, gamma, s_noise):
    from sdelab.solvers.wrappers import raised, raised_to

    process = sd.process.EDM()
    s, hat = raised_to(process, [float(r), float((1 + gamma) * r)])
    return hat.ratio, raised(s, hat, s_noise)[1] if gamma else 0.0


def two_runs(power=lambda e: 2 * e**2, front=lambda v, w: 2 * v, root=1.0):
    def answer(s, t, eta, p, std):
        v, w = (p.alpha(u) ** 2 * std**2 + p.var(u) for u in (t, s))
        rho = p.alpha(s) / p.alpha(t) * (v / w).sqrt()
        return (front(v, w) * (1 - rho ** power(eta))) ** root

    return answer


def two_runs_by_solver(s, t, eta, p, std):
    """What the exact mean and noise of many exponential Adams steps leave of a difference: its variance, computed."""
    if eta == 0:
        return torch.zeros((), dtype=F64)
    n = 4000
    lam = torch.linspace(float(p.lam(s)), float(p.lam(t)), n + 1, dtype=F64)
    knots = points(p, p.t_of_lam(lam).tolist())
    var, k = 0.0, 1 + eta**2
    for a, b in pairwise(knots):
        m = sd.process.VP().t_of_lam(torch.tensor((a.lam + b.lam) / 2, dtype=F64))
        slope = p.alpha(m) * std**2 / (p.alpha(m) ** 2 * std**2 + p.var(m))  # D = slope x
        rate = k * float(p.alpha(m) * slope) - eta**2  # d log x = (d log sigma - eta^2 + k alpha slope) dlam
        grow = b.sigma / a.sigma * math.exp(rate * (b.lam - a.lam))
        var = grow**2 * var + grow * 2 * eta**2 * float(p.var(m)) * (b.lam - a.lam)
    return torch.tensor(2 * var, dtype=F64)


def parts(s, m, t, eta, p):
    def std(a, b):
        return p.sigma(b) * (1 - torch.exp(-2 * eta**2 * (p.lam(b) - p.lam(a)))).sqrt()

    fade = torch.exp(-(eta**2) * (p.lam(t) - p.lam(m)))
    return std(s, m), std(m, t), std(s, t), p.sigma(t) / p.sigma(m), fade


def one_path(end=lambda n, new, whole, ratio, fade, z1, z2: ratio * fade * n + new * z2):
    def answer(s, m, t, eta, p, z1, z2):
        first, new, whole, ratio, fade = parts(s, m, t, eta, p)
        return first * z1, end(first * z1, new, whole, ratio, fade, z1, z2)

    return answer


def one_path_by_clock(s, m, t, eta, p, z1, z2):
    """sigma e^{-eta^2 lam} W(e^{2 eta^2 lam}), from a Brownian motion on its clock."""
    c = [torch.exp(2 * eta**2 * p.lam(u)) for u in (s, m, t)]
    w1 = (c[1] - c[0]).sqrt() * z1
    w2 = w1 + (c[2] - c[1]).sqrt() * z2
    return p.sigma(m) * w1 / c[1].sqrt(), p.sigma(t) * w2 / c[2].sqrt()


def corrector(v, share):
    return 2 * v * share / (1 + share)


def corrector_by_bisection(v, share):
    low, high = 0.0, float(2 * v)
    for _ in range(80):
        e = (low + high) / 2
        keep = (1 - e / float(v)) ** 2
        low, high = (low, e) if 2 * e / (1 - keep) > (1 + share) * float(v) else (e, high)
    return torch.tensor(low, dtype=F64)


RIGHT = {
    "ch05c-noise-std": [noise_std(), noise_by_library, noise_by_forward_kernel],
    "ch05c-up-down": [up_down(), up_down_by_library],
    "ch05c-ddim-eta": [ddim_eta, ddim_eta_by_bisection],
    "ch05c-churn": [churn, churn_by_library],
    "ch05c-two-runs": [two_runs()],
    "ch05c-one-path": [one_path(), one_path_by_clock],
    "ch05c-corrector": [corrector, corrector_by_bisection],
}

MUTANTS = [
    ("ch05c-noise-std", lambda *a: noise_std()(*a) ** 2, "this is the variance"),
    ("ch05c-noise-std", noise_std(root=1.0), "exp(-2 eta^2 h) is missing"),
    ("ch05c-noise-std", noise_std(lambda e: 2 * e), "the exponent has eta^2"),
    ("ch05c-noise-std", noise_std(lambda e: e**2), "half the right one"),
    ("ch05c-noise-std", noise_std(lambda e: 4 * e**2), "twice the right one"),
    ("ch05c-noise-std", noise_std(front=lambda p, s, t: p.sigma(s)), "sigma_s for sigma_t"),
    ("ch05c-noise-std", noise_std(front=lambda p, s, t: 1.0), "sigma_t is missing"),
    ("ch05c-noise-std", lambda s, t, e, p: e * noise_std(lambda e: 2)(s, t, e, p), "DDIM's"),
    ("ch05c-noise-std", noise_std(lambda e: 2), "eta does not enter"),
    ("ch05c-noise-std", lambda s, t, e, p: e * p.g(s) * (s - t) ** 0.5, "Euler–Maruyama's"),
    ("ch05c-up-down", lambda *a: up_down()(*a)[::-1], "swapped"),
    ("ch05c-up-down", lambda *a: tuple(v**2 for v in up_down()(*a)), "variances"),
    ("ch05c-up-down", up_down(down=lambda b, u: b - u), "standard deviations do not"),
    ("ch05c-up-down", up_down(down=lambda b, u: b), "goes to r_t itself"),
    ("ch05c-up-down", up_down(lambda a, b, e: e**2 * b * (1 - b**2 / a**2).sqrt()), "eta^2 for eta"),
    ("ch05c-up-down", up_down(lambda a, b, e: b * (1 - (b / a) ** (2 * e**2)).sqrt()), "our family"),
    ("ch05c-up-down", up_down(lambda a, b, e: e * a * (1 - b**2 / a**2).sqrt()), "r_s for r_t"),
    ("ch05c-up-down", up_down(lambda a, b, e: e * b * (1 - b / a).sqrt()), "not squared"),
    ("ch05c-up-down", up_down(lambda a, b, e: b * (1 - b**2 / a**2).sqrt()), "eta does not enter"),
    (
        "ch05c-up-down",
        lambda a, b, e: ((b**2 - (e * b * (1 - b**2 / a**2).sqrt()) ** 2).sqrt(), e * b * (1 - b**2 / a**2).sqrt()),
        "must not exceed",
    ),
    ("ch05c-ddim-eta", lambda e, h: e, "short steps only"),
    ("ch05c-ddim-eta", lambda e, h: ddim_eta(e, h) ** 2, "this is eta^2"),
    ("ch05c-ddim-eta", lambda e, h: ddim_eta(e, h) * 2**0.5, "divide by 2h"),
    ("ch05c-ddim-eta", lambda e, h: ddim_eta(e.sqrt(), h), "is squared in the variance"),
    ("ch05c-ddim-eta", lambda e, h: (-torch.log(1 - e**2 * (1 - torch.exp(-h))) / (2 * h)).sqrt(), "not 1 - exp(-h)"),
    ("ch05c-ddim-eta", lambda e, h: (torch.expm1(-2 * e**2 * h) / torch.expm1(-2 * h)).sqrt(), "the other way round"),
    ("ch05c-churn", lambda r, g, s: ((1 + g) * r, s * g * r), "not r_hat - r"),
    ("ch05c-churn", lambda r, g, s: ((1 + g) * r, s * ((1 + g) ** 2 - 1) * r**2), "this is the variance"),
    ("ch05c-churn", lambda r, g, s: churn(r, g, 1.0), "does not enter"),
    ("ch05c-churn", lambda r, g, s: churn(r, g, s * s), "once"),
    ("ch05c-churn", lambda r, g, s: (s * (1 + g) * r, churn(r, g, s)[1]), "the noise alone"),
    ("ch05c-churn", lambda r, g, s: (r + g, s * ((r + g) ** 2 - r**2).sqrt()), "gamma is a share"),
    ("ch05c-churn", lambda r, g, s: ((1 + g) * r, s * (1 + g) * r), "all the noise"),
    ("ch05c-churn", lambda r, g, s: churn(r, g, s)[::-1], "r_hat comes first"),
    ("ch05c-two-runs", two_runs(front=lambda v, w: v), "the variance of one run"),
    ("ch05c-two-runs", two_runs(lambda e: e**2), "not 1 - rho"),
    ("ch05c-two-runs", two_runs(lambda e: 2 * e), "to the power eta^2"),
    ("ch05c-two-runs", two_runs(lambda e: 2), "eta does not enter"),
    ("ch05c-two-runs", two_runs(front=lambda v, w: 2 * w), "v_s for v_t"),
    ("ch05c-two-runs", lambda s, t, e, p, std: 2 * (p.alpha(t) ** 2 * std**2 + p.var(t)), "share their start"),
    ("ch05c-two-runs", two_runs(root=0.5), "not its root"),
    ("ch05c-one-path", one_path(lambda n, new, whole, ratio, fade, a, b: whole * b), "they are independent"),
    ("ch05c-one-path", one_path(lambda n, new, whole, ratio, fade, a, b: whole * a), "used twice"),
    ("ch05c-one-path", one_path(lambda n, new, whole, ratio, fade, a, b: n + new * b), "carried on unchanged"),
    ("ch05c-one-path", one_path(lambda n, new, whole, ratio, fade, a, b: ratio * n + new * b), "exp(-eta^2"),
    ("ch05c-one-path", one_path(lambda n, new, whole, ratio, fade, a, b: fade * n + new * b), "sigma_t/sigma_m"),
    (
        "ch05c-one-path",
        one_path(lambda n, new, whole, ratio, fade, a, b: ratio * fade * n + whole * b),
        "counted twice",
    ),
    ("ch05c-one-path", one_path(lambda n, new, whole, ratio, fade, a, b: new * b), "lost at t"),
    ("ch05c-one-path", lambda *a: one_path()(*a)[::-1], "comes first"),
    ("ch05c-corrector", lambda v, c: 2 * v * c, "first order only"),
    ("ch05c-corrector", lambda v, c: 4 * v * c / (1 + c), "other convention"),
    ("ch05c-corrector", lambda v, c: v * c / (1 + c), "half the right size"),
    ("ch05c-corrector", lambda v, c: 2 * v / (1 + c), "does not vanish"),
    ("ch05c-corrector", lambda v, c: 2 * v.sqrt() * c / (1 + c), "not with its root"),
    ("ch05c-corrector", lambda v, c: torch.tensor(2 * c / (1 + c)), "v does not enter"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


def test_the_mean_square_of_two_runs_is_that_of_many_small_steps():
    """The right answer by another route, to the accuracy of the midpoint rule."""
    p = sd.process.VP()
    for s, t in ((0.7, 0.5), (0.4, 0.1)):
        for eta in (0.5, 1.0, 2.0):
            assert float(two_runs_by_solver(s, t, eta, p, 0.6)) == pytest.approx(
                float(two_runs()(s, t, eta, p, 0.6)), rel=1e-3
            )


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s} {n}" for n, (k, _, s) in enumerate(MUTANTS)])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


PAIRS = {"ch05c-up-down": "(r_down, r_up)", "ch05c-churn": "(r_hat, std)", "ch05c-one-path": "(at m, at t)"}


@pytest.mark.parametrize("key", RIGHT)
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    shape = f"return the pair {PAIRS[key]}" if key in PAIRS else "shape"
    assert_nonsense_is_told(key, RIGHT[key][0], capsys, shape=shape)


NAMES = {
    "noise-std": "my_noise_std", "up-down": "my_up_down", "ddim-eta": "my_eta", "churn": "my_churn",
    "two-runs": "my_two_runs", "one-path": "my_two_draws", "corrector": "my_size",
}  # fmt: skip


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass(edition, capsys):
    space = printed(edition, "05c_stochastic", {"torch": torch, "math": math, "sd": sd})
    for key, name in NAMES.items():
        assert_passes(f"ch05c-{key}", space[name], capsys)
