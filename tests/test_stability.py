"""Stability functions, limits and mean squares of the library's solvers against closed forms by hand."""

import math

import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab import solvers, stability
from sdelab.solvers import row

Z = torch.tensor([[-2.0 + 1.0j, 0.3 - 0.2j, -0.1 + 0j], [0j, 2.5j, -4 - 3j]], dtype=torch.complex128)


def polynomial(order):
    return lambda z: sum(z**k / math.factorial(k) for k in range(order + 1))


@pytest.mark.parametrize(
    ("key", "R"),
    [
        ("euler", polynomial(1)), ("heun", polynomial(2)), ("midpoint", polynomial(2)), ("rk3", polynomial(3)),
        ("rk4", polynomial(4)), ("bosh3", polynomial(3)), ("dopri5", lambda z: polynomial(5)(z) + z**6 / 600),
        ("euler_maruyama", polynomial(1)), ("sra1", polynomial(2)), ("sra3", polynomial(3)),
        ("implicit_em", lambda z: 1 / (1 - z)), ("theta_half", lambda z: (1 + z / 2) / (1 - z / 2)),
    ],
)  # fmt: skip
def test_stability_functions(key, R):
    torch.testing.assert_close(stability.one_step(row(key).make(), Z), R(Z), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stability.growth(row(key).make(), Z), R(Z).abs(), rtol=1e-9, atol=1e-9)


def test_adams_weights_and_roots():
    assert stability.adams_weights(2) == pytest.approx([3 / 2, -1 / 2])
    assert stability.adams_weights(4) == pytest.approx([55 / 24, -59 / 24, 37 / 24, -9 / 24])
    for k, b in ((2, [3 / 2, -1 / 2]), (3, [23 / 12, -16 / 12, 5 / 12])):
        want = [max(abs(np.roots([1, -1 - z * b[0], *(-z * w for w in b[1:])]))) for z in Z.flatten().tolist()]
        found = stability.growth(solvers.AdamsBashforth(k), Z)
        assert found.shape == Z.shape and found.flatten().tolist() == pytest.approx(want)
    # leapfrog, x_{n+1} = x_{n-1} + 2h f_n: |r| = 1 on the imaginary axis up to 1
    assert float(stability.multistep(torch.tensor(0.9j), [0.0, 1.0], [2.0])) == pytest.approx(1.0)
    assert float(stability.multistep(torch.tensor(1.1j), [0.0, 1.0], [2.0])) > 1.5


def test_the_root_is_what_a_run_grows_by():
    """A run of AB3 at an unstable step, by the library's solver, against the largest root."""
    z, n = -0.8, 60
    sde = sd.SDE(lambda x, t: z * x)
    walk = [
        x for _, x in sd.trajectory(sde, solvers.AdamsBashforth(3), torch.ones(1, 1).double(), torch.arange(n + 1.0))
    ]
    assert float((walk[-1] / walk[-2]).abs()) == pytest.approx(float(stability.growth(solvers.AdamsBashforth(3), z)))


@pytest.mark.parametrize(
    ("key", "real", "imaginary"),
    [("euler", 2, 0), ("heun", 2, 0), ("rk3", 2.512745326618, 3**0.5), ("rk4", 2.785293563405, 8**0.5), ("ab2", 1, 0),
     ("ab3", 6 / 11, 0.723627), ("ab4", 0.3, 0.429987), ("implicit_em", math.inf, math.inf)],
)  # fmt: skip
def test_limits(key, real, imaginary):
    solver = row(key).make()
    assert stability.limit(lambda h: stability.growth(solver, -h)) == pytest.approx(real, abs=1e-8)
    assert stability.limit(lambda h: stability.growth(solver, 1j * h)) == pytest.approx(imaginary, abs=1e-5)


EXACT = {  # E R and E|R|^2 by hand
    "euler_maruyama": lambda z, m: (1 + z, abs(1 + z) ** 2 + m**2),
    "milstein": lambda z, m: (1 + z, abs(1 + z) ** 2 + m**2 + m**4 / 2),
    "implicit_em": lambda z, m: (1 / (1 - z), (1 + m**2) / abs(1 - z) ** 2),
    "theta_half": lambda z, m: ((2 + z) / (2 - z), (abs(1 + z / 2) ** 2 + m**2) / abs(1 - z / 2) ** 2),
}


@pytest.mark.parametrize("key", EXACT)
def test_moments_of_schemes_with_noise(key):
    m = torch.tensor([0.3, 1.2, 0.0], dtype=torch.float64)
    mean, square = stability.moments(row(key).make(), Z, m)
    for i in range(2):
        for j in range(3):
            first, second = EXACT[key](complex(Z[i, j]), float(m[j]))
            assert complex(mean[i, j]) == pytest.approx(first, abs=1e-9)
            assert float(square[i, j]) == pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize(("key", "order"), [("euler_maruyama", 1), ("milstein", 1), ("platen_w2", 2), ("dri1", 2)])
def test_moments_have_the_weak_order(key, order):
    """E R and E|R|^2 against those of geometric Brownian motion: local errors of one order more."""
    off = []
    for h in (0.02, 0.01):
        mean, square = stability.moments(row(key).make(), -h, h**0.5)
        off.append((abs(complex(mean) - math.exp(-h)), abs(float(square) - math.exp((-2 + 1) * h))))
    for first, second in zip(*off, strict=True):
        assert math.log2(first / second) > order + 0.85


def test_a_wrong_scheme_is_seen():
    """Milstein without the -h in its correction has another mean, and so no weak order."""

    class Wrong(sd.Milstein):
        def advance(self, sde, x, s, t, W, H):
            return super().advance(sde, x, s, t, W, H) + 0.5 * (t - s) * sde.diffusion(sde.diffusion(x, s), s)

    right, wrong = (complex(stability.moments(made, -0.01, 0.1)[0]) for made in (sd.Milstein(), Wrong()))
    assert abs(right - math.exp(-0.01)) < 1e-4 < 1e-3 < abs(wrong - math.exp(-0.01))


def test_shapes_and_errors():
    assert stability.one_step(sd.Heun(), -0.5).shape == ()
    assert stability.moments(sd.EulerMaruyama(), Z[:, :1], torch.ones(3).double())[1].shape == (2, 3)
    with pytest.raises(ValueError, match="has a past"):
        stability.one_step(solvers.AdamsBashforth(2), Z)
    assert stability.limit(lambda h: 0 * h) == math.inf
    assert stability.limit(lambda h: 2 + h) == 0.0
    assert stability.limit(lambda h: h / 3, longest=10.0) == pytest.approx(3.0)
