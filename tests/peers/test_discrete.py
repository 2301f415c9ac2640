"""Discrete chains, Song's predictor and corrector, and flow matching against diffusers and k-diffusion, in float64."""

import importlib

import pytest
import torch

import sdelab as sd
from benchmarks.peers import ModelK, k_diffusion

F64 = torch.float64
LAW = sd.distributions.ring()
N = 1000
CHAIN = sd.process.DiscreteBetas()
DENOISE = LAW.denoiser(CHAIN)
SEED = 7


def noise(n: int, x: torch.Tensor, j: int | None = None) -> torch.Tensor:
    """The draw that step n of a run with SEED makes."""
    return sd.noise.normal(x.shape, SEED, (sd.noise.STEP, n) + (() if j is None else (j,)), dtype=x.dtype)


def exact_chain(scheduler):
    """diffusers keeps its chain in float32; hand it the same betas in float64."""
    scheduler.alphas_cumprod = CHAIN.alpha(torch.arange(1, N + 1, dtype=F64) / N) ** 2
    scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=F64)
    return scheduler


def run(scheduler, module: str, indices, x, monkeypatch, predict=None, **options):
    """Drive a scheduler with the exact denoiser; its n-th draw is that of our step n."""
    draws = iter(range(len(indices)))
    source = importlib.import_module(f"diffusers.schedulers.{module}")
    monkeypatch.setattr(source, "randn_tensor", lambda *_, **__: noise(next(draws), x))
    for i in indices:
        D = DENOISE(x, (int(i) + 1) / N)
        x = scheduler.step(predict(D, x) if predict else D, int(i), x, **options).prev_sample
    return x


INDICES = [980, 700, 420, 250, 120, 40, 7, 0]
TIMES = [*((i + 1) / N for i in INDICES), 0.0]
X = LAW.at(CHAIN, TIMES[0]).sample(50, seed=1, dtype=F64)


@pytest.mark.parametrize("variance, solver", [
    ("fixed_small", sd.solvers.DDPM()), ("fixed_small", sd.ExpEuler()), ("fixed_large", sd.solvers.DDPM("large")),
])  # fmt: skip
def test_ddpm(variance, solver, monkeypatch):
    diffusers = pytest.importorskip("diffusers")
    scheduler = exact_chain(
        diffusers.DDPMScheduler(variance_type=variance, clip_sample=False, prediction_type="sample")
    )
    scheduler.set_timesteps(timesteps=INDICES)
    theirs = run(scheduler, "scheduling_ddpm", INDICES, X, monkeypatch)
    ours = sd.solve(sd.Reverse(CHAIN, DENOISE, 1.0), solver, X, TIMES, seed=SEED)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_learned_variance(monkeypatch):
    """A network's second half w in [-1, 1] is v = (w + 1)/2, per coordinate."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = exact_chain(
        diffusers.DDPMScheduler(variance_type="learned_range", clip_sample=False, prediction_type="sample")
    )
    scheduler.variance_type = "learned_range"
    scheduler.set_timesteps(timesteps=INDICES)
    theirs = run(
        scheduler, "scheduling_ddpm", INDICES, X, monkeypatch, lambda D, x: torch.cat([D, torch.tanh(3 * x)], 1)
    )
    solver = sd.solvers.LearnedDDPM(lambda x, t: (torch.tanh(3 * x) + 1) / 2)
    ours = sd.solve(sd.Reverse(CHAIN, DENOISE, 1.0), solver, X, TIMES, seed=SEED)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.5, 1.0])
def test_ddim_eta(eta, monkeypatch):
    diffusers = pytest.importorskip("diffusers")
    scheduler = exact_chain(diffusers.DDIMScheduler(clip_sample=False, prediction_type="sample"))
    scheduler.set_timesteps(20)
    indices = scheduler.timesteps.tolist()
    theirs = run(scheduler, "scheduling_ddim", indices, X, monkeypatch, eta=eta)
    times = [*((i + 1) / N for i in indices), 0.0]
    equation = sd.Reverse(CHAIN, DENOISE, eta)
    ours = sd.solve(equation, sd.solvers.DDIM(), X, times, seed=SEED)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    family = sd.solve(equation, sd.ExpEuler(), X, times, seed=SEED)  # the eta of Reverse is another one between
    assert torch.allclose(family, theirs, atol=1e-10) == (eta in (0.0, 1.0))


EDM = sd.process.EDM()
D_EDM = LAW.denoiser(EDM)


def score_sde(n: int, module: str, monkeypatch, draws):
    """ScoreSdeVe with n sigmas in float64, and the sigmas in the order in which they are used."""
    diffusers = pytest.importorskip("diffusers")
    source = importlib.import_module(f"diffusers.schedulers.{module}")
    monkeypatch.setattr(source, "randn_tensor", lambda *_, **__: next(draws))
    scheduler = source.ScoreSdeVeScheduler(num_train_timesteps=n, sigma_min=0.01, sigma_max=50.0, snr=0.16)
    assert isinstance(scheduler, diffusers.ScoreSdeVeScheduler)
    scheduler.discrete_sigmas = torch.logspace(-2, torch.log10(torch.tensor(50.0)), n, dtype=F64)
    return scheduler, scheduler.discrete_sigmas.flip(0).tolist()


def song_score(x, sigma):
    return (D_EDM(x, sigma) - x) / sigma**2


def test_reverse_diffusion_predictor(monkeypatch):
    """On the clock of the noise level, down to sigma_min; diffusers goes on to 0 and adds noise on the way."""
    x = LAW.at(EDM, 50.0).sample(40, seed=1, dtype=F64)
    scheduler, sigmas = score_sde(30, "scheduling_sde_ve", monkeypatch, (noise(n, x) for n in range(30)))
    ours = sd.solve(sd.Reverse(EDM, D_EDM, 1.0), sd.solvers.ReverseDiffusion(), x, sigmas, seed=SEED)
    for t, sigma in zip(scheduler.timesteps.tolist()[:-1], sigmas, strict=False):
        x = scheduler.step_pred(song_score(x, sigma), t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-10, atol=1e-10)


def test_euler_ancestral_is_ddpm():
    """k-diffusion's Euler a at eta = 1, noise fed from our seed, is the DDPM posterior step on the clock of sigma."""
    x = LAW.at(EDM, 20.0).sample(40, seed=1, dtype=F64)
    sigmas = torch.tensor([20.0, 6.0, 2.0, 0.7, 0.2, 0.05], dtype=F64)
    draws = iter(range(10))
    theirs = k_diffusion().sample_euler_ancestral(
        ModelK(D_EDM), x, sigmas, disable=True, noise_sampler=lambda *_: noise(next(draws), x)
    )
    for solver in (sd.solvers.DDPM(), sd.solvers.row("ancestral").make(), sd.ExpEuler()):
        ours = sd.solve(sd.Reverse(EDM, D_EDM, 1.0), solver, x, sigmas, seed=SEED)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    vp = sd.process.VP()  # and on a variance-preserving process as well: the step knows sigma/alpha only
    times = vp.t_of_lam(-sigmas.log())
    scale = [float(vp.alpha(float(t))) for t in (times[0], times[-1])]
    ours = sd.solve(sd.Reverse(vp, LAW.denoiser(vp), 1.0), sd.solvers.DDPM(), scale[0] * x, times, seed=SEED) / scale[1]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("norm, rows", [("sample", 1), ("batch", 9)])
