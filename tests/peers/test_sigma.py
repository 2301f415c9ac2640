"""The family in sigma against k-diffusion and diffusers, on the same noise, grid and exact model."""

import importlib

import pytest
import torch

import sdelab as sd
from benchmarks.peers import ModelK, k_diffusion
from sdelab.solvers import ancestral, sigma
from sdelab.solvers.sigma import DPM2, SigmaRK
from sdelab.solvers.wrappers import Churn

F64 = torch.float64
LAW = sd.distributions.ring()
PROCESSES = ("edm", "vp", "flow")


def problem(name, steps=12, zero=True, rho=7.0, low=0.02):
    """(process, times, their sigmas, x at the first time); k-diffusion's state is x/alpha."""
    process = sd.process.make(name)
    high = min(40.0, 0.9 * float((-process.lam(process.T)).exp()))
    sigmas = torch.linspace(high ** (1 / rho), low ** (1 / rho), steps + 1, dtype=F64) ** rho
    times = process.t_of_lam(-sigmas.log())
    x = process.alpha(times[0]) * high * sd.noise.normal((32, 2), 4, dtype=F64)
    if zero:
        times, sigmas = (torch.cat([v, torch.zeros(1, dtype=F64)]) for v in (times, sigmas))
    return process, times, sigmas, x


def model(process):
    """D(y, sigma) for y = x/alpha."""
    denoise = LAW.denoiser(process)

    def D(y, sigma):
        t = process.t_of_lam(-torch.tensor(float(sigma), dtype=F64).log())
        return denoise(process.alpha(t) * y, float(t))

    return D


def _row(key):
    return next(r for m in (sigma, ancestral) for r in m.ROWS if r.key == key)


def k_diffuse(name, process, x, times, sigmas, **keywords):
    """k-diffusion's sampler run in y = x/alpha, its result as our x (alpha = 1 at sigma = 0)."""
    out = getattr(k_diffusion(), f"sample_{name}")(
        ModelK(model(process)), x / process.alpha(times[0]), sigmas, disable=True, **keywords
    )
    return process.alpha(times[-1]) * out


def noises(x, steps):
    """The noise of our run's steps with seed 2, to be played to a peer."""
    return iter([sd.noise.normal(x.shape, 2, (sd.noise.STEP, n), dtype=F64) for n in range(steps)])


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("key, peer", [("edm_euler", "euler"), ("edm_heun", "heun"), ("dpm_2", "dpm_2")])
def test_k_diffusion_ode(key, peer, name, zero):
    process, times, sigmas, x = problem(name, zero=zero)
    ours = sd.solve(sd.Reverse(process, LAW.denoiser(process), 0.0), _row(key).make(), x, times)
    theirs = k_diffuse(peer, process, x, times, sigmas)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("eta", [1.0, 0.6])
@pytest.mark.parametrize("key", ["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral"])
def test_k_diffusion_ancestral(key, name, eta):
    process, times, sigmas, x = problem(name)
    ours = sd.solve(sd.Reverse(process, LAW.denoiser(process), eta), _row(key).make(), x, times, seed=2)
    played = noises(x, len(times) - 2)
    theirs = k_diffuse(key, process, x, times, sigmas, eta=eta, noise_sampler=lambda *_: next(played))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("peer, tableau", [("euler", sd.Euler), ("heun", sd.Heun), ("dpm_2", None)])
def test_k_diffusion_churn(peer, tableau, monkeypatch):
    """k-diffusion divides s_churn by all steps, the one to zero included; and it draws noise that it does not use."""
    process, times, sigmas, x = problem("edm")
    steps, low, high = len(times) - 2, 0.1, 20.0
    solver = Churn(SigmaRK(tableau) if tableau else DPM2(), 3.0 * steps / (steps + 1), low, high, 1.003)
    ours = sd.solve(sd.Reverse(process, LAW.denoiser(process), 0.0), solver, x, times, seed=2)
    assert 3 < sum(low <= s <= high for s in sigmas.tolist()) < steps
    played = noises(x, steps + 1)
    monkeypatch.setattr(torch, "randn_like", lambda _: next(played))
    noise = {"s_churn": 3.0, "s_tmin": low, "s_tmax": high, "s_noise": 1.003}
    theirs = k_diffuse(peer, process, x, times, sigmas, **noise)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "module, scheduler, key",
    [
        ("heun_discrete", "HeunDiscreteScheduler", "edm_heun"),
        ("k_dpm_2_discrete", "KDPM2DiscreteScheduler", "dpm_2"),
        ("euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", "euler_ancestral"),
        ("k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", "dpm_2_ancestral"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_diffusers(module, scheduler, key, monkeypatch):
    """Their sigmas and steps are float32 on states of size 150: 1e-5. The model sees the sigmas at which ours ran."""
    module = importlib.import_module(f"diffusers.schedulers.scheduling_{module}")
    theirs = getattr(module, scheduler)(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02)
    theirs.set_timesteps(12)
    times = [*dict.fromkeys(theirs.sigmas.double().tolist())]
    process, row = sd.process.EDM(sigma_max=times[0]), _row(key)
    denoise, asked = LAW.denoiser(process), []
    x = times[0] * sd.noise.normal((16, 2), 4, dtype=F64)
    equation = sd.Reverse(process, lambda x, t: asked.append(t) or denoise(x, t), row.eta)
    ours = sd.solve(equation, row.make(), x, times, seed=2)
    played = noises(x, len(times))
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: next(played), raising=False)
    assert len(asked) == len(theirs.timesteps)
    for level, t in zip(asked, theirs.timesteps, strict=True):
        theirs.scale_model_input(x, t)
        x = theirs.step((x - denoise(x, level)) / level, t, x, return_dict=False)[0]
    torch.testing.assert_close(ours, x.double(), rtol=0, atol=1e-5)
