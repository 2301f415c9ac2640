"""Training: weights of losses, times, averages, and a loop that a kill does not change."""

import functools
import math
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab import nets, targets, train

PROCESSES = [sd.process.VP(), sd.process.EDM(), sd.process.RectifiedFlow(), sd.process.SubVP()]
LAW = sd.distributions.ring()
STREAM = functools.partial(LAW.sample, seed=1)


def normal(shape, seed=0):
    return sd.noise.normal(shape, seed=seed, dtype=torch.float64)


def small(process=None, predicts="edm", **kwargs):
    return nets.Denoiser(nets.MLP(2, width=8, depth=1, **kwargs), process or sd.process.VP(), predicts=predicts)


def awake(denoiser):
    with torch.no_grad():
        for k, p in enumerate(denoiser.parameters()):
            p.add_(0.2 * sd.noise.normal(p.shape, seed=50 + k, dtype=p.dtype))
    return denoiser


def equal(a, b):
    """Two runs, bit for bit."""
    for x, y in ((a.denoiser, b.denoiser), (a.ema, b.ema)):
        assert x.state_dict().keys() == y.state_dict().keys()
        if not all(torch.equal(v, y.state_dict()[name]) for name, v in x.state_dict().items()):
            return False
    return torch.equal(a.losses, b.losses)


# ---- losses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", targets.NAMES)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_a_targets_weight_is_its_direct_loss(process, name):
    """Any denoiser, turned into a prediction of the target: its squared error is w |D - x_0|^2."""
    x0, eps = normal((6, 2)), normal((6, 2), seed=1)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64) * process.T
    denoiser = awake(small(process).double())
    x = process.perturb(x0, t, eps)
    p, q = targets.basis(process, t, name)
    predicted = targets.convert(denoiser(x, t), x, t, process, "x0", name)
    direct = ((predicted - p[:, None] * x0 - q[:, None] * eps) ** 2).mean(1)
    torch.testing.assert_close(train.loss(denoiser, x0, t, eps, name), direct, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["edm", *targets.NAMES])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_without_a_weighting_it_is_the_plain_error_of_what_the_network_predicts(process, name):
    x0, eps = normal((6, 2)), normal((6, 2), seed=1)
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64) * process.T
    denoiser = awake(small(process, name).double())
    x = process.perturb(x0, t, eps)
    if name == "edm":
        wanted = denoiser.scales.target(x0, x, t)
    else:
        p, q = targets.basis(process, t, name)
        wanted = p[:, None] * x0 + q[:, None] * eps
    direct = ((denoiser.prediction(x, t) - wanted) ** 2).mean(1)
    torch.testing.assert_close(train.loss(denoiser, x0, t, eps), direct, rtol=1e-9, atol=0)


def test_weights_in_closed_form():
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    for process in PROCESSES:
        a, s = process.alpha(t * process.T), process.sigma(t * process.T)
        forms = {
            "x0": torch.ones(5, dtype=torch.float64),
            "eps": a**2 / s**2,
            "v": (a**2 + s**2) ** 2 / s**2,
            "score": a**2 / s**4,
            "edm": (a**2 * 0.49 + s**2) / (s * 0.7) ** 2,
            "min_snr": torch.minimum(a**2 / s**2, torch.tensor(5.0)),
            "likelihood": process.g(t * process.T) ** 2 * a**2 / s**4,
            "sigmoid": a**2 / s**2 / (1 + math.exp(-2) * a**2 / s**2),
        }
        for name, expected in forms.items():
            torch.testing.assert_close(train.weight(name, process, t * process.T, 0.7), expected, rtol=1e-9, atol=0)
    flow = sd.process.RectifiedFlow()
    torch.testing.assert_close(train.weight("velocity", flow, t), 1 / t**2)
    assert train.weight(lambda process, s: s**3, flow, 0.5) == 0.125


