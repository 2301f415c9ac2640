"""Every checker of chapter 5, page a: right answers pass, planted mutants get their diagnosis, bad answers are told."""

import math

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed

import sdelab as sd
from sdelab import stability


def weights_by_conditions(c):
    """The order conditions as a linear system."""
    A = torch.tensor([[1.0, 1.0], [0.0, c]], dtype=torch.float64)
    return tuple(torch.linalg.solve(A, torch.tensor([1.0, 0.5], dtype=torch.float64)))


def ab2(weight):
    def answer(x, f, g, h, k):
        a, b = weight(h / k)
        return x + h * (a * f + b * g)

    return answer


def ab2_by_library(x, f, g, h, k):
    """The library's solver on slopes that depend on time alone; where steps are negative, the slopes turn."""
    sign, times = math.copysign(1.0, h), [-abs(k), 0.0, abs(h)]
    sde = sd.SDE(lambda x, t: (sign * (g if t < 0 else f)).reshape(1, -1))
    return sd.solve(sde, sd.solvers.AdamsBashforth(2), (x - k * g).reshape(1, -1), times)[0]


def quadratic(b, c, pick=torch.maximum):
    def answer(z):
        B, C = b(z), c(z)
        d = (B * B - 4 * C).sqrt()
        return pick(((B + d) / 2).abs(), ((B - d) / 2).abs())

    return answer


def growth_by_library(z):
    return stability.growth(sd.solvers.AdamsBashforth(2), z)


def pi(e=-0.7, o=0.4, safety=0.9, low=0.2, high=5.0, divide=True):
    def answer(h, error, old, q):
        n = q if divide else 1
        return h * min(high, max(low, safety * error ** (e / n) * old ** (o / n)))

    return answer


def pi_by_logs(h, error, old, q):
    return h * max(0.2, min(5.0, math.exp(math.log(0.9) + (0.4 * math.log(old) - 0.7 * math.log(error)) / q)))


def em_limit(f, floor=0.0):
    return lambda lam, mu: max(floor, f(lam, mu))


def limit_by_library(lam, mu):
    if 2 * lam + mu**2 >= 0:
        return 0.0
    scheme = sd.EulerMaruyama()
    return stability.limit(lambda h: stability.moments(scheme, lam * h, mu * h**0.5)[1], 20.0)


def step(correction, noise=1.0):
    return lambda x, h, W, mu, sigma: x + mu * x * h + noise * sigma * x * W + correction(x, h, W, sigma)


def milstein_by_library(x, h, W, mu, sigma):
    path = type("Path", (), {"t0": 0.0, "t1": h, "__call__": lambda self, a, b: W.reshape(-1, 1)})()
    return sd.solve(sd.GBM(mu, sigma), sd.Milstein(), x.reshape(-1, 1), [0.0, h], brownian=path)[:, 0]


def back(drift=None, noise=lambda p, t, tau, h: p.g(t) * math.sqrt(h), time=lambda p, tau: p.T - tau):
    def answer(x, tau, h, z, p, score):
        t = time(p, tau)
        a = p.g2(t) * score(x, t) - p.f(t) * x if drift is None else drift(p, t, tau, x, score)
        return x + a * h + noise(p, t, tau, h) * z

    return answer


def back_by_library(x, tau, h, z, p, score):
    t = p.T - tau

    def denoise(x, t):
        return (x + p.var(t) * score(x, t)) / p.alpha(t)

    path = type("Path", (), {"__call__": lambda self, a, b: z * math.sqrt(h)})()
    return sd.solve(sd.Reverse(p, denoise, 1.0), sd.EulerMaruyama(), x, [t, t - h], brownian=path)


def colleague(x, tau, h, z, p, score):
    drift = p.f(tau) * x - p.g2(tau) * score(x, tau)
    return x + drift * h + p.g(tau) * math.sqrt(h) * z


