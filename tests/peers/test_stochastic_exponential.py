"""Stochastic exponential integrators against k-diffusion and diffusers, on the same noise, in float64."""

import dataclasses
import itertools
import math

import pytest
import torch

import sdelab as sd
from benchmarks.peers import ModelK, k_diffusion
from sdelab import orders
from sdelab.solvers.dpmpp_sde import DPMpp2MSDE, DPMpp3MSDE, DPMppSDE, SDEDPMSolver
from sdelab.solvers.linear import clock
from sdelab.solvers.sa import SASolver

F64 = torch.float64
LAW = sd.distributions.ring()
STEPS = 9
VP, EDM = sd.process.VP(), sd.process.EDM()
RATES = 1 + sd.noise.uniform((20, 2), 2, dtype=F64)


def path(a: float, b: float) -> torch.Tensor:
    """Any function of two times serves as a path here; a smooth one does not see the last digit of a time."""
    return 3 * (torch.sin(RATES * math.log1p(b)) - torch.sin(RATES * math.log1p(a)))


def normal(lam_s: float, lam_t: float, eta: float) -> torch.Tensor:
    """The path's increment over a step, at standard deviation 1."""
    a, b = clock(eta**2, lam_s), clock(eta**2, lam_t)
    return path(a, b) / math.sqrt(b - a)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


K_SAMPLERS = [
    (DPMppSDE, "sample_dpmpp_sde", lambda eta: {"eta": eta}),
    (lambda: DPMppSDE(0.7), "sample_dpmpp_sde", lambda eta: {"eta": eta, "r": 0.7}),
    (DPMpp2MSDE, "sample_dpmpp_2m_sde", lambda eta: {"eta": eta**2, "solver_type": "midpoint"}),
    (lambda: DPMpp2MSDE(True), "sample_dpmpp_2m_sde", lambda eta: {"eta": eta**2, "solver_type": "heun"}),
    (DPMpp3MSDE, "sample_dpmpp_3m_sde", lambda eta: {"eta": eta**2}),
]


@pytest.mark.parametrize("make, name, options", K_SAMPLERS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("eta", [0.5, 1.0, 1.4])
def test_k_diffusion(make, name, options, eta):
    """Its eta is ours in the SDE sampler, and the square of ours in the multistep ones."""
    denoise = LAW.denoiser(EDM)
    x = 5 * sd.noise.normal((20, 2), 1, dtype=F64)
    sigmas = sd.grids.karras(EDM, STEPS, t_start=5.0, t_end=0.05)

    def noise_sampler(sigma, sigma_next):
        return normal(-math.log(sigma), -math.log(sigma_next), eta)

    sampler = getattr(k_diffusion(), name)
    theirs = sampler(ModelK(denoise), x, sigmas, disable=True, noise_sampler=noise_sampler, **options(eta))
    close(sd.solve(sd.Reverse(EDM, denoise, eta), make(), x, sigmas, brownian=path), theirs)


def diffusers(scheduler, ts, step) -> torch.Tensor:
    """A run on the given times, the network predicting D; step(n, D, label, x) calls the scheduler."""
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas, scheduler.timesteps = (-VP.lam(ts)).exp(), torch.arange(STEPS, 0, -1)
    denoise, x = LAW.denoiser(VP), LAW.at(VP, 0.95).sample(20, seed=1, dtype=F64)
    for n, (t, label) in enumerate(zip(ts.tolist(), scheduler.timesteps, strict=False)):
        x = step(n, denoise(x, t), label, x).prev_sample
    return x


def ours(solver, ts, eta=1.0) -> torch.Tensor:
    x = LAW.at(VP, 0.95).sample(20, seed=1, dtype=F64)
    return sd.solve(sd.Reverse(VP, LAW.denoiser(VP), eta), solver, x, ts, brownian=path)


class SlippedSign(DPMpp3MSDE):
    """What diffusers runs as third-order sde-dpmsolver++: -1/2 in the weight of D2 = h^2 D''/2 where +1/2 belongs."""

    def weights(self, h, k, nodes):
        w = super().weights(h, k, nodes)
        if len(nodes) < 3:
            return w
        a, b, c = nodes
        second = (1 / ((a - b) * (a - c)), 1 / ((b - a) * (b - c)), 1 / ((c - a) * (c - b)))
        return [w - h * h * d for w, d in zip(w, second, strict=True)]


SDE_DPM = [
    (lambda: SDEDPMSolver(1), 1, "sde-dpmsolver", "midpoint"),
    (SDEDPMSolver, 2, "sde-dpmsolver", "midpoint"),
    (lambda: SDEDPMSolver(2, True), 2, "sde-dpmsolver", "heun"),
    (sd.ExpEuler, 1, "sde-dpmsolver++", "midpoint"),
    (DPMpp2MSDE, 2, "sde-dpmsolver++", "midpoint"),
    (lambda: DPMpp2MSDE(True), 2, "sde-dpmsolver++", "heun"),
    (lambda: SlippedSign(), 3, "sde-dpmsolver++", "heun"),
]


@pytest.mark.usefixtures("double")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("make, order, algorithm, kind", SDE_DPM)
@pytest.mark.parametrize("grid", ["logsnr", "karras", "uniform"])
def test_diffusers_sde_dpm_solver(make, order, algorithm, kind, grid):
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    ts = sd.grids.make(grid, VP, STEPS, t_start=0.95, t_end=0.02)
    lam = VP.lam(ts).tolist()
    scheduler = DPMSolverMultistepScheduler(
        solver_order=order, algorithm_type=algorithm, solver_type=kind, prediction_type="sample",
        lower_order_final=False, final_sigmas_type="sigma_min",
    )  # fmt: skip

    def step(n, D, label, x):
        return scheduler.step(D, label, x, variance_noise=normal(lam[n], lam[n + 1], 1.0))

    close(ours(make(), ts), diffusers(scheduler, ts, step))


TAUS = {"1": lambda t: 1.0, "0": lambda t: 0.0, "1/2": lambda t: 0.5, "window": lambda t: float(0.3 <= t <= 0.8)}


@pytest.mark.usefixtures("double")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("predictor, corrector", [(1, 1), (1, 3), (2, 2), (2, 3), (3, 3), (3, 4)])
@pytest.mark.parametrize("tau", TAUS)
def test_diffusers_sa_solver(predictor, corrector, tau, monkeypatch):
    from diffusers.schedulers import scheduling_sasolver
    from diffusers.schedulers.scheduling_sasolver import SASolverScheduler

    ts = sd.grids.logsnr(VP, STEPS, t_start=0.95, t_end=0.02)
    lam = VP.lam(ts).tolist()
    draws = (normal(s, t, 1.0) for s, t in itertools.pairwise(lam))
    monkeypatch.setattr(scheduling_sasolver, "randn_tensor", lambda *_, **__: next(draws))
    scheduler = SASolverScheduler(
        predictor_order=predictor, corrector_order=corrector, prediction_type="sample", lower_order_final=False,
        tau_func=lambda label: torch.tensor(TAUS[tau](float(ts[STEPS - int(label)]))),
    )  # fmt: skip
    theirs = diffusers(scheduler, ts, lambda n, D, label, x: scheduler.step(D, label, x))
    close(ours(SASolver(predictor, corrector, TAUS[tau]), ts), theirs)


def test_a_slipped_sign_costs_diffusers_an_order():
    row = sd.solvers.row("dpmpp_3m_sde")
    assert orders.weak_order(row) == pytest.approx(2, abs=0.15)
    assert orders.weak_order(dataclasses.replace(row, make=SlippedSign)) == pytest.approx(1, abs=0.15)
