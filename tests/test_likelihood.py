"""Likelihoods against closed forms and quadrature, Hutchinson's estimate against its exact variance, planted faults."""

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats

import sdelab as sd
from sdelab import likelihood
from sdelab.likelihood import bits_per_dim, dequantise, divergence, draw_probes, log_prob

F64 = torch.float64
FIVE_SIGMA = float(stats.norm.isf(0.5e-5))  # two-sided, level 1e-5
PROCESSES = [sd.process.VP(), sd.process.VE(), sd.process.EDM(), sd.process.RectifiedFlow(), sd.process.Cosine(),
             sd.process.ZeroSNR(), sd.process.TrigFlow(), sd.process.DiscreteBetas()]  # fmt: skip
by_name = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)


def normal(*shape, key=0, seed=5):
    return sd.noise.normal(shape, seed, key=key, dtype=F64)


def low_rank(d=64, rank=4, modes=3):
    """A centred mixture of ``modes`` Gaussians near planes of that rank, each of its own."""
    A = 0.5 * normal(modes, d, rank)
    means = 0.6 * normal(modes, d, key=1)
    covs = A @ A.mT + 0.1**2 * torch.eye(d, dtype=F64)
    return sd.distributions.GaussianMixture(torch.ones(modes), means - means.mean(0), covs)


def flow_of(process, law):
    return sd.Reverse(process, law.denoiser(process), eta=0.0)


def prior_of(process, law):
    """The exact law at T, but None where the default is exact."""
    return None if float(process.alpha(process.T)) == 0 else law.at(process, process.T)


class Net(torch.nn.Module):
    """A small network D(x, t) of states (n, ...) with fixed random weights, preconditioned for any process."""

    def __init__(self, process, d=2, hidden=24, dtype=F64):
        super().__init__()
        self.d = d
        self.A, self.B = (
            torch.nn.Parameter((normal(*s) / math.sqrt(s[1])).to(dtype)) for s in ((hidden, d + 1), (d, hidden))
        )
        angle = lambda t: torch.atan2(process.sigma(t), process.alpha(t))  # noqa: E731
        self.D = sd.targets.Preconditioning(process, 1.0, angle).denoiser(self.inner)

    def inner(self, x, c):
        flat = torch.cat([x.reshape(-1, self.d), c.expand(len(x), 1)], 1)
        return (torch.tanh(flat @ self.A.T) @ self.B.T).reshape(x.shape)

    def forward(self, x, t):
        return self.D(x, t)


# --- against densities in closed form ---------------------------------------------------------------------------------
@by_name
@pytest.mark.parametrize("t_start", [None, 0.0], ids=["t_min", "zero"])
@pytest.mark.parametrize("name", ["ring", "moons"])
def test_two_dimensions(process, t_start, name):
    """The law at t_start, and the data's own density from t = 0, in the bulk and where there are next to no data."""
    law = sd.distributions.table[name]()
    x = torch.cat([law.sample(24, seed=1, dtype=F64), 3 * normal(8, 2)])
    r = log_prob(flow_of(process, law), x, t_start=t_start, prior=prior_of(process, law))
    exact = law.log_prob(x) if t_start == 0 else law.at(process, process.t_min).log_prob(x)
    off = (r.value - exact).abs()
    assert off[:24].max() < 1e-4 and (off[24:] / exact[24:].abs()).max() < 1e-5 and exact.min() < -500
    assert (r.error == 0).all() and r.samples.shape == (1, 32)


@pytest.mark.parametrize("process", PROCESSES[:4], ids=lambda p: p.name)
def test_sixty_four_dimensions(process):
    law = low_rank()
    x = law.sample(4, seed=1, dtype=F64)
    r = log_prob(flow_of(process, law), x, t_start=0.0, prior=prior_of(process, law))
    assert (r.value - law.log_prob(x)).abs().max() < 2e-4


@by_name
def test_the_default_prior_is_off_by_the_data_left_at_T(process):
    """log N(z; 0, sigma_T^2) in place of log p_T(z): nothing in flows, below 1e-3 nats for centred data of unit size
    where alpha_T/sigma_T < 0.015, and the difference of the two log-densities at z everywhere."""
    law = sd.distributions.ring()
    x = law.sample(32, seed=1, dtype=F64)
    r = log_prob(flow_of(process, law), x, t_start=0.0)
    sigma = float(process.sigma(process.T))
    gap = torch.distributions.Normal(0.0, sigma).log_prob(r.z).sum(1) - law.at(process, process.T).log_prob(r.z)
    assert (r.value - law.log_prob(x) - gap).abs().max() < 1e-4
    assert gap.abs().max() < 1e-3 or float(process.alpha(process.T)) / sigma > 0.015


