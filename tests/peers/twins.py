"""Runs of a row and of its public twin from one start, on one grid, with one model and one noise, in either precision.

A runner takes (key of the row, dtype, monkeypatch, the twin's own settings) and returns (our state, their state). The
model is smooth and mild, so that single precision is lost by neither side; the files beside this one go into every
grid, order and dial in double precision.
"""

import importlib
import itertools
import math

import numpy as np
import torch
import torchdiffeq
import torchsde
from torch import Tensor
from torchdiffeq._impl.rk_common import rk4_step_func

import sdelab as sd
from benchmarks.peers import ModelK, k_diffusion
from sdelab.levy import LevyBrownian
from sdelab.sde import Stratonovich
from sdelab.solvers.invertible import invert
from sdelab.solvers.linear import clock
from sdelab.solvers.unipc import UniC, UniPC
from tests.test_classical import Peer

F64 = torch.float64
VP, EDM, FLOW, CHAIN = sd.process.VP(), sd.process.EDM(), sd.process.RectifiedFlow(), sd.process.DiscreteBetas()
LAW = sd.distributions.ring(modes=3, std=0.5)
STEPS, ROWS, SEED = 9, 16, 7
TS = sd.grids.logsnr(VP, STEPS, t_start=0.95, t_end=0.02)
SIGMAS = sd.grids.karras(EDM, STEPS, t_start=5.0, t_end=0.05)
RATES = 1 + sd.noise.uniform((ROWS, 2), 2, dtype=F64)


def start(process, t: float, dtype) -> Tensor:
    return LAW.at(process, t).sample(ROWS, seed=1, dtype=F64).to(dtype)


def path(dtype):
    """Any function of two times serves as a path here; a smooth one does not see the last digit of a time."""
    rates = RATES.to(dtype)
    return lambda a, b: 3 * (torch.sin(rates * math.log1p(b)) - torch.sin(rates * math.log1p(a)))


def normal(dtype, lam_s: float, lam_t: float, eta: float) -> Tensor:
    """The path's increment over a step on the exponential clock, at standard deviation 1."""
    a, b = clock(eta**2, lam_s), clock(eta**2, lam_t)
    return path(dtype)(a, b) / math.sqrt(b - a)


def ours(key: str, process, x: Tensor, times, *, solver=None, seed=None) -> Tensor:
    row = sd.solvers.row(key)
    brownian = path(x.dtype) if row.stochastic and seed is None else None
    equation = sd.Reverse(process, LAW.denoiser(process), row.eta)
    return sd.solve(equation, solver or row.make(), x, times, seed, brownian=brownian)


def eps(process, x: Tensor, t: float) -> Tensor:
    return sd.Reverse(process, LAW.denoiser(process), 0.0).eps(x, t)


def k_sampler(key, dtype, patch, name, **options):
    """k-diffusion's sampler of that name in sigma; its noise is the path's."""
    x, row = start(EDM, 5.0, dtype), sd.solvers.row(key)
    if row.strong is not None:
        options["noise_sampler"] = lambda s, t: normal(dtype, -math.log(s), -math.log(t), row.eta)
    seed = None
    if "s_churn" in options:  # fresh noise, drawn in every step
        played = iter([sd.noise.normal(x.shape, SEED, (sd.noise.STEP, n), dtype=dtype) for n in range(STEPS)])
        patch.setattr(torch, "randn_like", lambda _: next(played))
        seed = SEED
    sample = getattr(k_diffusion(), f"sample_{name}")
    theirs = sample(ModelK(LAW.denoiser(EDM)), x, SIGMAS.to(dtype), disable=True, **options)
    return ours(key, EDM, x, SIGMAS, seed=seed), theirs


def k_step(key, dtype, patch, name):
    """One of the steps of k-diffusion's DPMSolver, chained."""
    peer, x = k_diffusion().DPMSolver(ModelK(LAW.denoiser(EDM))), start(EDM, 5.0, dtype)
    theirs, ts = x, SIGMAS.to(dtype)
    for s, t in itertools.pairwise(ts):
        theirs, _ = getattr(peer, name)(theirs, peer.t(s), peer.t(t))
    return ours(key, EDM, x, SIGMAS), theirs


def k_fast(key, dtype, patch):
    x = start(EDM, 5.0, dtype)
    theirs = k_diffusion().sample_dpm_fast(ModelK(LAW.denoiser(EDM)), x, 0.05, 5.0, 11, disable=True)
    return ours(key, EDM, x, sd.grids.exponential(EDM, 4, t_start=5.0, t_end=0.05)), theirs


