"""Every checker of chapter 3: right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed, told

import sdelab as sd


def drift(factor, g=lambda p, t: p.g2(t), sign=1.0):
    return lambda x, t, p, score, eta: sign * (p.f(t) * x - factor(eta) * g(p, t) * score(x, t))


def half_both(eta):
    return (1 + eta**2) / 2


def ancestral(noise=None, power=1.0, alphas=True, x_part=True):
    """The posterior step through h = lam(t) - lam(s), another route than the checker's."""

    def step(x, D, s, t, p, z):
        r = torch.exp(2 * power * (p.lam(s) - p.lam(t)))
        a_s, a_t = (p.alpha(s), p.alpha(t)) if alphas else (1.0, 1.0)
        std = noise(p, s, t, r) if noise else p.sigma(t) * (1 - r).sqrt()
        return (a_t / a_s * r * x if x_part else 0) + a_t * ((1 - r) if x_part else 1) * D + std * z

    return step


def product_of_normals(x, D, s, t, p, z):
    """N(x; a x_t, b) N(x_t; alpha_t D, sigma_t^2) as a function of x_t: precisions add."""
    a, b = p.transition(t, s)
    one, two = a**2 / b**2, 1 / p.var(t)
    return (a / b**2 * x + two * p.alpha(t) * D) / (one + two) + (one + two) ** -0.5 * z


def ddim(x, D, s, t, p, z):
    return p.alpha(t) * D + p.sigma(t) / p.sigma(s) * (x - p.alpha(s) * D)


def langevin(e_factor=1.0, noise=lambda e: (2 * e) ** 0.5):
    return lambda x, score, e, z: x + e_factor * e * score(x) + noise(e) * z


def square(x, points, alpha):
    return (x[:, None] - alpha * points).square().sum(-1)


def came(log_w, dim=1, score=None, normal=True):
    def answer(x, points, alpha, sigma):
        z = log_w(square(x, points, alpha), square(x, points, 1.0), sigma)
        w = z.softmax(dim) if normal else z.exp()
        D = z.softmax(1) @ points
        return w, (score or (lambda D, x, a, s: (a * D - x) / s**2))(D, x, alpha, sigma)

    return answer


def right_w(d2, far, sigma):
    return -d2 / (2 * sigma**2)


def naive_softmax(x, points, alpha, sigma):
    w = torch.exp(-square(x, points, alpha) / (2 * sigma**2))
    w = w / w.sum(1, keepdim=True)
    return w, (alpha * w @ points - x) / sigma**2


def by_the_library(x, points, alpha, sigma):
    cloud = sd.distributions.GaussianMixture(torch.ones(len(points)), alpha * points, sigma)
    return cloud._terms(x, 1.0, 0.0)[0].softmax(1), cloud.score(x)


def dsm(target=lambda eps, s: -eps / s, reduce=lambda r, s: 0.5 * r.square().sum(1), at=None):
    def loss(score, p, x0, t, eps):
        sigma = p.sigma(t)[:, None]
        x = at(p, x0, t, eps, sigma) if at else p.alpha(t)[:, None] * x0 + sigma * eps
        return reduce(score(x, t) - target(eps, sigma), sigma)

    return loss


def dsm_own_noise(score, p, x0, t, eps, count=[0]):  # noqa: B006
    count[0] += 1
    other = sd.noise.normal(x0.shape, seed=count[0], dtype=x0.dtype)
    return dsm()(score, p, x0, t, eps) + 0 * dsm()(score, p, x0, t, other) + (other * eps).sum(1)


def repaired(second=1, root=False, factor=0.5, weight=lambda s: 1.0, sign=1.0, reduce=torch.mean):
    def loss(score, p, x0, t, seed):
        eps, sigma = sd.noise.normal(x0.shape, seed, key=1, dtype=x0.dtype), p.sigma(t)[:, None]
        s = score(p.perturb(x0, t, eps), t)
        eps = sd.noise.normal(x0.shape, seed, key=second, dtype=x0.dtype)
        value = reduce(factor * weight(sigma[:, 0]) * (s + sign * eps / sigma).square().sum(1))
        return value.sqrt() if root else value

    return loss


def by_tweedie(p, score, eta):
    return sd.Reverse(p, lambda x, t: (x + p.var(t) * score(x, t)) / p.alpha(t), eta)