def test_a_denoiser_off_by_three_percent_is_seen():
    law, process = sd.distributions.ring(), sd.process.VP()
    D = law.denoiser(process)
    x = law.sample(16, seed=1, dtype=F64)
    r = log_prob(sd.Reverse(process, lambda x, t: 1.03 * D(x, t), 0.0), x, prior=law.at(process, 1.0))
    assert (r.value - law.at(process, process.t_min).log_prob(x)).abs().min() > 1e-3


@pytest.mark.parametrize("factor", [1.0, 0.97], ids=["", "fault"])
def test_the_density_of_any_network_integrates_to_one(factor, monkeypatch):
    """Whatever the network: the flow only moves mass. With 3 % of the divergence missing it does not."""
    right = likelihood._with_divergence
    monkeypatch.setattr(
        likelihood, "_with_divergence", lambda *a: [s * y for s, y in zip((1, factor), right(*a), strict=True)]
    )
    process = sd.process.EDM()
    axis = torch.arange(-7, 7.01, 0.2, dtype=F64)
    r = log_prob(sd.Reverse(process, Net(process), 0.0), torch.cartesian_prod(axis, axis), rtol=1e-6)
    off = abs(float(r.value.exp().sum()) * 0.2**2 - 1)
    assert off < 1e-5 if factor == 1 else off > 1e-2


def test_fixed_steps_have_their_order_and_reach_the_adaptive_answer():
    law, process = sd.distributions.gaussian((0.5, -0.3), 0.4), sd.process.RectifiedFlow()
    ode, x = flow_of(process, law), normal(5, 2)
    exact = law.at(process, 0.1).log_prob(x)
    errors = []
    for steps in (10, 20, 40, 80):
        phi = torch.linspace(math.atan2(0.1, 0.9), 0.5 * math.pi, steps + 1, dtype=F64)
        times = (phi.sin() / (phi.sin() + phi.cos())).clamp_max(1.0)
        errors.append(float((log_prob(ode, x, times=times).value - exact).abs().max()))
    slopes = [math.log2(a / b) for a, b in pairwise(errors)]
    assert abs(slopes[-1] - 4) < 0.15 and errors[-1] < 1e-6
    r = log_prob(ode, x, times=[0.1, 1.0], solver=sd.Adaptive(sd.solvers.Tsit5(), 1e-9, 1e-9))
    assert (r.value - exact).abs().max() < 1e-6
    inner = log_prob(ode, x, times=torch.linspace(0.1, 0.5, 81), prior=law.at(process, 0.5))
    assert (inner.value - exact).abs().max() < 1e-6


# --- Hutchinson's estimate --------------------------------------------------------------------------------------------
def within(sample, mean):
    """Whether the mean of a sample is ``mean``, at level 1e-5."""
    return abs(float(sample.mean()) - mean) < FIVE_SIGMA * float(sample.std()) / math.sqrt(len(sample))


def variance_is(sample, exact):
    """Whether the variance of a sample is ``exact``, at level 1e-5, by the spread of the squared deviations."""
    return within((sample - sample.mean()).square(), exact)


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_variance_of_one_product_is_the_closed_form(kind):
    """2 (|S|^2 - sum S_ii^2) for signs, 2 |S|^2 for normals, with the *symmetric* part S of A."""
    A = normal(5, 5) + torch.eye(5, dtype=F64)
    v = draw_probes(kind, (4000, 5), 200, seed=1, dtype=F64)
    out = divergence(lambda x: x @ A.T, normal(4000, 5), v)
    S = 0.5 * (A + A.T)
    variance = 2 * float(S.square().sum() - (S.diagonal().square().sum() if kind == "rademacher" else 0))
    assert out.shape == (200, 4000)
    assert within(out.flatten(), float(A.trace())) and variance_is(out.flatten(), variance)
    assert not variance_is(out.flatten(), 1.03 * variance)  # planted
    wrong = 2 * float(A.square().sum() - (A.diagonal().square().sum() if kind == "rademacher" else 0))
    assert not variance_is(out.flatten(), wrong)
    other = {"rademacher": S.square().sum(), "gaussian": S.square().sum() - S.diagonal().square().sum()}[kind]
    assert not variance_is(out.flatten(), 2 * float(other))


