"""Grids against diffusers' schedulers (single precision: to 1e-6) and k-diffusion's (double: to 1e-10)."""

import ast
import functools
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

import sdelab as sd
from benchmarks import peers

F64 = torch.float64
STEPS = (4, 10, 25)


def ratios(process, times):
    return torch.exp(-process.lam(times))


def agree(process, times, sigmas, tolerance=1e-6):
    """sigma/alpha at our times are the peer's sigmas, 0 at the end included."""
    theirs = torch.as_tensor(np.asarray(sigmas), dtype=F64)
    torch.testing.assert_close(ratios(process, times), theirs, rtol=tolerance, atol=1e-12)


def euler(**config):
    diffusers = pytest.importorskip("diffusers")
    made = diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **config)
    return made, sd.process.DiscreteBetas(made.betas.double())


def sigma_table(scheduler):
    """All sigmas of the chain, as single precision rounds them in diffusers."""
    bar = scheduler.alphas_cumprod.numpy()
    return np.array(((1 - bar) / bar) ** 0.5)


def function_of(module: str, name: str):
    """One plain function of a module of diffusers that cannot be imported here (pipelines want transformers)."""
    spec = importlib.util.find_spec("diffusers")
    if spec is None or spec.origin is None:
        pytest.skip("diffusers is not installed")
    source = Path(spec.origin).parent.joinpath(*module.split(".")).with_suffix(".py").read_text("utf8")
    (node,) = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name)
    names: dict = {}
    exec(ast.unparse(node), names)
    return names[name]


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("option, grid", [("karras", "karras"), ("exponential", "exponential"), ("beta", "beta")])
def test_sigma_rules_of_diffusers(option, grid, n):
    """On EDM's clock t is sigma: diffusers' beta rule is linear in sigma, where the paper's is in t."""
    scheduler, _ = euler(**{f"use_{option}_sigmas": True})
    scheduler.set_timesteps(n)
    sigmas = sigma_table(scheduler)
    process = sd.process.EDM(float(sigmas[-1]))
    agree(process, sd.grids.make(grid, process, n, t_end=float(sigmas[0]), zero=True), scheduler.sigmas)


@pytest.mark.parametrize("n", STEPS)
def test_lu_lambdas_of_diffusers(n):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DPMSolverMultistepScheduler(use_lu_lambdas=True, final_sigmas_type="zero")
    scheduler.set_timesteps(n)
    sigmas = sigma_table(scheduler)
    process = sd.process.EDM(float(sigmas[-1]))
    agree(process, sd.grids.logsnr(process, n, t_end=float(sigmas[0]), zero=True), scheduler.sigmas)


@pytest.mark.parametrize("n", (3, 7, *STEPS))
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
def test_spacings_of_diffusers(spacing, n):
    """ "Timestep" i of a network is the knot t = (i + 1)/1000."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(n)
    process = sd.process.DiscreteBetas(scheduler.betas.double())
    times = sd.grids.make(spacing, process, n, zero=True)
    assert (times[:-1] * 1000 - 1).round().int().tolist() == scheduler.timesteps.tolist()
    if spacing != "linspace":  # which Euler does not round
        other, _ = euler(timestep_spacing=spacing, steps_offset=1)
        other.set_timesteps(n)
        assert other.timesteps.int().tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_shift_of_diffusers(n, shift):
    """As the pipelines of SD3 and FLUX call it, and by its own default, which shifts the last time twice."""
    diffusers = pytest.importorskip("diffusers")
    process, scheduler = sd.process.RectifiedFlow(), diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / n, n))
    ours = sd.grids.flow_shift(process, n, zero=True, shift=shift)
    torch.testing.assert_close(ours, scheduler.sigmas.double(), rtol=1e-6, atol=1e-12)
    scheduler.set_timesteps(n)
    end = 0.001
    for _ in range(2):
        end = shift * end / (1 + (shift - 1) * end)
    ours = sd.grids.flow_shift(process, n, t_end=end, zero=True, shift=shift)
    torch.testing.assert_close(ours, scheduler.sigmas.double(), rtol=1e-6, atol=1e-12)


def test_dynamic_shift_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    calculate_shift = function_of("pipelines.flux.pipeline_flux", "calculate_shift")
    process = sd.process.RectifiedFlow()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    for tokens in (256, 1024, 4096):
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20), mu=calculate_shift(tokens))
        ours = sd.grids.flow_shift(process, 20, zero=True, shift=sd.grids.dynamic_shift(tokens))
        torch.testing.assert_close(ours, scheduler.sigmas.double(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("n", (2, 5, 10, 64))
def test_linear_quadratic_of_mochi(n):
    linear_quadratic_schedule = function_of("pipelines.mochi.pipeline_mochi", "linear_quadratic_schedule")
    ours = sd.grids.linear_quadratic(sd.process.RectifiedFlow(), n, zero=True)
    theirs = torch.as_tensor(np.asarray(linear_quadratic_schedule(n, 0.025)), dtype=F64)
    torch.testing.assert_close(ours[:-1], theirs, rtol=1e-12, atol=1e-12)


def test_printed_levels_are_those_of_diffusers():
    pytest.importorskip("diffusers")
    from diffusers.schedulers.scheduling_utils import AysSchedules

    from sdelab.grids import published

    names = {"sd15": "StableDiffusionSigmas", "sdxl": "StableDiffusionXLSigmas", "svd": "StableDiffusionVideoSigmas"}
    for ours, theirs in names.items():
        assert list(published.AYS[ours])[:-1] == AysSchedules[theirs][:-1], ours  # they put 0 last, as zero=True does


@pytest.mark.parametrize("n", STEPS)
def test_k_diffusion(n, monkeypatch):
    kd = peers.k_diffusion()
    monkeypatch.setattr(kd.torch, "linspace", functools.partial(torch.linspace, dtype=F64))
    low, high = 0.0292, 14.6146
    edm, vp = sd.process.EDM(high), sd.process.VP()
    for grid, theirs in (
        ("karras", kd.get_sigmas_karras(n, low, high)),
        ("exponential", kd.get_sigmas_exponential(n, low, high)),
        ("polyexponential", kd.get_sigmas_polyexponential(n, low, high, rho=1.0)),
    ):
        agree(edm, sd.grids.make(grid, edm, n, t_end=low, zero=True), theirs, 1e-10)
    theirs = kd.get_sigmas_vp(n)
    agree(vp, sd.grids.vp(vp, n, zero=True), theirs, 1e-10)
    wide = sd.process.EDM(float(theirs[0]))
    agree(wide, sd.grids.vp(wide, n, t_end=float(theirs[-2]), zero=True), theirs, 1e-10)


def test_chains_of_diffusers():
    """Betas in single precision; the cosine's before rounding, the zero terminal SNR's to that of a difference."""
    diffusers = pytest.importorskip("diffusers")
    for schedule, name in (("scaled_linear", "sd"), ("squaredcos_cap_v2", "ddpm_cosine")):
        made = diffusers.DDIMScheduler(beta_schedule=schedule, beta_start=0.00085, beta_end=0.012)
        torch.testing.assert_close(sd.process.chains[name](), made.betas.double(), rtol=1e-5, atol=1e-12)
    made = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, rescale_betas_zero_snr=True
    )
    torch.testing.assert_close(sd.process.chains["sd_zero_snr"](), made.betas.double(), rtol=1e-3, atol=1e-7)
    assert float(made.betas[-1]) == 1