def test_likelihood_weighting_bounds_the_likelihood():
    """E log p_0(x_0) >= -E log-prior cost - 1/2 int g^2 (loss on the score) + ..., with equality for a Gaussian.

    For data N(0, 1) under VP nothing changes: p_t = N(0, 1), score -x. The loss on the conditional score then has the
    mean 1/sigma^2 - 1, so the weighted loss is g^2 (1/sigma^2 - 1) = g^2 alpha^2/sigma^2, for D = alpha x.
    """
    process, n = sd.process.VP(), 200_000
    x0, eps = normal((n, 1)), normal((n, 1), seed=1)

    class Linear:
        process, sigma_data, predicts = sd.process.VP(), 1.0, "x0"

        def __call__(self, x, t):
            return float(self.process.alpha(t)) * x

    for t in (0.2, 0.6):
        value = train.loss(Linear(), x0, t, eps, "likelihood")
        exact = float(process.g2(t) * process.alpha(t) ** 2 / process.var(t))
        away = (float(value.mean()) - exact) / (float(value.std()) / n**0.5)
        assert abs(away) < 4.42 and abs(away + 0.03 * exact / (float(value.std()) / n**0.5)) > 4.42


def test_loss_errors():
    denoiser, x0 = small().double(), normal((4, 2))
    with pytest.raises(ValueError, match="unknown weighting 'min_snrs'; did you mean 'min_snr'"):
        train.loss(denoiser, x0, 0.5, x0, "min_snrs")
    with pytest.raises(ValueError, match="keep away from sigma = 0"):
        train.loss(denoiser, x0, 0.0, x0, "eps")
    with pytest.raises(ValueError, match="negative"):
        train.weight(lambda process, t: -t, sd.process.VP(), 0.5)
    with pytest.raises(ValueError, match="'likelihood'"):
        train.weight("likelihood", sd.process.RectifiedFlow(), 1.0)


# ---- times --------------------------------------------------------------------------------------------------------


def kolmogorov(u):
    """Largest distance of the empirical law of u from the uniform one, times sqrt(n); 2.47 at level 1e-5."""
    u, n = u.sort().values, len(u)
    k = torch.arange(n, dtype=torch.float64)
    return float(torch.maximum((u - k / n).abs(), ((k + 1) / n - u).abs()).max()) * n**0.5


CDFS = {
    "uniform": lambda p, t: (t - p.t_min) / (p.T - p.t_min),
    "logsnr": lambda p, t: (p.lam(t) - p.lam(p.t_min)) / (p.lam(p.T) - p.lam(p.t_min)),
    "lognormal": lambda p, t: torch.special.ndtr((-p.lam(t) + 1.2) / 1.2),
}


@pytest.mark.parametrize("name", train.TIMES)
@pytest.mark.parametrize("process", [sd.process.VP(), sd.process.EDM()], ids=lambda p: p.name)
def test_times_have_their_law(process, name):
    t = train.draw_times(process, 20_000, name, seed=3, stratified=False)
    if name == "lognormal":  # the few beyond the ends stand at the ends
        t = torch.where((t > process.t_min) & (t < process.T), t, math.nan)
        assert t.isnan().double().mean() < 1e-2
        u = CDFS[name](process, t)
        u = u[~u.isnan()]
        u = (u - u.min()) / (u.max() - u.min())
    else:
        u = CDFS[name](process, t)
    assert kolmogorov(u) < 2.47 < kolmogorov(u**1.06)


@pytest.mark.parametrize("name", train.TIMES)
@pytest.mark.parametrize("process", [*PROCESSES, sd.process.VE(), sd.process.Cosine(), sd.process.ZeroSNR()], ids=repr)
def test_times_stay_where_training_is_possible(process, name):
    t = train.draw_times(process, 1000, name, seed=0)
    assert process.t_min <= t.min() and t.max() <= process.T
    assert train.weight("edm", process, t).isfinite().all()


def test_stratified_times_cover_every_stretch_once():
    n = 64
    for step in range(50):
        t = train.draw_times(None, n, lambda u: u, seed=0, step=step)
        assert torch.equal((t * n).floor().sort().values, torch.arange(n, dtype=torch.float64))
        free = train.draw_times(None, n, lambda u: u, seed=0, step=step, stratified=False)
        assert len((free * n).floor().unique()) < n
    many = torch.stack([train.draw_times(None, 4, lambda u: u, seed=0, step=k) for k in range(3000)])
    for row in many.T:  # and each of them alone is uniform
        assert kolmogorov(row) < 2.47 < kolmogorov(row**1.2)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_a_lognormal_law_of_ones_own(process):
    """Quantiles of log(sigma/alpha) ~ N(m, s^2): the median is m, the 84.13th percentile m + s."""
    law = train.lognormal(process, -0.4, 0.9)
    u = torch.tensor([0.5, 0.8413447460685429, 0.15865525393145707], dtype=torch.float64)
    torch.testing.assert_close(-process.lam(law(u)), -0.4 + 0.9 * torch.tensor([0.0, 1, -1]).double())
    times = train.draw_times(process, 50, law, seed=3)
    torch.testing.assert_close(train.draw_times(process, 50, train.lognormal(process), seed=3),
                               train.draw_times(process, 50, "lognormal", seed=3))  # fmt: skip
    assert not torch.equal(times, train.draw_times(process, 50, "lognormal", seed=3))
    with pytest.raises(ValueError, match="P_std must be positive"):
        train.lognormal(process, 0.0, 0.0)