def correlated(d=6):
    """A Gaussian law with correlations, and S = integral of the Jacobian over the way from t = 0 to T: along an axis of
    variance c the flow scales by sqrt(v_T/c), v_T that of u at T, so S = 1/2 log(v_T/C)."""
    A = normal(d, d, key=2) / math.sqrt(d)
    C = 0.1 * A @ A.T + 0.005 * torch.eye(d, dtype=F64)
    var, axes = torch.linalg.eigh(C)
    return sd.distributions.GaussianMixture([1.0], torch.zeros(1, d), C[None]), axes @ torch.diag(
        -0.5 * var.log()
    ) @ axes.T


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_log_likelihood_is_unbiased_and_its_error_bar_is_right(kind):
    law, S = correlated()
    ode = flow_of(sd.process.RectifiedFlow(), law)
    x = law.sample(20_000, seed=1, dtype=F64)
    r = log_prob(ode, x, divergence=kind, probes=4, seed=3, t_start=0.0, rtol=1e-4, atol=1e-4)
    off = r.value - law.log_prob(x)
    variance = 2 * float(S.square().sum() - (S.diagonal().square().sum() if kind == "rademacher" else 0)) / 4
    assert within(off, 0.0) and variance_is(off, variance) and within(r.error.square(), variance)
    for fault in (r.samples.std(0), r.samples.std(0, correction=0) / 2, 1.03 * r.error):  # wrong normalisations
        assert not within(fault.square(), variance)
    scores = off / r.error  # Student's t would need normal estimates; they are nearly so
    assert 0.85 < float((scores.abs() < float(stats.t.isf(0.025, 3))).double().mean()) < 0.99


@pytest.mark.parametrize("kind", ["rademacher", "gaussian"])
def test_probes_of_another_length_or_used_twice_are_seen(kind, monkeypatch):
    law, S = correlated()
    ode, x = flow_of(sd.process.RectifiedFlow(), law), law.sample(4000, seed=1, dtype=F64)
    right, exact = likelihood.draw_probes, law.log_prob(x)
    run = {"divergence": kind, "probes": 2, "seed": 3, "t_start": 0.0, "rtol": 1e-3, "atol": 1e-3}
    monkeypatch.setattr(likelihood, "draw_probes", lambda *a: 1.03 * right(*a))
    assert not within(log_prob(ode, x, **run).value - exact, 0.0)
    monkeypatch.setattr(likelihood, "draw_probes", lambda *a: right(*a)[:1].repeat(2, *[1] * x.ndim))
    r = log_prob(ode, x, **run)
    one = 2 * float(S.square().sum() - (S.diagonal().square().sum() if kind == "rademacher" else 0))
    assert variance_is(r.value - exact, one) and (r.error < 1e-9).all()  # no smaller for two, and the bar says nothing


def test_probes_are_a_pure_function_of_seed_number_and_row():
    for kind in ("rademacher", "gaussian"):
        v = draw_probes(kind, (40, 3, 2), 3, seed=4, dtype=F64)
        assert torch.equal(v[:, 25:], draw_probes(kind, (15, 3, 2), 3, seed=4, first=25, dtype=F64))
        assert torch.equal(v[:2], draw_probes(kind, (40, 3, 2), 2, seed=4, dtype=F64))
        assert not torch.equal(v[0], v[1]) and not torch.equal(v, draw_probes(kind, (40, 3, 2), 3, seed=5, dtype=F64))
    signs = draw_probes("rademacher", (2000, 4), 5, seed=4, dtype=F64)
    assert (signs.abs() == 1).all() and within(signs.flatten(), 0.0)
    law = sd.distributions.ring()
    ode, x = flow_of(sd.process.VP(), law), law.sample(7, seed=1, dtype=F64)
    run = {"divergence": "gaussian", "probes": 2, "times": torch.linspace(0.01, 1.0, 12)}
    whole, part = log_prob(ode, x, **run), log_prob(ode, x[4:], first=4, **run)
    assert (whole.samples[:, 4:] - part.samples).abs().max() < 1e-12


def test_one_probe_has_no_error_bar():
    law, process = sd.distributions.ring(), sd.process.VP()
    assert log_prob(flow_of(process, law), normal(3, 2), divergence="gaussian", rtol=1e-2).error.isnan().all()


