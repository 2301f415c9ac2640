"""Score-matching losses: each against its formula by another route, and all of them against one another (U7)."""

import pytest
import torch

import sdelab as sd
from sdelab import score_matching as sm

PROCESS = sd.process.VP()
LAW = sd.distributions.GaussianMixture([0.3, 0.7], [[-0.8, 0.2], [0.6, -0.5]], [0.4, 0.5])
T = 0.3


LEVEL = 4.42  # two-sided normal quantile of 1e-5


def z_score(x):
    x = x.detach()
    return float(x.mean().abs() / (x.std() / len(x) ** 0.5))


def points(n=50, d=2, seed=0):
    return sd.noise.normal((n, d), seed=seed, dtype=torch.float64)


def curved(theta):
    """A score that is no gradient and whose Jacobian is full and known: A x + b sin(x_2, x_1)."""
    a, b = theta

    def score(x, t):
        return -a * x + b * torch.stack([torch.sin(x[:, 1]), torch.cos(x[:, 0]) * x[:, 1]], 1)

    def div(x):
        return -2 * a + b * torch.cos(x[:, 0])

    return score, div


def test_implicit_has_the_exact_divergence():
    x = points()
    score, div = curved((0.7, 1.3))
    expected = 0.5 * (score(x, T) ** 2).sum(1) + div(x)
    torch.testing.assert_close(sm.implicit(score, x, T), expected, rtol=1e-13, atol=1e-13)