def test_times_errors():
    with pytest.raises(ValueError, match="unknown law of times 'log_snr'; did you mean 'logsnr'"):
        train.draw_times(sd.process.VP(), 4, "log_snr", seed=0)
    with pytest.raises(ValueError, match="needs a process"):
        train.draw_times(None, 4, seed=0)


# ---- averages -----------------------------------------------------------------------------------------------------


def averaged(decay, values):
    ema = train.EMA({"w": torch.zeros((), dtype=torch.float64)}, decay)
    for k, v in enumerate(values, 1):
        ema.update({"w": v}, k)
    return ema.averages["w"]


def test_averages_are_their_weighted_sums():
    values = normal((200,))
    k = torch.arange(1, 201, dtype=torch.float64)
    w = 0.97 ** (200 - k)
    torch.testing.assert_close(averaged(train.constant_ema(0.97), values), (w / w.sum()) @ values)
    assert averaged(train.constant_ema(0.0), values) == values[-1]
    # b_k = (1 - 1/k)^(g + 1) gives the weights (1 - b_k) prod_{j > k} b_j = (k^(g + 1) - (k - 1)^(g + 1))/K^(g + 1)
    gamma = train.power_exponent(0.1)
    w = (k ** (gamma + 1) - (k - 1) ** (gamma + 1)) / 200 ** (gamma + 1)
    torch.testing.assert_close(averaged(train.power_ema(0.1), values), w @ values)
    assert abs(float(w.sum()) - 1) < 1e-12


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1, 0.15, 0.25])
def test_exponent_of_the_power_function_gives_its_width(sigma_rel):
    gamma = train.power_exponent(sigma_rel)
    tau = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    w = tau**gamma / (tau**gamma).sum()
    mean = w @ tau
    assert abs(float((w @ (tau - mean) ** 2).sqrt()) - sigma_rel) < 1e-6
    if sigma_rel == 0.1:
        assert abs(gamma - 6.94) < 0.01  # Karras et al. (2024) give 6.94 for 0.10


def test_average_errors():
    with pytest.raises(ValueError, match=r"0\.2887"):
        train.power_ema(0.3)
    for decay in (1.0, -0.1):
        with pytest.raises(ValueError, match="the decay of an average"):
            train.constant_ema(decay)


# ---- the loop -----------------------------------------------------------------------------------------------------


def by_hand(denoiser, data, steps, lr, decay, clip=None, batch=8):
    """The loop written out with plain tensors: Adam, bias-corrected, and the average as a weighted sum."""
    model = small(seed=0)
    model.load_state_dict(denoiser.state_dict())
    params = list(model.parameters())
    m, v, seen = [torch.zeros_like(p) for p in params], [torch.zeros_like(p) for p in params], []
    for k in range(steps):
        x0, _ = train.loop.batch_of(data, batch, 5, k)
        t = train.draw_times(model.process, batch, seed=5, step=k)
        eps = sd.noise.normal(x0.shape, 5, (sd.noise.TRAIN, k, train.times.EPS), dtype=x0.dtype)
        grads = torch.autograd.grad(train.loss(model, x0, t, eps).mean(), params)
        if clip is not None:
            norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
            grads = [g * min(1.0, clip / norm) for g in grads]
        with torch.no_grad():
            for p, g, a, b in zip(params, grads, m, v, strict=True):
                a.mul_(0.9).add_(0.1 * g)
                b.mul_(0.999).add_(0.001 * g**2)
                p -= lr(k) * (a / (1 - 0.9 ** (k + 1))) / ((b / (1 - 0.999 ** (k + 1))).sqrt() + 1e-8)
        seen.append([p.detach().clone() for p in params])
    w = torch.tensor([decay ** (steps - 1 - k) for k in range(steps)])
    average = [sum(c * p for c, p in zip(w / w.sum(), ps, strict=True)) for ps in zip(*seen, strict=True)]
    return params, average