RIGHT = {
    "ch05a-weights": [lambda c: (1 - 1 / (2 * c), 1 / (2 * c)), weights_by_conditions],
    "ch05a-ab2": [ab2(lambda r: (1 + r / 2, -r / 2)), ab2_by_library],
    "ch05a-growth": [quadratic(lambda z: 1 + 1.5 * z, lambda z: z / 2), growth_by_library],
    "ch05a-controller": [pi(), pi_by_logs],
    "ch05a-limit": [em_limit(lambda lam, mu: -(2 * lam + mu**2) / lam**2), limit_by_library],
    "ch05a-milstein": [step(lambda x, h, W, s: s**2 * x / 2 * (W**2 - h)), milstein_by_library],
    "ch05a-reverse": [back(), back_by_library],
}

MUTANTS = [
    ("ch05a-weights", lambda c: (1 / (2 * c), 1 - 1 / (2 * c)), "swapped"),
    ("ch05a-weights", lambda c: (0.5, 0.5), "Heun's weights"),
    ("ch05a-weights", lambda c: (0.0, 1.0), "midpoint"),
    ("ch05a-weights", lambda c: (1 - c, c), "not b_2 = c"),
    ("ch05a-weights", lambda c: (1 - 1 / c, 1 / c), "twice too large"),
    ("ch05a-weights", lambda c: (1 / (2 * c), 1 / (2 * c)), "must be 1"),
    ("ch05a-weights", lambda c: (1.0, 1 / (2 * c)), "must be 1"),
    ("ch05a-weights", lambda c: 0.5, "return the pair"),
    ("ch05a-ab2", ab2(lambda r: (1.5, -0.5)), "equal steps"),
    ("ch05a-ab2", ab2(lambda r: (1 + 1 / (2 * r), -1 / (2 * r))), "upside down"),
    ("ch05a-ab2", ab2(lambda r: (1 + r, -r)), "not halved"),
    ("ch05a-ab2", ab2(lambda r: (-r / 2, 1 + r / 2)), "swapped"),
    ("ch05a-ab2", ab2(lambda r: (1 + r / 2, r / 2)), "sign of f_before"),
    ("ch05a-ab2", ab2(lambda r: (1 - r / 2, r / 2)), "a mean of the two"),
    ("ch05a-ab2", ab2(lambda r: (1.0, 0.0)), "Euler's step"),
    ("ch05a-growth", quadratic(lambda z: 1 + 1.5 * z, lambda z: z / 2, torch.minimum), "smaller root"),
    ("ch05a-growth", quadratic(lambda z: 1 + 1.5 * z, lambda z: z / 2, lambda r, q: r), "one fixed branch"),
    ("ch05a-growth", quadratic(lambda z: 1 + 1.5 * z, lambda z: z / 2, lambda r, q: q), "one fixed branch"),
    ("ch05a-growth", lambda z: (1 + z).abs(), "Euler's"),
    ("ch05a-growth", lambda z: (1 + z + z**2 / 2).abs(), "Runge-Kutta"),
    ("ch05a-growth", quadratic(lambda z: 1 + 1.5 * z, lambda z: -z / 2), "sign of z/2"),
    ("ch05a-growth", lambda z: (1 + z).exp() * 0 + (1 + 1.5 * z - z / 2), "is real"),
    ("ch05a-growth", lambda z: z.exp().abs(), "exact solution"),
    ("ch05a-controller", pi(low=0.0, high=math.inf), "between 0.2 and 5"),
    ("ch05a-controller", pi(-1.0, 0.0), "the I rule"),
    ("ch05a-controller", pi(0.7, -0.4), "signs of the exponents"),
    ("ch05a-controller", pi(-0.7, -0.4), "exponent of old"),
    ("ch05a-controller", pi(safety=1.0), "safety factor"),
    ("ch05a-controller", pi(divide=False), "divided by q"),
    ("ch05a-controller", lambda h, e, o, q: pi()(h, o, e, q), "swapped"),
    ("ch05a-controller", lambda h, e, o, q: pi()(1.0, e, o, q), "multiply it by h"),
    ("ch05a-limit", lambda lam, mu: -(2 * lam + mu**2) / lam**2, "return 0 there"),
    ("ch05a-limit", em_limit(lambda lam, mu: -2 / lam), "without noise"),
    ("ch05a-limit", em_limit(lambda lam, mu: -(2 * lam + mu) / lam**2), "not squared"),
    ("ch05a-limit", em_limit(lambda lam, mu: -(lam + mu**2) / lam**2), "middle term"),
    ("ch05a-limit", em_limit(lambda lam, mu: -(2 * lam + mu**2 / 2) / lam**2), "not halved"),
    ("ch05a-limit", em_limit(lambda lam, mu: -(2 * lam + mu**2)), "not divided"),
    ("ch05a-limit", em_limit(lambda lam, mu: (2 * lam + mu**2) / lam**2), "sign is wrong"),
    ("ch05a-limit", em_limit(lambda lam, mu: -(2 * lam - mu**2) / lam**2), "smaller, not larger"),
    ("ch05a-milstein", step(lambda x, h, W, s: 0.0), "Euler-Maruyama"),
    ("ch05a-milstein", step(lambda x, h, W, s: s**2 * x * (W**2 - h)), "twice too large"),
    ("ch05a-milstein", step(lambda x, h, W, s: s**2 * x / 2 * W**2), "not subtracted"),
    ("ch05a-milstein", step(lambda x, h, W, s: -(s**2) * x / 2 * (W**2 - h)), "sign of the correction"),
    ("ch05a-milstein", step(lambda x, h, W, s: s**2 * x / 2 * (W**2 + h)), "to be subtracted"),
    ("ch05a-milstein", step(lambda x, h, W, s: s * x / 2 * (W**2 - h)), "b' = sigma"),
    ("ch05a-milstein", step(lambda x, h, W, s: (s * x) ** 2 / 2 * (W**2 - h)), "x stands once"),
    ("ch05a-milstein", step(lambda x, h, W, s: s**2 * x / 2 * (W**2 - h), noise=0.0), "b W itself"),
    ("ch05a-milstein", lambda x, h, W, mu, s: x * torch.exp((mu - s**2 / 2) * h + s * W), "exact solution"),
    ("ch05a-reverse", colleague, "two faults"),
    ("ch05a-reverse", back(lambda p, t, tau, x, score: p.f(t) * x - p.g2(t) * score(x, t)), "sign is not"),
    ("ch05a-reverse", back(time=lambda p, tau: tau), "all stands at tau"),
    ("ch05a-reverse", back(noise=lambda p, t, tau, h: p.g(tau) * math.sqrt(h)), "g at tau"),
    ("ch05a-reverse", back(noise=lambda p, t, tau, h: p.g(t - h) * math.sqrt(h)), "end of the step"),
    ("ch05a-reverse", back(lambda p, t, tau, x, s: p.g2(t) * s(x, tau) - p.f(t) * x), "score is still"),
    ("ch05a-reverse", back(noise=lambda p, t, tau, h: p.g(t) * h), "sqrt(h)"),
    ("ch05a-reverse", back(noise=lambda p, t, tau, h: p.g2(t) * math.sqrt(h)), "not g^2"),
    ("ch05a-reverse", back(lambda p, t, tau, x, s: p.g2(t) / 2 * s(x, t) - p.f(t) * x), "half of the score"),
    ("ch05a-reverse", back(lambda p, t, tau, x, s: p.g2(t) * s(x, t) + p.f(t) * x), "f x turns"),
    ("ch05a-reverse", back(noise=lambda p, t, tau, h: 0.0), "noise is missing"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s} {n}" for n, (k, _, s) in enumerate(MUTANTS)])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


@pytest.mark.parametrize("key", [key for key in RIGHT if key != "ch05a-weights"])
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    assert_nonsense_is_told(key, RIGHT[key][0], capsys, shape="3, 5, 7)")


NAMES = {key: "my_" + key.removeprefix("ch05a-").replace("-", "_") for key in RIGHT}
NAMES |= {"ch05a-reverse": "my_reverse_step", "ch05a-controller": "my_controller"}


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass(edition, capsys):
    space = printed(edition, "05a_classical", {"torch": torch, "math": math, "sd": sd})
    for key, name in NAMES.items():
        assert_passes(key, space[name], capsys)