# --- networks, shapes, precisions -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype, near", [(F64, 1e-9), (torch.float32, 2e-3)], ids=["float64", "float32"])
def test_networks_on_images_and_their_price(dtype, near):
    """States of any shape, in and out of inference mode and no_grad; calls and products as counted from outside."""
    process = sd.process.VP()
    net, reference = Net(process, 12, dtype=dtype), Net(process, 12)
    x = normal(3, 1, 3, 4)
    counted = sd.NFE(net)
    r = log_prob(sd.Reverse(process, counted, 0.0), x.to(dtype))
    flat = log_prob(sd.Reverse(process, reference, 0.0), x.reshape(3, 12))
    assert r.value.dtype == r.z.dtype == dtype and r.z.shape == x.shape and not r.value.requires_grad
    assert counted.count == r.nfe and r.products == 12 * r.nfe
    assert (r.value - flat.value).abs().max() < near and (r.z.reshape(3, 12) - flat.z).abs().max() < near
    assert all(p.grad is None for p in net.parameters())
    with torch.inference_mode():
        again = log_prob(sd.Reverse(process, net, 0.0), x.to(dtype) + 0)
    assert torch.equal(again.value, r.value)
    few = log_prob(sd.Reverse(process, net, 0.0), x.to(dtype), divergence="rademacher", probes=3)
    assert few.products == 3 * few.nfe and few.samples.shape == (3, 3) and few.value.dtype == dtype
    none = log_prob(sd.Reverse(process, net, 0.0), x[:0].to(dtype))
    assert none.value.shape == (0,) and none.z.shape == (0, 1, 3, 4)


class Unbatched(torch.autograd.Function):
    """sin, with a backward pass in NumPy, which cannot be batched."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, g):
        return g * torch.from_numpy(ctx.saved_tensors[0].numpy().copy()).cos() * float(torch.ones(1).numpy()[0])


def test_exact_divergence_in_batches_one_by_one_and_in_pieces(monkeypatch):
    x, A = normal(6, 5), normal(5, 5)
    exact = (x @ A.T).cos() @ A.diagonal()
    assert (divergence(lambda x: Unbatched.apply(x @ A.T), x) - exact).abs().max() < 1e-12
    for chunk in (1, 60, 1 << 16):
        monkeypatch.setattr(likelihood, "_CHUNK", chunk)
        assert (divergence(lambda x: (x @ A.T).sin(), x) - exact).abs().max() < 1e-12


# --- bits per dimension -----------------------------------------------------------------------------------------------
MASS = torch.tensor([0.05, 0.3, 0.1, 0.0, 0.15, 0.02, 0.35, 0.03], dtype=F64)  # a law of 8 grey levels


def cells(law, low, high, points=400):
    """Midpoints of a fine grid within each of 8 cells of [low, high], (8, points), and log p there."""
    width = (high - low) / 8
    at = low + width * (torch.arange(8)[:, None] + (torch.arange(points, dtype=F64) + 0.5) / points)
    return at, law(at.reshape(-1, 1)).reshape(8, points), width


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.0, 1.0), (0.0, 8.0), (-3.0, 5.5)])
def test_dequantised_bits_bound_those_of_the_levels_and_are_them_for_a_flat_density(low, high):
    """By quadrature: E[-log2 p + offset] >= -sum P log2 Q, Q the model's mass of a cell; equal if p is flat in cells,
    and then with Q = P the entropy, on every scale."""
    w = (high - low) / 8
    smooth = sd.distributions.GaussianMixture([0.4, 0.6], [[low + 1.7 * w], [low + 6.1 * w]], [1.1 * w, 1.5 * w])
    _, log_p, width = cells(smooth.log_prob, low, high)
    Q = log_p.exp().mean(1) * width
    bits = float(MASS @ bits_per_dim(log_p, 1, width).mean(1))
    levels = float(-MASS @ Q.log2())
    assert levels < bits < levels + 0.2
    assert bits - levels > 5e-3  # for a density that is not flat the bound is strict
    entropy = -float(torch.special.xlogy(MASS, MASS).sum()) / math.log(2)
    assert levels > entropy
    k = torch.arange(8).repeat(50)
    x = dequantise(k, 8, seed=1, low=low, high=high, dtype=F64)
    cell = ((x - low) / width).floor().long()
    assert torch.equal(cell, k)
    flat = bits_per_dim((MASS / width).log()[cell], 1, width).reshape(50, 8).mean(0)
    assert abs(float(MASS[MASS > 0] @ flat[MASS > 0]) - entropy) < 1e-12


def test_bits_of_a_model_by_the_flow_against_quadrature():
    """Levels of two pixels, dequantised, under a mixture: the flow's mean bits against the sum over all cells."""
    law, process = sd.distributions.ring(modes=3, radius=0.5, std=0.3), sd.process.RectifiedFlow()
    k = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(20, 1)
    x = dequantise(k, 4, seed=2, dtype=F64)
    r = log_prob(flow_of(process, law), x, t_start=0.0)
    bits = bits_per_dim(r.value, 2, 2 / 4)
    assert (bits - (-law.log_prob(x) / math.log(2) / 2 + 1)).abs().max() < 1e-5
    fine = (torch.arange(400, dtype=F64) + 0.5) / 200 - 1
    log_p = law.log_prob(torch.cartesian_prod(fine, fine)).reshape(4, 100, 4, 100)
    exact = float((-log_p.mean((1, 3)) / math.log(2) / 2 + 1).mean())
    assert within(bits, exact) and exact > float((-(log_p.exp().mean((1, 3)) * 0.25).log2() / 2).mean())