@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_loop_is_adam_with_an_average(clip):
    start, data = awake(small()), LAW.sample(100, seed=3)
    before = [p.detach().clone() for p in start.parameters()]
    rate = train.cosine(1e-2, 12, warmup=3)
    run = train.fit(start, data, steps=12, batch=8, lr=rate, seed=5, ema=0.8, clip=clip)
    params, average = by_hand(start, data, 12, rate, 0.8, clip)
    for mine, theirs in zip(run.denoiser.parameters(), params, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)
    for mine, theirs in zip(run.ema.parameters(), average, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=2e-5)
        assert not mine.requires_grad
    assert all(torch.equal(p, q) for p, q in zip(start.parameters(), before, strict=True))  # left as it was
    assert run.losses.shape == (12,) and run.losses.dtype == torch.float64


def test_learning_rate():
    rate = train.cosine(2.0, 110, warmup=10)
    assert [rate(k) for k in (0, 9, 10, 60)] == pytest.approx([2 / 11, 20 / 11, 2.0, 1.0])
    assert 0 < rate(109) < 1e-3
    with pytest.raises(ValueError, match="warmup"):
        train.cosine(1.0, 10, 10)


def test_batches_of_tensors_and_streams():
    data = torch.arange(10.0)[:, None]
    rows = torch.cat([train.loop.batch_of(data, 50, 0, k)[0] for k in range(200)])[:, 0].long()
    counts = torch.bincount(rows, minlength=10).double()
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 40.5  # chi-square, 9 degrees of freedom, level about 6e-6
    assert torch.equal(train.loop.batch_of(STREAM, 5, 0, 3)[0], LAW.sample(20, seed=1)[15:])


def test_the_same_call_gives_the_same_bits_and_another_seed_others():
    a, b, c = (train.fit(small(), STREAM, steps=5, batch=8, seed=s) for s in (0, 0, 1))
    assert equal(a, b) and not equal(a, c)


def test_an_objective_of_ones_own_and_a_model_without_a_process():
    """Implicit score matching of a linear score s = -a x on N(0, 4): a = 1/4."""

    class Linear(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

        def forward(self, x, t):
            return -self.a * x

    run = train.fit(
        Linear(),
        lambda n, first: 2 * sd.noise.normal((n, 3), seed=8, first=first, dtype=torch.float64),
        steps=400,
        lr=train.cosine(2e-2, 400),
        times=lambda u: u,
        ema=0.95,
        objective=lambda s, x0, t, eps: sd.score_matching.implicit(s, x0, t),
    )
    assert abs(float(run.ema.a) - 0.25) < 0.01
    with pytest.raises(ValueError, match="needs a process"):
        train.fit(Linear(), STREAM, steps=1)


def faces(n, *, first=0):
    """Images 4 x 4 of two classes, N(+1, 0.3^2) and N(-1, 0.3^2) in every number, with their classes."""
    y = (sd.noise.uniform((n,), 3, first=first) < 0.5).long()
    return (1 - 2 * y)[:, None, None, None] + 0.3 * sd.noise.normal((n, 1, 4, 4), 4, first=first), y


def faces_model():
    return nets.Denoiser(nets.UNet(1, width=8, levels=1, attention=False, classes=2), sd.process.EDM())


def test_classes_are_learned_and_their_absence_too():
    """Against the exact denoisers of each Gaussian and of both together, where the class is no longer to be seen."""
    run = train.fit(faces_model(), faces, steps=250, batch=64, lr=5e-3, times=lambda u: 3 + 6 * u, ema=0.95, drop=0.3)
    model, t, one = run.ema, 6.0, torch.ones(1, 16)
    x = (faces(400, first=5000)[0] + t * normal((400, 1, 4, 4))).float()
    both = sd.distributions.GaussianMixture([0.5, 0.5], torch.cat([one, -one]), 0.3)
    laws = {0: sd.distributions.gaussian(one[0], 0.3), 1: sd.distributions.gaussian(-one[0], 0.3), None: both}
    for y in laws:
        exact = {k: v.denoiser(model.process)(x.flatten(1), t).view_as(x) for k, v in laws.items()}
        error = {k: float((model.of(y)(x, t) - v).square().mean().sqrt()) for k, v in exact.items()}
        assert error[y] < 0.3 and all(e > 0.5 for k, e in error.items() if k != y), (y, error)


def test_classes_are_dropped_as_often_as_told():
    y = torch.arange(20_000) % 5
    for share in (0.0, 0.1, 1.0):
        out = train.loop.dropped(y, share, 0, 7)
        assert bool(((out == y) | (out == -1)).all())
        assert abs(float((out == -1).double().mean()) - share) <= 4.5 * math.sqrt(share * (1 - share) / 20_000)
    assert not torch.equal(train.loop.dropped(y, 0.5, 0, 7), train.loop.dropped(y, 0.5, 0, 8))


def test_a_run_with_classes_goes_on_to_the_bit(tmp_path):
    def run(steps, file=None, data=None, **more):
        return train.fit(
            faces_model(), data or faces(64), steps=steps, batch=8, checkpoint=file, progress=False, **more
        )

    whole, file = run(12), tmp_path / "run"
    run(5, file)
    assert equal(run(12, file), whole)
    x, y = faces(64)
    for change in (dict(data=(x, 1 - y)), dict(drop=0.2)):
        with pytest.raises(ValueError, match=r"another configuration: (data|drop)"):
            run(12, file, **change)


def test_progress_shows_the_loss(capsys):
    train.fit(small(), STREAM, steps=3, batch=8)
    assert not capsys.readouterr().err  # no terminal, no bar
    train.fit(small(), STREAM, steps=60, batch=8, progress=True)
    assert "fit:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data, drop, says",
    [
        ((torch.ones(4, 1, 4, 4), torch.zeros(3).long()), 0.1, "4 classes"),
        ((torch.ones(4, 1, 4, 4), torch.zeros(4)), 0.1, "whole numbers"),
        (faces, 1.5, "between 0 and 1"),
    ],
)
def test_classes_that_do_not_fit_are_told(data, drop, says):
    with pytest.raises(ValueError, match=says):
        train.fit(faces_model(), data, steps=1, batch=2, drop=drop)


