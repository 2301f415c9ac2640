"""Classical schemes where the noise depends on the state, and the path's Lévy area; torchsde on the same path."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torchsde

import sdelab as sd
from sdelab.levy import LevyBrownian
from sdelab.orders import slope
from sdelab.sde import Stratonovich

F64 = torch.float64
MAKE = {r.key: r.make for r in sd.solvers.table}


@pytest.mark.parametrize(
    "key, order",
    [
        ("milstein_df", 1),
        ("heun_strat", 1),
        ("euler_heun", 1),
        ("midpoint_strat", 1),
        ("srk_sri", 1.5),
        ("platen_w2", 1),
    ],
)
def test_strong_order_on_geometric_brownian_motion(key, order):
    gbm, path = sd.GBM(0.5, 0.8), LevyBrownian((200, 1), 0.0, 1.0, seed=11, dtype=F64, depth=12)
    x, steps = torch.ones(200, 1, dtype=F64), (16, 32, 64, 128)
    exact = gbm.exact_path(x, 1.0, path(0.0, 1.0))
    errors = [float((sd.solve(gbm, MAKE[key](), x, torch.linspace(0, 1, n + 1), brownian=path) - exact).abs().mean())
              for n in steps]  # fmt: skip
    assert slope(steps, errors) == pytest.approx(order, abs=0.15), errors


@pytest.mark.parametrize("key, order", [("euler_maruyama", 1), ("milstein", 1), ("platen_w2", 2), ("dri1", 2)])
def test_weak_order_on_geometric_brownian_motion(key, order):
    """One step is x times a polynomial in W: Gauss–Hermite nodes give its exact mean square, powers the rest."""
    z, w = np.polynomial.hermite_e.hermegauss(12)
    z, w = torch.tensor(z, dtype=F64)[:, None], torch.tensor(w / w.sum(), dtype=F64)
    gbm, steps, errors = sd.GBM(0.5, 0.8), (32, 64, 128), []
    for n in steps:
        h = 1 / n
        growth = sd.solve(gbm, MAKE[key](), torch.ones_like(z), [0.0, h], brownian=lambda a, b: z * math.sqrt(b - a))[
            :, 0
        ]
        errors.append(abs(float((w * growth**2).sum()) ** n - math.exp(2 * 0.5 + 0.8**2)))
    assert slope(steps, errors) == pytest.approx(order, abs=0.15), errors


def test_schemes_for_additive_noise_refuse_other_noise():
    for key in ("sra1", "sra3", "shark"):
        with pytest.raises(ValueError, match="is for additive noise"):
            sd.solve(sd.GBM(), MAKE[key](), torch.ones(2, 1), [0.0, 1.0], seed=0)
    with pytest.raises(ValueError, match="Lévy area"):
        sd.solve(sd.OU(), MAKE["sra1"](), torch.ones(2, 1), [0.0, 1.0], brownian=sd.Brownian((2, 1), 0, 1, seed=0))


def test_levy_area_of_a_path():
    """H joins over a cut as int W does, does not depend on the questions, and has its law; a wrong one is seen."""
    cuts = (0.0, 0.1, 0.37, 0.5, 1.0)
    path, other = (LevyBrownian((20_000, 1), 0.0, 1.0, seed=3, dtype=F64) for _ in range(2))
    other.area(0.9, 0.2)
    for a, b, c in itertools.combinations(cuts, 3):
        parts = [(v - u) * (0.5 * path(u, v) + path.area(u, v)) for u, v in ((a, b), (b, c), (a, c))]
        torch.testing.assert_close(parts[0] + parts[1] + (c - b) * path(a, b), parts[2], rtol=0, atol=1e-12)
    for a, b in itertools.pairwise(cuts):
        assert torch.equal(path.area(a, b), other.area(b, a))
        W, H = path(a, b)[:, 0] / math.sqrt(b - a), path.area(a, b)[:, 0] / math.sqrt((b - a) / 12)
        for z in (W, H, (W + H) / math.sqrt(2)):
            assert 1e-5 < scipy.stats.chi2.cdf(float((z**2).sum()), 20_000) < 1 - 1e-5
        assert scipy.stats.chi2.sf(float(((1.05 * H) ** 2).sum()), 20_000) < 1e-5


class Peer(torchsde.BaseBrownian):
    """Our path as torchsde asks for it; it wants U = int (W_r - W_s) dr beside W."""

    def __init__(self, path, shape):
        super().__init__()
        self.path, self._shape = path, shape

    def __call__(self, ta, tb: Any = None, return_U=False, return_A=False):
        a, b = float(ta), float(tb)
        W = self.path(a, b)
        return (W, (b - a) * (0.5 * W + self.path.area(a, b))) if return_U else W

    def __repr__(self):
        return "Peer"

    dtype, device, levy_area_approximation = F64, torch.device("cpu"), "space-time"  # type: ignore

    @property
    def shape(self):
        return self._shape


PEERS = [("euler_maruyama", "euler", {}, "ito"), ("milstein", "milstein", {}, "ito"), ("srk_sri", "srk", {}, "ito"),
         ("milstein_df", "milstein", {"grad_free": True}, "ito"), ("heun_strat", "heun", {}, "stratonovich"),
         ("euler_heun", "euler_heun", {}, "stratonovich"), ("midpoint_strat", "midpoint", {}, "stratonovich"),
         ("milstein", "milstein", {}, "stratonovich"),
         ("reversible_heun", "reversible_heun", {}, "stratonovich")]  # fmt: skip


@pytest.mark.parametrize("key, method, options, kind", PEERS)
def test_torchsde_agrees(key, method, options, kind):
    """On the same path, with a drift and a diffusion that depend on the state and on time."""

    class Equation(torch.nn.Module):
        noise_type, sde_type = "diagonal", kind

        def f(self, t, x):
            return torch.sin(x) - 0.5 * x * t

        def g(self, t, x):
            return 0.3 * torch.cos(x) + 0.1 * t

    theirs, path = Equation(), LevyBrownian((5, 2), 0.0, 1.0, seed=2, dtype=F64)
    ours = (sd.SDE if kind == "ito" else Stratonovich)(lambda x, t: theirs.f(t, x), lambda x, t: theirs.g(t, x))
    x, ts = sd.noise.normal((5, 2), 1, dtype=F64), torch.linspace(0, 1, 9, dtype=F64)
    exact = torchsde.sdeint(theirs, x, ts, bm=Peer(path, (5, 2)), method=method, dt=0.125, options=dict(options))[-1]
    torch.testing.assert_close(sd.solve(ours, MAKE[key](), x, ts, brownian=path), exact, rtol=1e-10, atol=1e-10)