def test_offsets_by_their_names():
    zero = torch.zeros(2)
    assert (bits_per_dim(zero, 3072) == 7).all() and (bits_per_dim(zero, 784, 1 / 256) == 8).all()
    assert abs(float(bits_per_dim(zero, 784, 2 / 255)[0]) - math.log2(127.5)) < 1e-6
    assert (bits_per_dim(zero, 784, 1.0) == 0).all()


def test_dequantisation_is_uniform_in_the_cell_and_splits():
    k = torch.full((4000, 2), 3, dtype=torch.uint8)
    x = dequantise(k, 16, seed=3, dtype=F64)
    u = (x + 1) * 8 - 3
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-5
    assert stats.kstest((1.03 * u).flatten().numpy(), "uniform").pvalue < 1e-5
    assert torch.equal(x[1000:], dequantise(k[1000:], 16, seed=3, first=1000, dtype=F64))
    assert dequantise(k, 16, seed=3).dtype == torch.float32
    assert dequantise(torch.full((10_000,), 255), seed=3).max() <= 1


# --- what is said where it cannot go on -------------------------------------------------------------------------------
def test_messages():
    law, process = sd.distributions.ring(), sd.process.VP()
    D, net, x = law.denoiser(process), Net(process), normal(3, 2)
    ode = sd.Reverse(process, D, 0.0)
    for told, call in [
        ("use sd.Reverse\\(..., eta=0.0\\)", lambda: log_prob(sd.Reverse(process, D, 1.0), x)),
        ("did you mean 'rademacher'", lambda: log_prob(ode, x, divergence="rademcher")),
        ("did you mean 'exact'", lambda: log_prob(ode, x, divergence="exat")),
        ("at least one probe", lambda: log_prob(ode, x, divergence="gaussian", probes=0)),
        ("end them at T = 1.0, or give prior=", lambda: log_prob(ode, x, times=[0.1, 0.5])),
        ("give either times or", lambda: log_prob(ode, x, t_start=0.1, times=[0.1, 1.0])),
        ("\\[0, T = 1.0\\), not at t = 1.0", lambda: log_prob(ode, x, t_start=1.0)),
        ("from data to noise to encode", lambda: log_prob(ode, x, times=[1.0, 0.1])),
        ("must lie in \\[0, T = 1.0\\]", lambda: log_prob(ode, x, times=[0.1, 1.5])),
        ("RK4 takes the steps it is given", lambda: log_prob(ode, x, solver=sd.RK4())),
        ("NaN or infinite", lambda: log_prob(ode, x * math.nan)),
        ("must not detach", lambda: log_prob(sd.Reverse(process, torch.no_grad()(D), 0.0), x)),
        ("must not detach", lambda: log_prob(sd.Reverse(process, lambda x, t: net(x.detach(), t), 0.0), x)),
        ("shape of its states", lambda: divergence(lambda x: x[:, :1], x)),
        ("prior's log_prob gave shape", lambda: log_prob(ode, x, prior=torch.distributions.Normal(0.0, 1.0))),
        ("dims must be at least 1", lambda: bits_per_dim(x, 0)),
        ("width of a level positive", lambda: bits_per_dim(x, 2, -1.0)),
        ("values in 0 … 255", lambda: dequantise(torch.tensor([256]), seed=0)),
        ("values in 0 … 3", lambda: dequantise(torch.tensor([-1]), 4, seed=0)),
        ("low must be below high", lambda: dequantise(torch.tensor([1]), seed=0, low=1.0)),
    ]:
        with pytest.raises(ValueError, match=told):
            call()
    with pytest.raises(TypeError, match="tensor of integers"):
        dequantise(x, seed=0)
    with pytest.raises(TypeError, match="Reverse with eta = 0"):
        log_prob(sd.OU(), x)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FloatingPointError, match="angle phi"):
        log_prob(sd.Reverse(process, lambda x, t: x * math.nan, 0.0), x)