def test_errors():
    with pytest.raises(ValueError, match="must be positive"):
        train.fit(small(), STREAM, steps=0)
    with pytest.raises(ValueError, match="must be positive"):
        train.fit(small(), STREAM, steps=1, clip=0.0)
    with pytest.raises(TypeError, match="data must be a floating-point tensor"):
        train.fit(small(), torch.zeros(4, 2, dtype=torch.int64), steps=1)
    with pytest.raises(ValueError, match="data holds NaN"):
        train.fit(small(), torch.full((4, 2), math.nan), steps=1)
    with pytest.raises(ValueError, match="requires_grad_"):
        train.fit(small().requires_grad_(False), STREAM, steps=1)
    with pytest.raises(ValueError, match="give a weighting or an objective"):
        train.fit(small(), STREAM, steps=1, weighting="eps", objective=train.loss)
    with pytest.raises(ValueError, match="one loss per sample"):
        train.fit(small(), STREAM, steps=1, objective=lambda D, x0, t, eps: x0.mean())


def test_divergence_names_the_step(tmp_path):
    def bad(D, x0, t, eps):
        bad.calls += 1
        return train.loss(D, x0, t, eps) * (math.inf if bad.calls == 7 else 1.0)

    bad.calls = 0
    with pytest.raises(FloatingPointError, match="in step 7: lower lr"):
        train.fit(small(), STREAM, steps=20, batch=8, objective=bad, checkpoint=tmp_path / "x", every=5)
    kept, _ = sd.checkpoint.load(tmp_path / "x")
    with pytest.raises(FloatingPointError, match="the weights became infinite or NaN in step 1"):
        train.fit(small(), STREAM, steps=1, batch=8, lr=math.inf, checkpoint=tmp_path / "y")
    assert not (tmp_path / "y").exists()
    assert len(kept["losses"]) == 5 and all(v.isfinite().all() for v in kept.values())


def distances(denoiser, process, n=4096, count=10):
    """Sliced Wasserstein distances to the exact law, of samples and of exact draws: `count` of each."""
    found, floor = [], []
    for k in range(count):
        x_T = sd.noise.prior(process, (n, 2), seed=100 + k)
        with torch.no_grad():
            x = sd.sample(denoiser, process, x_T, solver="dpmpp_2m", grid="karras", steps=50)
        exact, other = (LAW.sample(n, seed=s + k) for s in (200, 300))
        found.append(sd.metrics.sliced_wasserstein(x, exact, seed=k))
        floor.append(sd.metrics.sliced_wasserstein(other, exact, seed=k))
    return torch.stack(found), torch.stack(floor)