def k_adaptive(key, dtype, patch, order):
    """On one sample, where the worst sample of the batch is the mean over it."""
    x = start(EDM, 5.0, dtype)[:1]
    sample = k_diffusion().sample_dpm_adaptive
    theirs = sample(ModelK(LAW.denoiser(EDM)), x, 0.05, 5.0, disable=True, order=order)
    return ours(key, EDM, x, [5.0, 0.05]), theirs


def stepped(scheduler, ts, x: Tensor, predict, **options) -> Tensor:
    """A scheduler of diffusers with ``sigmas`` driven on the times ``ts`` of VP."""
    scheduler.set_timesteps(len(ts) - 1)
    scheduler.sigmas, scheduler.timesteps = (-VP.lam(ts)).exp().to(x.dtype), torch.arange(len(ts) - 1, 0, -1)
    for n, (t, label) in enumerate(zip(ts.tolist(), scheduler.timesteps, strict=False)):
        extra = {name: value(n) for name, value in options.items()}
        x = scheduler.step(predict(x, t), label, x, **extra).prev_sample
    return x


def diffused(key, dtype, patch, name, each=1, sde=False, **options):
    """diffusers' multistep or single-step scheduler, predicting D; ``each``: steps of theirs to one of ours."""
    diffusers = importlib.import_module("diffusers")
    options = {"prediction_type": "sample", "lower_order_final": False, **options}
    if "DEIS" not in name and "SA" not in name:
        options["final_sigmas_type"] = "sigma_min"
    lam, x = VP.lam(TS).tolist(), start(VP, 0.95, dtype)
    noises = [normal(dtype, s, t, 1.0) for s, t in itertools.pairwise(lam)]
    extra = {}
    if "SA" in name:
        played = iter(noises)
        patch.setattr("diffusers.schedulers.scheduling_sasolver.randn_tensor", lambda *_, **__: next(played))
    elif sde:
        extra["variance_noise"] = lambda n: noises[n]
    scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
    ts = TS[: STEPS // each * each + 1]
    return ours(key, VP, x, ts[::each]), stepped(scheduler, ts, x, LAW.denoiser(VP), **extra)


class HalvedStart(UniC):
    """diffusers' UniC, whose first correction has 1/2 in place of the exact weight."""

    def entry(self, step):
        entry, h = super().entry(step), step.h
        weights = UniPC(1).correction(h, 1.0, [h, 0.0])
        return entry._replace(correct=[step.t.alpha * w for w in weights]) if not step.past else entry


def unic(key, dtype, patch):
    """UniC on another scheduler, diffusers' solver_p."""
    diffusers = importlib.import_module("diffusers")
    options = {"prediction_type": "sample", "lower_order_final": False, "final_sigmas_type": "sigma_min"}
    inner = diffusers.DPMSolverMultistepScheduler(solver_order=2, **options)
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=2, solver_p=inner, **options)
    scheduler.set_timesteps(STEPS)
    inner.sigmas, inner.timesteps = (-VP.lam(TS)).exp().to(dtype), torch.arange(STEPS, 0, -1)
    patch.setattr(inner, "set_timesteps", lambda *_, **__: None)
    x = start(VP, 0.95, dtype)
    return ours(key, VP, x, TS, solver=HalvedStart(sd.DPMpp2M())), stepped(scheduler, TS, x, LAW.denoiser(VP))


def discrete(key, dtype, patch, name):
    """A scheduler of diffusers that keeps sigmas of its own: ours runs on them, and the model sees the same levels."""
    diffusers = importlib.import_module("diffusers")
    options = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}  # sigma to 14.6
    scheduler = getattr(diffusers, f"{name}DiscreteScheduler")(**options)
    scheduler.set_timesteps(STEPS)
    times = [*dict.fromkeys(scheduler.sigmas.double().tolist())]
    row, asked = sd.solvers.row(key), []
    process = sd.process.EDM(sigma_max=times[0])
    denoise, x = LAW.denoiser(process), start(process, times[0], dtype)
    equation = sd.Reverse(process, lambda x, t: asked.append(t) or denoise(x, t), row.eta)
    out = sd.solve(equation, row.make(), x, times, brownian=path(dtype) if row.stochastic else None)
    module, lam = importlib.import_module(type(scheduler).__module__), [-math.log(t) for t in times[:-1]]
    played = iter([*(normal(dtype, a, b, row.eta) for a, b in itertools.pairwise(lam)), torch.zeros_like(x)])
    patch.setattr(module, "randn_tensor", lambda *_, **__: next(played), raising=False)
    assert len(asked) == len(scheduler.timesteps)
    for level, t in zip(asked, scheduler.timesteps, strict=True):
        scheduler.scale_model_input(x, t)
        x = scheduler.step((x - denoise(x, level)) / level, t, x, return_dict=False)[0]
    return out, x