def library_loss(score, p, x0, t, seed):
    eps = sd.noise.normal(x0.shape, seed, dtype=x0.dtype)
    return sd.score_matching.denoising(score, p, x0, t, eps).mean()


RIGHT = {
    "ch03-reverse-drift": [
        drift(half_both),
        lambda x, t, p, score, eta: by_tweedie(p, score, eta).drift(x, t),
    ],
    "ch03-ancestral": [ancestral(), product_of_normals],
    "ch03-langevin": [langevin()],
    "ch03-where-from": [came(right_w), by_the_library],
    "ch03-dsm": [dsm(), lambda s, p, x0, t, eps: sd.score_matching.denoising(s, p, x0, t, eps)],
    "ch03-fault": [repaired(), library_loss],
}  # fmt: skip

MUTANTS = [
    ("ch03-reverse-drift", drift(lambda eta: 1 + eta**2), "twice the right one"),
    ("ch03-reverse-drift", drift(lambda eta: 1.0), "eta = 1 only"),
    ("ch03-reverse-drift", drift(lambda eta: 0.5), "probability flow"),
    ("ch03-reverse-drift", drift(lambda eta: eta**2 / 2), "flow's own 1/2"),
    ("ch03-reverse-drift", drift(lambda eta: (1 + eta) / 2), "eta is not squared"),
    ("ch03-reverse-drift", drift(lambda eta: -half_both(eta)), "sign of the score"),
    ("ch03-reverse-drift", drift(half_both, g=lambda p, t: p.g(t)), "g is not squared"),
    ("ch03-reverse-drift", drift(half_both, g=lambda p, t: p.g2(t) ** 2), "squared already"),
    ("ch03-reverse-drift", lambda x, t, p, s, e: p.f(t) - half_both(e) * p.g2(t) * s(x, t), "multiply it by x"),
    ("ch03-reverse-drift", lambda x, t, p, s, e: -half_both(e) * p.g2(t) * s(x, t), "f x is missing"),
    ("ch03-reverse-drift", drift(half_both, sign=-1.0), "reversed time"),
    ("ch03-ancestral", ancestral(noise=lambda p, s, t, r: 0.0), "the noise is missing"),
    ("ch03-ancestral", ancestral(noise=lambda p, s, t, r: p.var(t) * (1 - r)), "the variance; take the root"),
    ("ch03-ancestral", ancestral(noise=lambda p, s, t, r: p.sigma(s) * (1 - r).sqrt()), "forward step"),
    ("ch03-ancestral", ancestral(noise=lambda p, s, t, r: p.sigma(t)), "only a part of the noise"),
    ("ch03-ancestral", ancestral(noise=lambda p, s, t, r: p.sigma(t), x_part=False), "x is forgotten"),
    ("ch03-ancestral", ddim, "DDIM"),
    ("ch03-ancestral", ancestral(power=0.5), "e^{-2h} belongs"),
    ("ch03-ancestral", ancestral(alphas=False), "alphas are missing"),
    ("ch03-langevin", langevin(noise=lambda e: e**0.5), "p^2"),
    ("ch03-langevin", langevin(noise=lambda e: 2 * e), "the root is missing"),
    ("ch03-langevin", langevin(0.5, lambda e: e**0.5), "half the size"),
    ("ch03-langevin", langevin(0.5), "two conventions"),
    ("ch03-langevin", langevin(-1.0), "sign of the score"),
    ("ch03-langevin", langevin(noise=lambda e: 0.0), "nearest peak"),
    ("ch03-langevin", lambda x, score, e, z: langevin()(x, score, e, z) - x, "add it to x"),
    ("ch03-where-from", came(right_w, normal=False), "do not sum to 1"),
    ("ch03-where-from", came(right_w, dim=0), "over the noisy points"),
    ("ch03-where-from", came(lambda d2, far, s: -far / (2 * s**2)), "alpha is missing: x is near"),
    ("ch03-where-from", came(lambda d2, far, s: -d2 / s**2), "1/2 of the normal"),
    ("ch03-where-from", came(lambda d2, far, s: -d2 / (2 * s)), "sigma is not squared"),
    ("ch03-where-from", came(lambda d2, far, s: -d2.sqrt() / (2 * s**2)), "distance is not squared"),
    ("ch03-where-from", came(lambda d2, far, s: d2 / (2 * s**2)), "far points get the most"),
    ("ch03-where-from", came(right_w, score=lambda D, x, a, s: (x - a * D) / s**2), "sign of the score"),
    ("ch03-where-from", came(right_w, score=lambda D, x, a, s: (a * D - x) / s), "sigma^2 below"),
    ("ch03-where-from", came(right_w, score=lambda D, x, a, s: (D - x) / s**2), "compared with alpha D"),
    ("ch03-where-from", came(right_w, score=lambda D, x, a, s: D), "posterior mean D"),
    ("ch03-where-from", naive_softmax, "underflows"),
    ("ch03-where-from", lambda *a: came(right_w)(*a)[0], "the pair"),
    ("ch03-dsm", dsm(reduce=lambda r, s: r.square().sum(1)), "1/2 is missing"),
    ("ch03-dsm", dsm(reduce=lambda r, s: 0.5 * r.square().mean(1)), "mean over the coordinates"),
    ("ch03-dsm", dsm(target=lambda eps, s: eps / s), "sign of the target"),
    ("ch03-dsm", dsm(target=lambda eps, s: -eps), "divide by sigma"),
    ("ch03-dsm", dsm(target=lambda eps, s: -eps / s**2), "only one sigma"),
    ("ch03-dsm", dsm(reduce=lambda r, s: r.norm(dim=1)), "root around"),
    ("ch03-dsm", dsm(reduce=lambda r, s: (0.5 * r.square().sum(1)).sqrt()), "root around"),
    ("ch03-dsm", dsm(reduce=lambda r, s: 0.5 * s[:, 0] ** 2 * r.square().sum(1)), "weighted by sigma^2"),
    ("ch03-dsm", dsm(at=lambda p, x0, t, eps, s: x0 + s * eps), "alpha is missing in x_t"),
    ("ch03-dsm", dsm(at=lambda p, x0, t, eps, s: p.perturb(x0, t, s * eps)), "multiplied twice"),
    ("ch03-dsm", dsm(at=lambda p, x0, t, eps, s: x0), "asked at x_0"),
    ("ch03-dsm", lambda *a: dsm()(*a).mean(), "one number for the batch"),
    ("ch03-dsm", dsm_own_noise, "second noise"),
    ("ch03-fault", repaired(second=2), "drawn twice"),
    ("ch03-fault", repaired(second=2, root=True), "drawn twice"),
    ("ch03-fault", repaired(root=True), "a root is still there"),
    ("ch03-fault", repaired(factor=1.0, root=True), "a root is still there"),
    ("ch03-fault", repaired(sign=-1.0), "sign of the target"),
    ("ch03-fault", repaired(factor=1.0), "1/2 is missing"),
    ("ch03-fault", repaired(factor=0.25), "mean over the coordinates"),
    ("ch03-fault", repaired(reduce=torch.sum), "sum over the batch"),
    ("ch03-fault", repaired(weight=lambda s: s**2), "weighted by sigma^2"),
    ("ch03-fault", repaired(reduce=lambda v: v), "return one number"),
    ("ch03-fault", lambda score, p, x0, t, seed: torch.tensor(0.0), "does not depend"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s}" for k, _, s in MUTANTS])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


@pytest.mark.parametrize("key", RIGHT)
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    assert_nonsense_is_told(
        key,
        RIGHT[key][0],
        capsys,
        shape="the pair" if key == "ch03-where-from" else "shape (3, 5, 7)",
        infinite="" if key == "ch03-dsm" else "not finite",  # it takes NaN for a second draw of noise
    )


NAMES = {
    "reverse-drift": "my_drift", "where-from": "my_where_from", "dsm": "my_dsm",
    "ancestral": "my_ancestral", "langevin": "my_langevin", "fault": "my_repair",
}  # fmt: skip


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass_and_the_printed_fault_does_not(edition, capsys):
    space = printed(edition, "03_reverse_sde", {"torch": torch, "sd": sd}, names="my_|colleague")
    for key, name in NAMES.items():
        assert_passes(f"ch03-{key}", space[name], capsys)
    assert not told("ch03-fault", space["colleague"], capsys)[0]