def test_a_small_network_learns_the_ring():
    """Within 1.5 of the statistical floor after seconds on one thread; untrained it is far away."""
    process = sd.process.VP()
    start = nets.Denoiser(nets.MLP(2, width=64, depth=3), process)
    rate = train.cosine(1e-2, 1500, warmup=100)
    run = train.fit(start, STREAM, steps=1500, batch=512, lr=rate, times="logsnr", ema=0.99)
    found, floor = distances(run.ema, process)
    print(f"trained {found.mean():.4f}, floor {floor.mean():.4f}, ratio {found.mean() / floor.mean():.2f}")
    assert found.mean() < 1.5 * floor.mean()
    assert distances(start, process, count=2)[0].mean() > 3 * floor.mean()


def test_training_on_an_accelerator(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    settings: dict[str, Any] = dict(steps=30, batch=64, lr=1e-2, every=10)
    cpu = train.fit(awake(small()), STREAM, **settings)
    gpu = train.fit(awake(small()).cuda(), STREAM, checkpoint=tmp_path / "run", **settings)
    assert next(gpu.ema.parameters()).is_cuda and not gpu.losses.is_cuda
    torch.testing.assert_close(gpu.losses, cpu.losses, rtol=1e-3, atol=1e-3)
    longer = train.fit(awake(small()).cuda(), STREAM, checkpoint=tmp_path / "run", **{**settings, "steps": 40})
    assert torch.equal(longer.losses[:30], gpu.losses) and longer.losses.isfinite().all()
    x = normal((4, 2)).float().cuda()
    assert longer.ema(x, 0.3).is_cuda


# ---- checkpoints --------------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = dict(steps=40, batch=16, seed=2, ema=0.9, clip=1.0, times="lognormal")


class Stop(Exception):
    pass


def stopping(at):
    """A stream that breaks off when the run asks for batch ``at``."""

    def stream(n, first):
        if first >= at * n:
            raise Stop
        return STREAM(n, first=first)

    stream.__qualname__ = "stream"
    return stream


@pytest.mark.parametrize("schedule", [1e-2, train.cosine(1e-2, 40, 5)], ids=["constant", "cosine"])
def test_a_run_that_stops_anywhere_and_goes_on_has_the_same_bits(schedule, tmp_path):
    whole = train.fit(small(), STREAM, lr=schedule, **SETTINGS)
    for at in (3, 7, 20, 39):
        path = tmp_path / f"at{at}"
        for stop in (at, at + 4):  # twice
            with pytest.raises(Stop):
                train.fit(small(), stopping(min(stop, 39)), lr=schedule, checkpoint=path, every=3, **SETTINGS)
        again = train.fit(small(), STREAM, lr=schedule, checkpoint=path, every=7, **SETTINGS)
        assert equal(whole, again)
        assert equal(whole, train.fit(small(), stopping(1), lr=schedule, checkpoint=path, **SETTINGS))  # all was done


def test_the_bits_depend_on_all_that_is_kept(tmp_path):
    """Each part of the state, dropped from the file, would be missed: the twin of the test above."""
    path = tmp_path / "run"
    whole = train.fit(small(), STREAM, lr=1e-2, **SETTINGS)
    with pytest.raises(Stop):
        train.fit(small(), stopping(20), lr=1e-2, checkpoint=path, every=10, **SETTINGS)
    kept, config = sd.checkpoint.load(path)
    for part in ("weights/", "average/", "adam/exp_avg/", "adam/exp_avg_sq/", "adam/step/", "losses"):
        spoilt = {name: 0.999 * v if name.startswith(part) else v for name, v in kept.items()}
        sd.checkpoint.save(path, spoilt, config)
        assert not equal(whole, train.fit(small(), STREAM, lr=1e-2, checkpoint=path, **SETTINGS)), part


def test_constant_rates_go_on_beyond_the_end(tmp_path):
    path, settings = tmp_path / "run", {**SETTINGS, "steps": 25}
    train.fit(small(), STREAM, checkpoint=path, **settings)
    longer = train.fit(small(), STREAM, checkpoint=path, **SETTINGS)
    assert equal(longer, train.fit(small(), STREAM, **SETTINGS))
    with pytest.raises(ValueError, match="has done 40 steps, more than the 25 asked for"):
        train.fit(small(), STREAM, checkpoint=path, **settings)


@pytest.mark.parametrize(
    "change, told",
    [
        (dict(batch=17), "batch: 16 in the file, 17 here"),
        (dict(seed=3), "seed: 2 in the file, 3 here"),
        (dict(lr=2e-3), "lr: 0.001 in the file, 0.002 here"),
        (dict(lr=train.cosine(1e-3, 40)), "lr: 0.001 in the file"),
        (dict(ema=train.power_ema(0.1)), "ema: 0.9 in the file"),
        (dict(clip=None), "clip: 1.0 in the file, None here"),
        (dict(times="uniform"), "times: lognormal in the file, uniform here"),
        (dict(stratified=False), "stratified: True in the file"),
        (dict(weighting="eps"), "objective: loss(weighting=None) in the file, loss(weighting=eps) here"),
        (dict(data=functools.partial(LAW.sample, seed=2)), "data: "),
        (dict(data=LAW.sample(50, seed=1)), "data: "),
        (
            dict(model=small(sd.process.VP(beta_max=19.0))),
            "process: VP(beta_min=0.1, beta_max=20.0, T=1.0) in the file, VP(beta_min=0.1, beta_max=19.0, T=1.0)",
        ),
        (dict(model=small(sd.process.Cosine())), "T=1.0) in the file, Cosine(s=0.008, T=0.9946) here"),
        (dict(model=small(predicts="v")), "predicts='v'"),
        (dict(model=small(seed=1)), "start: "),
        (dict(model=small().double()), "model.network.enter.weight: float32 (8, 2) in the file, float64 (8, 2) here"),
        (dict(model=nets.Denoiser(nets.MLP(2, 9, 1), sd.process.VP())), "MLP(dim=2, width=8, depth=1) in the file"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_another_run_is_refused_and_the_difference_named(change, told, tmp_path):
    path = tmp_path / "run"
    settings = {**SETTINGS, "steps": 2}
    train.fit(small(), STREAM, checkpoint=path, **settings)
    before = path.read_bytes()
    model, data = change.pop("model", small()), change.pop("data", STREAM)
    with pytest.raises(ValueError, match="belongs to another configuration") as error:
        train.fit(model, data, checkpoint=path, **{**settings, **change})
    assert told in str(error.value)
    assert path.read_bytes() == before


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run"
    train.fit(small(), STREAM, checkpoint=path, **SETTINGS)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:4], whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            train.fit(small(), STREAM, checkpoint=path, **SETTINGS)
        assert path.read_bytes() == damaged


def test_weights_can_be_loaded_into_a_fresh_denoiser(tmp_path):
    path = tmp_path / "run"
    run = train.fit(small(), STREAM, checkpoint=path, **SETTINGS)
    x = normal((5, 2))
    for averaged_, wanted in ((True, run.ema), (False, run.denoiser)):
        fresh = small(seed=9)
        loaded = train.load(path, fresh, averaged_)
        assert torch.equal(loaded(x, 0.3), wanted(x, 0.3)) and not loaded(x, 0.3).requires_grad
        assert not torch.equal(fresh(x, 0.3), wanted(x, 0.3))
    with pytest.raises(ValueError, match=r"beta_max=20\.0.* in the file"):
        train.load(path, small(sd.process.VP(beta_max=5.0)))


def test_buffers_are_kept(tmp_path):
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nets.MLP(2, 8, 1)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x, c):
            self.seen += 1
            return self.inner(x, c)

    path = tmp_path / "run"
    for steps in (5, 9):
        run = train.fit(
            nets.Denoiser(Counting(), sd.process.VP()), STREAM, checkpoint=path, **{**SETTINGS, "steps": steps}
        )
    loaded = train.load(path, nets.Denoiser(Counting(), sd.process.VP()))
    assert [float(m.get_buffer("network.seen")) for m in (run.ema, run.denoiser, loaded)] == [9, 9, 9]


KILLED = """
import functools, sys, torch
import sdelab as sd
torch.set_num_threads(1)
denoiser = sd.nets.Denoiser(sd.nets.MLP(2, width=8, depth=1), sd.process.VP())
stream = functools.partial(sd.distributions.ring().sample, seed=1)
run = sd.train.fit(denoiser, stream, steps=600, batch=16, lr=1e-2, ema=0.9, checkpoint=sys.argv[1], every=2)
"""


INTERRUPTED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + KILLED.replace(
    "every=2", "every=10_000"
).replace(
    "run =",
    """plain = stream
def stream(n, first):
    if first == 20 * n:
        print("here", flush=True)
    return plain(n, first=first)
run =""",
)


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path):
    """SIGINT to a process of its own, which would otherwise have saved at its end only."""
    path = tmp_path / "run"
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(path)], stdout=-1, stderr=-1, text=True)
    assert child.stdout is not None and child.stdout.readline() == "here\n"
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=120)
    assert child.returncode and "stopped after step" in told, told
    assert 20 <= len(sd.checkpoint.load(path)[0]["losses"]) < 600
    whole = train.fit(small(), STREAM, steps=600, batch=16, lr=1e-2, ema=0.9)
    assert equal(whole, train.fit(small(), STREAM, steps=600, batch=16, lr=1e-2, ema=0.9, checkpoint=path))


