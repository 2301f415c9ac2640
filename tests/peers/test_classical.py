"""Classical methods against torchdiffeq, scipy and torchsde, on the same equation, grid and path."""

import math

import numpy as np
import pytest
import scipy.integrate
import torch
import torchdiffeq
import torchsde

import sdelab as sd
from sdelab.levy import LevyBrownian
from sdelab.solvers import AdamsBashforth
from sdelab.solvers.runge_kutta import RungeKutta
from tests.test_classical import Peer

F64 = torch.float64
X = sd.noise.normal((3, 2), 1, dtype=F64)
TIMES = torch.linspace(0, 1, 9, dtype=F64)
MAKE = {r.key: r.make for r in sd.solvers.table}


def drift(x, t):
    return torch.sin(x) * math.cos(3 * t) - 0.4 * x * x.roll(1, -1)


class Heun3(RungeKutta):
    """Heun's method of order 3, as torchdiffeq has it."""

    A, b, order = ((), (1 / 3,), (0.0, 2 / 3)), (1 / 4, 0.0, 3 / 4), 3


class ThreeEighths(RungeKutta):
    """Kutta's 3/8 rule, which torchdiffeq calls rk4."""

    A, b, order = ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (1 / 8, 3 / 8, 3 / 8, 1 / 8), 4


@pytest.mark.parametrize(
    "make, method, options",
    [
        (MAKE["euler"], "euler", {}),
        (MAKE["midpoint"], "midpoint", {}),
        (MAKE["heun"], "heun2", {}),
        (Heun3, "heun3", {}),
        (ThreeEighths, "rk4", {}),
        # torchdiffeq's max_order counts one point more than it uses, and it starts with its rk4
        (lambda: AdamsBashforth(3, ThreeEighths()), "explicit_adams", {"max_order": 4}),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_torchdiffeq_agrees(make, method, options):
    exact = torchdiffeq.odeint(lambda t, x: drift(x, float(t)), X, TIMES, method=method, options=options)[-1]
    torch.testing.assert_close(sd.solve(sd.SDE(drift), make(), X, TIMES), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("key, method", [("bosh3", scipy.integrate.RK23), ("dopri5", scipy.integrate.RK45)])
def test_scipy_agrees(key, method):
    """One step of scipy's pairs, and the error estimate that sets the next one."""
    h, solver = 0.125, MAKE[key]()
    peer = method(lambda t, y: drift(torch.from_numpy(y).reshape(X.shape), t).numpy().ravel(), 0.0, X.numpy().ravel(),
                  1.0, first_step=h, rtol=1.0, atol=1.0)  # fmt: skip
    peer.step()
    assert peer.t == h
    ours = sd.solve(sd.SDE(drift), solver, X, [0.0, h])
    np.testing.assert_allclose(ours.numpy().ravel(), peer.y, rtol=1e-12, atol=1e-12)
    ks = solver.slopes(sd.SDE(drift), X, 0.0, h)
    off = [low - high for high, low in zip(solver.b, solver.b_low, strict=True)]
    error = solver.combine(torch.zeros_like(X), ks, h, off).numpy().ravel()
    theirs = peer._estimate_error(peer.K, h)
    np.testing.assert_allclose(np.abs(error), np.abs(theirs), rtol=1e-10, atol=1e-14)


def test_torchsde_has_sra1_for_additive_noise():
    class Equation(torch.nn.Module):
        noise_type, sde_type = "additive", "ito"

        def f(self, t, x):
            return torch.sin(x) - 0.5 * x * t

        def g(self, t, x):
            return torch.diag_embed((0.3 + 0.1 * t) * torch.ones_like(x))

    theirs, path = Equation(), LevyBrownian(X.shape, 0.0, 1.0, seed=2, dtype=F64)
    ours = sd.SDE(lambda x, t: theirs.f(t, x), lambda x, t: 0.3 + 0.1 * t)
    exact = torchsde.sdeint(theirs, X, TIMES, bm=Peer(path, X.shape), method="srk", dt=0.125)[-1]
    out = sd.solve(ours, MAKE["sra1"](), X, TIMES, brownian=path)
    torch.testing.assert_close(out, exact, rtol=1e-12, atol=1e-12)