def lms(key, dtype, patch):
    """diffusers' LMS, its sigmas ours: at sigma = 0 it would take a step of four points, where we denoise."""
    scheduler = importlib.import_module("diffusers").LMSDiscreteScheduler(prediction_type="sample")
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas, scheduler.timesteps = SIGMAS.to(dtype), torch.arange(STEPS, 0, -1)
    scheduler.is_scale_input_called = True
    x = theirs = start(EDM, 5.0, dtype)
    for sigma, label in zip(SIGMAS.tolist(), scheduler.timesteps, strict=False):
        theirs = scheduler.step(LAW.denoiser(EDM)(theirs, sigma), label, theirs).prev_sample
    return ours(key, EDM, x, SIGMAS), theirs


def ipndm(key, dtype, patch):
    """Its network predicts v = alpha eps - sigma x_0."""
    scheduler, x = importlib.import_module("diffusers").IPNDMScheduler(), start(VP, 0.95, dtype)
    scheduler.set_timesteps(STEPS)
    alpha, sigma = VP.alpha(TS).to(dtype), VP.sigma(TS).to(dtype)
    scheduler.alphas, scheduler.betas, scheduler.timesteps = alpha, sigma, torch.arange(STEPS, 0, -1)
    theirs = x
    for t, a, s, label in zip(TS.tolist(), alpha, sigma, scheduler.timesteps, strict=False):
        v = a * eps(VP, theirs, t) - s * LAW.denoiser(VP)(theirs, t)
        theirs = scheduler.step(v, label, theirs).prev_sample
    return ours(key, VP, x, TS), theirs


def pndm(key, dtype, patch, **options):
    """A chain of 2 STEPS indices whose even ones are our times and whose odd ones their midpoints."""
    chain = torch.stack([TS, torch.cat([(TS[1:] + TS[:-1]) / 2, TS[-1:]])], 1).flatten()[:-1].flip(0)
    make = importlib.import_module("diffusers").PNDMScheduler
    scheduler = make(num_train_timesteps=2 * STEPS, steps_offset=2, **options)
    scheduler.alphas_cumprod = (VP.alpha(chain) ** 2).to(dtype)
    scheduler.set_timesteps(STEPS)
    x = theirs = start(VP, 0.95, dtype)
    for label in scheduler.timesteps.tolist():
        theirs = scheduler.step(eps(VP, theirs, float(chain[label])), label, theirs).prev_sample
    return ours(key, VP, x, TS), theirs


N, INDICES = 1000, [940, 700, 420, 250, 120, 40, 7, 0]


def chained(key, dtype, patch, name, indices=INDICES, predict=lambda D: D, step={}, **options):  # noqa: B006
    """A scheduler on the indices of a discrete chain, whose last step is to the data; times are (index + 1)/N."""
    diffusers = importlib.import_module("diffusers")
    scheduler = getattr(diffusers, f"{name}Scheduler")(prediction_type="sample", clip_sample=False, **options)
    scheduler.alphas_cumprod = (CHAIN.alpha(torch.arange(1, N + 1, dtype=F64) / N) ** 2).to(dtype)
    scheduler.one = scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=dtype)
    scheduler.variance_type = options.get("variance_type")
    if name == "DDPM":
        scheduler.set_timesteps(timesteps=indices)
    else:
        scheduler.set_timesteps(len(indices))
        assert scheduler.timesteps.tolist() == indices
    times = [*((i + 1) / N for i in indices), 0.0]
    row, lam = sd.solvers.row(key), CHAIN.lam(torch.tensor(times, dtype=F64)).tolist()
    if row.stochastic:
        played = iter([normal(dtype, s, t, row.eta) for s, t in itertools.pairwise(lam[:-1])] + [torch.zeros(ROWS, 2)])
        module = importlib.import_module(type(scheduler).__module__)
        patch.setattr(module, "randn_tensor", lambda *_, **__: next(played))
    x = theirs = start(CHAIN, times[0], dtype)
    for i, t in zip(indices, times, strict=False):
        theirs = scheduler.step(predict(LAW.denoiser(CHAIN)(theirs, t)), i, theirs, **step).prev_sample
    return ours(key, CHAIN, x, times), theirs