def test_ctrl_c_waits_once(tmp_path, ctrl_c):
    """In this process: the first one is held to the end of the step, a second one is not; afterwards all is as ever."""
    before, calls = signal.getsignal(signal.SIGINT), []

    def stream(n, first):
        calls.append(first // n)
        for _ in range(presses if first == 5 * n else 0):
            signal.raise_signal(signal.SIGINT)
        return STREAM(n, first=first)

    for presses, steps in ((1, 6), (2, 4)):
        path = tmp_path / f"run {presses}"
        with pytest.raises(KeyboardInterrupt, match="after step 6" if presses == 1 else "^$"):
            train.fit(small(), stream, steps=20, batch=4, checkpoint=path, every=4)
        assert len(sd.checkpoint.load(path)[0]["losses"]) == steps
        assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):  # without a checkpoint nothing is to be saved: at once
        train.fit(small(), stream, steps=20, batch=4)


def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path, ctrl_c):
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def stream(n, first):
        signal.raise_signal(signal.SIGINT)
        return STREAM(n, first=first)

    assert len(train.fit(small(), stream, steps=4, batch=4, checkpoint=tmp_path / "run").losses) == 4


def test_in_another_thread_ctrl_c_is_left_alone(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        settings: dict[str, Any] = dict(steps=4, batch=4, checkpoint=tmp_path / "run")
        assert equal(
            pool.submit(train.fit, small(), STREAM, **settings).result(), train.fit(small(), STREAM, steps=4, batch=4)
        )


def test_a_watcher_sees_the_run_and_cannot_change_it(tmp_path):
    seen = []

    def watch(run):
        seen.append((len(run.losses), float(run.losses[-1])))
        for p in (*run.ema.parameters(), *run.denoiser.parameters()):
            p.data.add_(1.0)
        run.losses.zero_()

    run = train.fit(small(), STREAM, steps=10, batch=8, every=4, watch=watch)
    plain = train.fit(small(), STREAM, steps=10, batch=8)
    assert seen == [(n, float(plain.losses[n - 1])) for n in (4, 8, 10)]
    assert equal(run, plain)


def test_kill_9_at_several_moments(tmp_path):
    """A process of its own, killed without warning again and again, and resumed: bits of a run that nobody killed."""
    whole = train.fit(small(), STREAM, steps=600, batch=16, lr=1e-2, ema=0.9)
    path, reached = tmp_path / "run", [0]
    for kill in range(3):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
        try:
            deadline, before = time.monotonic() + 120, path.stat().st_mtime_ns if path.exists() else 0
            while not path.exists() or path.stat().st_mtime_ns == before:  # until it has written once in this life
                assert child.poll() is None and time.monotonic() < deadline
                time.sleep(0.002)
            time.sleep(0.05 + 0.031 * kill)
        finally:
            child.kill()
        assert child.wait() == -9, "the child was done before it was killed: give it more steps"
        reached.append(len(sd.checkpoint.load(path)[0]["losses"]))
    assert all(np.diff(reached) > 0) and reached[-1] < 600
    assert equal(whole, train.fit(small(), STREAM, steps=600, batch=16, lr=1e-2, ema=0.9, checkpoint=path))