def test_implicit_of_images_sums_over_all_axes():
    x = sd.noise.normal((5, 2, 3, 3), seed=0, dtype=torch.float64)
    found = sm.implicit(lambda x, t: x**3, x, T)
    expected = (0.5 * x**6 + 3 * x**2).flatten(1).sum(1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduced", [True, False])
def test_sliced_is_the_formula_and_averages_to_implicit(reduced):
    x = points(1).expand(20_000, 2)
    score, _ = curved((0.7, 1.3))
    found = sm.sliced(score, x, T, seed=3, key=5, reduced=reduced)
    v = sd.noise.normal(x.shape, 3, (sd.noise.SLICE, 5, 0), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda y: score(y[None], T)[0], x[0])
    s = score(x[:1], T)[0]
    square = (s**2).sum() if reduced else (v @ s) ** 2
    torch.testing.assert_close(found, 0.5 * square + torch.einsum("ni,ij,nj->n", v, jacobian, v))
    exact = sm.implicit(score, x[:1], T)[0]
    assert z_score(found - exact) < LEVEL
    assert z_score(found - exact + 0.05 * found.std()) > LEVEL  # the size of a fault that would be seen


def test_projections_are_averaged_and_lower_the_variance():
    x = points(1).expand(4000, 2)
    score, _ = curved((0.7, 1.3))
    one, four = (sm.sliced(score, x, T, seed=3, projections=k).detach() for k in (1, 4))
    assert 0.2 < float(four.var() / one.var()) < 0.3


def wrong_law(scale):
    """A score with a parameter: that of the mixture with all means scaled, at time T."""
    law = sd.distributions.GaussianMixture(LAW.weights, LAW.means * scale, [0.4, 0.5]).at(PROCESS, T)
    return lambda x, t: law.score(x)


@pytest.fixture(scope="module")
def sample():
    n = 100_000
    x0 = LAW.sample(n, seed=1, dtype=torch.float64)
    eps = sd.noise.normal((n, 2), seed=2, dtype=torch.float64)
    return x0, eps, PROCESS.perturb(x0, T, eps)


def all_losses(score, sample):
    x0, eps, x = sample
    exact = LAW.at(PROCESS, T).score
    return {
        "explicit": sm.explicit(score, x, T, lambda y, t: exact(y)),
        "implicit": sm.implicit(score, x, T),
        "sliced": sm.sliced(score, x, T, seed=3),
        "sliced, not reduced": sm.sliced(score, x, T, seed=4, reduced=False),
        "denoising": sm.denoising(score, PROCESS, x0, T, eps),
    }


def test_all_losses_differ_by_constants_only(sample):
    """U7: from one parameter to another, every loss changes as the explicit one does."""
    here, there = (all_losses(wrong_law(scale), sample) for scale in (1.0, 2.0))
    change = {name: there[name] - here[name] for name in here}
    assert float(change["explicit"].mean()) > 0.05  # and the exact score is better
    for name, value in change.items():
        if name != "explicit":
            assert z_score(value - change["explicit"]) < LEVEL, name
            assert z_score(1.2 * value - change["explicit"]) > LEVEL, f"{name}: 20 % off must be seen"


def test_the_constants_are_those_of_the_docstring(sample):
    _, _, x = sample
    found = all_losses(wrong_law(1.5), sample)
    fisher = (LAW.at(PROCESS, T).score(x) ** 2).sum(1)
    constants = {name: -fisher / 2 for name in found} | {
        "explicit": 0 * fisher,
        "denoising": (2 / PROCESS.var(T) - fisher) / 2,
    }
    for name, value in found.items():
        if name != "explicit":
            assert z_score(value - found["explicit"] - constants[name]) < LEVEL, name
            assert z_score(value - found["explicit"] - 1.1 * constants[name]) > LEVEL, name


def test_the_exact_score_has_the_least_of_every_loss(sample):
    """At the optimum the derivative in the parameter vanishes, for all of them; beside it, it does not."""
    for at, flat in ((1.0, True), (1.2, False)):
        scale = torch.full((len(sample[0]),), at, dtype=torch.float64, requires_grad=True)

        def score(x, t, scale=scale):  # as wrong_law, with the parameter in the graph, one copy per sample
            alpha, var = float(PROCESS.alpha(T)), float(PROCESS.var(T))
            total = alpha**2 * torch.tensor([0.4, 0.5], dtype=torch.float64) ** 2 + var
            y = x[:, None] - alpha * scale[:, None, None] * LAW.means
            r = (LAW.weights.log() - (y**2).sum(2) / (2 * total) - total.log()).softmax(1)
            return -(r[..., None] * y / total[:, None]).sum(1)

        for name, value in all_losses(score, sample).items():
            slope = torch.autograd.grad(value.sum(), scale)[0]
            if name == "explicit" and flat:
                assert slope.abs().max() < 1e-12
            else:
                assert (z_score(slope) < LEVEL) is flat, name


def test_score_of_an_energy_known_up_to_a_constant():
    law = LAW.at(PROCESS, T)
    x = points()
    score = sm.of_energy(lambda y, t: 17.0 - law.log_prob(y))
    torch.testing.assert_close(score(x, T), law.score(x), rtol=1e-10, atol=1e-12)
    a = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    quadratic = sm.of_energy(lambda y, t: a * (y**2).sum(1))
    value = sm.implicit(quadratic, x, T)  # 1/2 |2 a x|^2 - 2 a d
    torch.testing.assert_close(value, 2 * a**2 * (x**2).sum(1) - 4 * a)
    (slope,) = torch.autograd.grad(value.sum(), a)
    torch.testing.assert_close(slope, (4 * a * (x**2).sum(1) - 4).sum().detach())
    with pytest.raises(ValueError, match="one number per sample"):
        sm.of_energy(lambda y, t: y)(x, T)


def test_times_may_differ_by_sample():
    x0, eps, t = points(6), points(6, seed=1), torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    law = {float(s): LAW.at(PROCESS, float(s)) for s in t}
    each = [
        sm.denoising(lambda x, s: law[float(s)].score(x), PROCESS, x0[i : i + 1], float(t[i]), eps[i : i + 1])
        for i in range(6)
    ]

    def score(x, s):
        return torch.cat([law[float(s[i])].score(x[i : i + 1]) for i in range(6)])

    torch.testing.assert_close(sm.denoising(score, PROCESS, x0, t, eps), torch.cat(each))


def test_a_constant_score_has_no_divergence():
    x = points(4)
    torch.testing.assert_close(sm.implicit(lambda y, t: torch.ones_like(y), x, T), torch.ones(4, dtype=torch.float64))


def test_errors():
    x = points(4)
    with pytest.raises(ValueError, match="they must be the same"):
        sm.implicit(lambda y, t: y[:, :1], x, T)
    with pytest.raises(ValueError, match="the exact score has shape"):
        sm.explicit(lambda y, t: y, x, T, x[:, :1])
    with pytest.raises(ValueError, match="sigma = 0"):
        sm.denoising(lambda y, t: y, PROCESS, x, 0.0, x)
    with pytest.raises(ValueError, match="projections"):
        sm.sliced(lambda y, t: y, x, T, 0, projections=0)
