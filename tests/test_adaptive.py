"""Rows with step-size control meet their tolerance within a factor of 3, and count what they reject."""

import functools
from typing import Any

import pytest
import torch

import sdelab as sd
from sdelab.levy import LevyBrownian
from sdelab.solvers import AdaptiveEM, Tsit5
from sdelab.solvers.dpm import DPMAdaptive
from sdelab.solvers.stratonovich import HeunStratonovich

F64 = torch.float64
VP, LAW = sd.process.VP(), sd.distributions.gaussian((0.5,), 0.4)
X = sd.noise.normal((32, 1), 1, dtype=F64)
EXACT = (
    VP.alpha(0.01) * 0.5
    + (X - VP.alpha(1.0) * 0.5)
    * ((VP.alpha(0.01) ** 2 * 0.16 + VP.var(0.01)) / (VP.alpha(1.0) ** 2 * 0.16 + VP.var(1.0))).sqrt()
)


def run(solver):
    """(largest error on the probability flow, network calls)"""
    denoise = sd.NFE(LAW.denoiser(VP))
    out = sd.solve(sd.Reverse(VP, denoise, 0.0), solver, X, [1.0, 0.01])
    return float((out - EXACT).abs().max()), denoise.count


@pytest.mark.parametrize("order, tol", [(2, 0.05), (2, 1e-2), (2, 1e-3), (2, 1e-4), (3, 1e-3), (3, 1e-4), (3, 1e-5)])
def test_dpm_adaptive(order, tol):
    solver = DPMAdaptive(order, rtol=tol, atol=tol)
    error, calls = run(solver)
    assert error < 3 * tol and solver.rejected > 0
    assert calls == order * solver.accepted + (order - 1) * solver.rejected


def test_the_published_pair_of_order_3_is_blind_to_long_steps():
    """At loose tolerances its two solutions agree with each other, not with the equation; order 2 is not deceived."""
    error, _ = run(DPMAdaptive(3, rtol=0.01, atol=0.01))
    assert error > 10 * 0.01 and run(DPMAdaptive(2, rtol=0.01, atol=0.01))[0] < 0.01


@pytest.mark.parametrize("tol", [1e-3, 1e-5, 1e-7])
def test_tsit5(tol):
    solver = sd.Adaptive(Tsit5(), rtol=tol, atol=tol)
    error, calls = run(solver)
    assert error < 3 * tol and calls == 6 * (solver.accepted + solver.rejected) + 2


@functools.cache
def on_path(name):
    """(equation, times, x, path, the solution at the end on that path)"""
    equation: Any = {"double well": sd.DoubleWell(), "geometric": sd.GBM(0.5, 0.8)}.get(name)
    ts, x = [0.0, 1.0], torch.ones(8, 1, dtype=F64)
    if name == "reverse":
        equation, ts, x = sd.Reverse(VP, LAW.denoiser(VP), 1.0), [1.0, 0.01], X
    path = LevyBrownian(x.shape, *ts, seed=11, dtype=F64)
    if name == "geometric":
        exact = equation.exact_path(x, 1.0, path(0.0, 1.0))
    else:
        exact = sd.solve(equation, HeunStratonovich(), x, torch.linspace(ts[0], ts[1], 4097, dtype=F64), brownian=path)
    return equation, ts, x, path, exact


@pytest.mark.parametrize("tol", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("name", ["double well", "geometric", "reverse"])
def test_adaptive_em_on_its_path(name, tol):
    """The mean error against a converged solution on the same Brownian path; each step tried again is counted."""
    equation, ts, x, path, exact = on_path(name)
    solver = AdaptiveEM(tol, tol)
    error = float((sd.solve(equation, solver, x, ts, brownian=path) - exact).abs().mean())
    assert error < 3 * tol and solver.rejected > 0


def test_a_controller_that_never_rejects_would_be_seen(monkeypatch):
    monkeypatch.setattr(DPMAdaptive, "error", lambda *_: 1e-3)
    solver = DPMAdaptive(2, rtol=1e-3, atol=1e-3)
    assert run(solver)[0] > 3e-3 and solver.rejected == 0