def upwards(key, dtype, patch):
    """diffusers' DDIMInverseScheduler against ``invert``: data to noise, on the times of one of its grids."""
    scheduler = importlib.import_module("diffusers").DDIMInverseScheduler(prediction_type="sample", clip_sample=False)
    scheduler.alphas_cumprod = (CHAIN.alpha(torch.arange(1, N + 1, dtype=F64) / N) ** 2).to(dtype)
    scheduler.set_timesteps(10)
    indices = scheduler.timesteps.tolist()
    x = theirs = start(CHAIN, (indices[0] + 1) / N, dtype)
    for i, j in itertools.pairwise(indices):  # the step named j starts at i
        theirs = scheduler.step(LAW.denoiser(CHAIN)(theirs, (i + 1) / N), j, theirs).prev_sample
    equation = sd.Reverse(CHAIN, LAW.denoiser(CHAIN), 0.0)
    times = [(i + 1) / N for i in reversed(indices)]
    return invert(equation, sd.solvers.row(key).make(), x, times), theirs


def score(x: Tensor, sigma: float) -> Tensor:
    return (LAW.denoiser(EDM)(x, sigma) - x) / sigma**2


def song(key, dtype, patch, predict=False, correct=False, solver=None):
    """Song's predictor, corrector or both in diffusers' ScoreSdeVeScheduler, down to sigma_min."""
    module = importlib.import_module("diffusers.schedulers.scheduling_sde_ve")
    scheduler = module.ScoreSdeVeScheduler(num_train_timesteps=30, sigma_min=0.05, sigma_max=5.0, snr=0.16)
    sigmas = torch.logspace(math.log10(0.05), math.log10(5.0), 30, dtype=F64)
    scheduler.discrete_sigmas, times = sigmas.to(dtype), sigmas.flip(0).tolist()
    x = theirs = start(EDM, 5.0, dtype)
    keys = [(sd.noise.STEP, n, *j) for n in range(29) for j in ([()] if predict != correct else [(), (1,)])]
    played = iter([sd.noise.normal(x.shape, SEED, key, dtype=dtype) for key in keys])
    patch.setattr(module, "randn_tensor", lambda *_, **__: next(played))
    for n, sigma in enumerate(times[:-1]):
        if predict:
            label = scheduler.timesteps.tolist()[n]
            theirs = scheduler.step_pred(score(theirs, sigma), label, theirs).prev_sample
        if correct:  # at the end of a step
            theirs = scheduler.step_correct(score(theirs, times[n + 1]), theirs).prev_sample
    return ours(key, EDM, x, times, solver=solver and solver(), seed=SEED), theirs


def karras_ve(key, dtype, patch):
    """Algorithm 2 of Karras et al. in diffusers' retired KarrasVeScheduler."""
    module = importlib.import_module("diffusers.schedulers.deprecated.scheduling_karras_ve")
    scheduler, times = module.KarrasVeScheduler(), SIGMAS.tolist()
    scheduler.num_inference_steps = STEPS
    x = theirs = start(EDM, 5.0, dtype)
    played = iter([sd.noise.normal(x.shape, SEED, (sd.noise.STEP, n), dtype=dtype) for n in range(STEPS)])
    patch.setattr(module, "randn_tensor", lambda *_, **__: next(played))
    net = lambda y, sigma: sigma * score(y, sigma)  # noqa: E731
    for s, t in itertools.pairwise(times):
        hat, level = scheduler.add_noise_to_input(theirs, s)
        first = scheduler.step(net(hat, level), level, t, hat)
        y, d = first.prev_sample, first.derivative
        theirs = scheduler.step_correct(net(y, t), level, t, hat, y, d).prev_sample
    return ours(key, EDM, x, times, seed=SEED), theirs