def test_langevin_corrector(norm, rows, monkeypatch):
    """Their means over the batch; for a batch of one that is the norm of the sample."""
    x, sigma = LAW.at(EDM, 0.5).sample(rows, seed=1, dtype=F64), 0.5
    scheduler, _ = score_sde(30, "scheduling_sde_ve", monkeypatch, iter([noise(0, x)]))
    theirs = scheduler.step_correct(song_score(x, sigma), x).prev_sample
    solver = sd.solvers.LangevinCorrector(0.16, norm=norm)
    ours = sd.solve(sd.Reverse(EDM, D_EDM, 1.0), solver, x, [0.6, sigma], seed=SEED)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


FLOW = sd.process.RectifiedFlow()
D_FLOW = LAW.denoiser(FLOW)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("key, name", [("flow_euler", "FlowMatchEulerDiscreteScheduler"),
                                       ("flow_heun", "FlowMatchHeunDiscreteScheduler")])  # fmt: skip
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_matching(key, name, shift):
    """From noise to data at their own sigmas."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = getattr(diffusers, name)(shift=shift)
    scheduler.set_timesteps(12)
    times = scheduler.sigmas.unique().flip(0).double()
    scheduler.sigmas = scheduler.sigmas.double()
    x = start = sd.noise.normal((50, 2), 1, dtype=F64)
    for t in scheduler.timesteps:
        at = float(scheduler.sigmas[scheduler.step_index if scheduler.step_index is not None else 0])
        v = (x.double() - D_FLOW(x.double(), at)) / at
        x = scheduler.step(v, t, x).prev_sample
    ours = sd.solve(sd.Reverse(FLOW, D_FLOW, 0.0), sd.solvers.row(key).make(), start, times)
    torch.testing.assert_close(ours, x.double(), rtol=1e-10, atol=1e-10)


def test_flow_midpoint():
    torchdiffeq = pytest.importorskip("torchdiffeq")
    times, x = torch.linspace(1, 0.05, 8, dtype=F64), sd.noise.normal((50, 2), 1, dtype=F64)
    theirs = torchdiffeq.odeint(lambda t, y: (y - D_FLOW(y, float(t))) / t, x, times, method="midpoint")[-1]
    ours = sd.solve(sd.Reverse(FLOW, D_FLOW, 0.0), sd.solvers.row("flow_midpoint").make(), x, times)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