def flow(key, dtype, patch, name):
    diffusers = importlib.import_module("diffusers")
    scheduler = getattr(diffusers, f"FlowMatch{name}DiscreteScheduler")(shift=3.0)
    scheduler.set_timesteps(STEPS)
    sigmas = scheduler.sigmas.to(dtype)
    scheduler.sigmas = sigmas
    x = theirs = sd.noise.normal((ROWS, 2), 1, dtype=dtype)
    for t in scheduler.timesteps:
        at = float(scheduler.sigmas[scheduler.step_index or 0])
        v = (theirs - LAW.denoiser(FLOW)(theirs, at)) / at
        theirs = scheduler.step(v, t, theirs).prev_sample
    return ours(key, FLOW, x, sigmas.unique().flip(0).double()), theirs


def drift(x, t):
    return torch.sin(x) * math.cos(3 * t) - 0.4 * x * x.roll(1, -1)


LINE = torch.linspace(0, 1, STEPS, dtype=F64)


def torch_ode(key, dtype, patch, method, solver=None, on_edm=False, **options):
    """torchdiffeq on an equation in t, or (``on_edm``) on the probability-flow ODE of the process in its clock."""
    row = sd.solvers.row(key)
    solver = solver() if solver else row.make()
    if on_edm or row.family == "flow":
        process = EDM if on_edm else FLOW
        times = SIGMAS if on_edm else torch.linspace(0.95, 0.05, STEPS, dtype=F64)
        equation, x = sd.Reverse(process, LAW.denoiser(process), 0.0), start(process, float(times[0]), dtype)
        slope = lambda t, y: (y - LAW.denoiser(process)(y, float(t))) / t  # noqa: E731
    else:
        equation, times, x = sd.SDE(drift), LINE, sd.noise.normal((3, 2), 1, dtype=dtype)
        slope = lambda t, y: drift(y, float(t))  # noqa: E731
    theirs = torchdiffeq.odeint(slope, x, times.to(dtype), method=method, options=options)[-1]
    return sd.solve(equation, solver, x, times), theirs


def rk4(key, dtype, patch):
    """torchdiffeq's "rk4" is Kutta's 3/8 rule; the classical one stands beside it, without a name."""
    step, x = rk4_step_func, sd.noise.normal((3, 2), 1, dtype=dtype)
    theirs = x
    for s, t in itertools.pairwise(LINE.tolist()):
        theirs = theirs + step(lambda t, y, perturb=None: drift(y, float(t)), s, t - s, t, theirs)
    return sd.solve(sd.SDE(drift), sd.solvers.row(key).make(), x, LINE), theirs


def pair(key, dtype, patch, method):
    """One step of scipy's pair, which is always taken in double precision."""
    x, h = sd.noise.normal((3, 2), 1, dtype=dtype), 0.125
    start = x.double()
    peer = method(lambda t, y: drift(torch.from_numpy(y).reshape(x.shape), t).numpy().ravel(), 0.0,
                  start.numpy().ravel(), 1.0, first_step=h, rtol=1.0, atol=1.0)  # fmt: skip
    peer.step()
    assert peer.t == h
    theirs = torch.from_numpy(np.asarray(peer.y)).reshape(x.shape).to(dtype)
    return sd.solve(sd.SDE(drift), sd.solvers.row(key).make(), x, [0.0, h]), theirs


def torch_sde(key, dtype, patch, method, kind="ito", additive=False, **options):
    """On the same path, with a drift and a diffusion that depend on the state (unless ``additive``) and on time."""

    class Equation(torch.nn.Module):
        noise_type, sde_type = "additive" if additive else "diagonal", kind

        def f(self, t, x):
            return torch.sin(x) - 0.5 * x * t

        def g(self, t, x):
            return torch.diag_embed((0.3 + 0.1 * t) * torch.ones_like(x)) if additive else 0.3 * torch.cos(x) + 0.1 * t

    theirs, brownian = Equation(), LevyBrownian((5, 2), 0.0, 1.0, seed=2, dtype=dtype)
    x, bm = sd.noise.normal((5, 2), 1, dtype=dtype), Peer(brownian, (5, 2))
    patch.setattr(Peer, "dtype", dtype)
    g = (lambda x, t: 0.3 + 0.1 * t) if additive else (lambda x, t: theirs.g(t, x))
    equation = (sd.SDE if kind == "ito" else Stratonovich)(lambda x, t: theirs.f(t, x), g)
    ts = LINE.to(dtype)
    exact = torchsde.sdeint(theirs, x, ts, bm=bm, method=method, dt=0.125, options=dict(options))[-1]
    return sd.solve(equation, sd.solvers.row(key).make(), x, LINE, brownian=brownian), exact
