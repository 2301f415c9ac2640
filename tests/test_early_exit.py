"""Early exits: the network's own bits at tau = 0, its first exit at infinity, each sample its own way in between."""

import copy

import pytest
import torch

import sdelab as sd
from sdelab import early_exit, nets, train

F64, INFINITE = torch.float64, float("inf")
PROCESS = sd.process.make("edm")
SHAPE = (2, 8, 8)


def normal(shape, seed=0, dtype=torch.float32):
    return sd.noise.normal(shape, seed=seed, dtype=dtype)


def awake(module, seed=0):
    with torch.no_grad():
        for k, p in enumerate(module.parameters()):
            p.add_(0.1 * normal(p.shape, seed + k, p.dtype))
    return module


def backbone(seed=0):
    """A network that is harder to guess at some noise levels than at others."""
    network = awake(nets.UNet(2, width=8, levels=2, classes=3, seed=seed))
    with torch.no_grad():
        network.told[2].weight.mul_(5)  # type: ignore[operator]
    return network


def lively(tau=0.0):
    """Exits whose uncertainties differ from sample to sample, in float64."""
    model = early_exit.EarlyExit(backbone().double(), tau)
    awake(model.heads, 90)
    return model


def constant(model):
    """The planted fault: an uncertainty that sees neither the sample nor the noise level."""
    with torch.no_grad():
        for head in model.heads:
            head.size.weight.zero_()
    return model


X, C, Y = normal((12, *SHAPE), 1, F64), torch.linspace(-1, 1, 12, dtype=F64), torch.arange(12) % 4 - 1


@pytest.mark.parametrize("c, y", [(C, Y), (torch.tensor(0.3, dtype=F64), None)])
def test_no_tolerance_is_the_network_itself(c, y):
    for dtype in (torch.float32, F64):
        network, x = backbone().to(dtype), X.to(dtype)
        model = early_exit.EarlyExit(network)
        awake(model.heads, 90)
        assert torch.equal(model(x, c.to(dtype), y), network(x, c.to(dtype), y))
        assert model.taken.tolist() == [0] * 5 + [12] and model.spent == float(model.shares(SHAPE)[-1])
        assert 1 < model.spent < 1.002  # the heads are not free


def test_every_tolerance_is_the_first_exit():
    model = lively(INFINITE)
    torch.testing.assert_close(model(X, C, Y), model.exits(X, C, Y)[0][0], rtol=0, atol=0)
    assert model.taken.tolist() == [12, 0, 0, 0, 0, 0] and model.spent == float(model.shares(SHAPE)[0])
    model.reset()
    assert not model.taken.any() and model.spent != model.spent


def test_each_sample_goes_its_own_way():
    """The batch against one sample at a time, and against the choice made by hand from all exits."""
    model = lively()
    guesses, u, F = model.exits(X, C, Y)
    model.tau = 1.001 * float(
        u.detach().min(0).values.median()
    )  # no u lies on the edge * (1 + 1e-9)  # clear of the sample whose u it is
    out, taken, spent = model(X, C, Y), model.taken, model.spent
    assert (taken > 0).sum() >= 3 and taken[-1] > 0 and taken.sum() == 12
    exits = torch.cat([(u < model.tau).long(), torch.ones(1, 12, dtype=torch.int64)]).argmax(0)
    by_hand = torch.cat([guesses, F[None]])[exits, torch.arange(12)]
    torch.testing.assert_close(out, by_hand, rtol=1e-10, atol=1e-12)
    assert taken.tolist() == exits.bincount(minlength=6).tolist()
    assert spent == pytest.approx(float(model.shares(SHAPE)[exits].mean()), rel=1e-12)
    model.reset()
    alone = torch.cat([model(X[n : n + 1], C[n], Y[n : n + 1]) for n in range(12)])
    torch.testing.assert_close(out, alone, rtol=1e-10, atol=1e-12)
    assert model.taken.tolist() == taken.tolist() and model.spent == pytest.approx(spent, rel=1e-12)
    constant(model)(X, C, Y)
    assert (model.taken - taken > 0).sum() == 1  # blind, all go one way


def test_shares_are_those_counted_by_hand():
    """Multiplications per sample, of 3 x 3 convolutions and the rest, on 8 x 8 and 4 x 4 places."""
    model, told = early_exit.EarlyExit(nets.UNet(2, width=8, levels=2, attention=False)), 32

    def block(a, b, places):
        return places * (9 * a * b + 9 * b * b + (a * b if a != b else 0)) + told * 2 * b

    start = 32 * told + told * told + 64 * 9 * 2 * 8
    blocks = [block(8, 8, 64), block(8, 16, 16), block(16, 16, 16), block(16, 16, 16), block(32, 16, 16)]
    heads = [8 + told] + 4 * [16 + told]
    inner = [64 * 8 * 32] + 4 * [16 * 16 * 32 * 4]  # channels of two by two places
    guesses = [mixed + 64 * 8 * 32 + told * 2 * 32 + 64 * 9 * 32 * 2 for mixed in inner]
    whole = start + sum(blocks) + block(24, 8, 64) + 64 * 9 * 8 * 2
    want = [(start + sum(blocks[: k + 1]) + sum(heads[: k + 1]) + guesses[k]) / whole for k in range(5)]
    want.append((whole + sum(heads)) / whole)
    assert model.shares(SHAPE).tolist() == pytest.approx(want, rel=1e-12)


def trained(steps=80):
    network = backbone()
    start = nets.Denoiser(early_exit.EarlyExit(network), PROCESS)
    data = normal((64, *SHAPE), 5), torch.arange(64) % 3
    times = train.lognormal(PROCESS, -0.4, 1.2)
    return network, train.fit(
        start, data, steps=steps, batch=32, lr=5e-3, times=times, ema=0.9, objective=early_exit.loss, progress=False
    )


@pytest.fixture(scope="module")
def run():
    return trained()


def correlation(model):
    """Of the last exit's u_k with the rms of F_k - F, over samples at all noise levels; nan where u is constant."""
    guesses, u, F = model.exits(normal((200, *SHAPE), 7), torch.linspace(-1, 1, 200), torch.arange(200) % 3)
    size = (guesses - F).square().flatten(2).mean(2).sqrt()
    return float(torch.corrcoef(torch.stack([u[-1], size[-1]]))[0, 1])


def test_heads_learn_and_the_backbone_does_not(run):
    network, run = run
    assert run.losses[-20:].mean() < 0.6 * run.losses[:5].mean()
    model = run.ema.network
    assert all(torch.equal(p, q) for p, q in zip(model.network.parameters(), network.parameters(), strict=True))
    assert correlation(model) > 0.4
    assert not correlation(constant(copy.deepcopy(model))) > 0.4


def test_the_loss_is_its_formula():
    network, x0, t, eps = lively(), normal((5, *SHAPE), 2, F64), torch.linspace(0.1, 3, 5, dtype=F64), X[:5]
    model, y = nets.Denoiser(network, PROCESS, sigma_data=0.7), torch.tensor([0, 1, 2, -1, 0])
    x = (x0 + t.view(-1, 1, 1, 1) * eps) / (0.49 + t**2).sqrt().view(-1, 1, 1, 1)
    guesses, u, F = network.exits(x, t.log() / 4, y)
    error = (guesses - F).flatten(2).norm(dim=2) / (2 * 8 * 8) ** 0.5
    want = (error**2 + (u - error) ** 2).mean(0)
    torch.testing.assert_close(early_exit.loss(model.of(y), x0, t, eps), want)
    # the second term moves no guess: the guesses' gradient is that of the first alone
    own = [p for name, p in network.heads.named_parameters() if "leave" in name]
    got = torch.autograd.grad(early_exit.loss(model, x0, t, eps).sum(), own)
    guesses, _, F = network.exits(x, t.log() / 4)
    first = torch.autograd.grad((guesses - F).square().flatten(2).mean(2).mean(0).sum(), own)
    torch.testing.assert_close(got, first)


def test_a_sampler_takes_it_as_any_network():
    network = backbone()
    exits = early_exit.EarlyExit(network)
    x_T = sd.noise.prior(PROCESS, (6, *SHAPE), seed=3)
    with torch.no_grad():
        a, b = (
            sd.sample(nets.Denoiser(n, PROCESS).of(1), PROCESS, x_T, solver="dpmpp_2m", grid="karras", steps=4)
            for n in (network, exits)
        )
    assert torch.equal(a, b) and exits.taken.tolist() == [0] * 5 + [24]


def test_a_tolerance_on_the_denoiser_is_one_on_the_network_over_c_out():
    """tau/c_out by the formula, as a function of the noise level: each sample against the same tau as a number."""
    model, sigma = lively(), torch.tensor([0.05, 0.3, 2.0], dtype=F64)
    denoiser, c = nets.Denoiser(model, PROCESS, sigma_data=0.7), sigma.log() / 4
    x, y = X[:3], Y[:3]
    u = model.exits(x, c, y)[1].detach()
    tau = float(u[:, 1].median() * (1 + 1e-9) * 0.3 * 0.7 / (0.3**2 + 0.7**2) ** 0.5)
    model.tau = early_exit.of_denoiser(denoiser, tau)
    together = model(x, c, y)
    assert len(model.taken.nonzero()) > 1
    for n in range(3):
        s = float(sigma[n])
        model.tau = tau * (s**2 + 0.7**2) ** 0.5 / (s * 0.7)
        torch.testing.assert_close(model(x[n : n + 1], c[n], y[n : n + 1])[0], together[n], rtol=1e-10, atol=1e-12)


def test_heads_come_back_to_their_own_network_only(run, tmp_path):
    (network, run), path = run, tmp_path / "exits.safetensors"
    model = run.ema.network
    early_exit.save(path, model, {"seed": 3})
    back = early_exit.load(path, network, tau=0.2)
    x, c, y = X.float(), C.float(), Y
    model.tau = 0.2
    assert torch.equal(back(x, c, y), model(x, c, y)) and not any(p.requires_grad for p in back.parameters())
    with pytest.raises(ValueError, match="network with other weights"):
        early_exit.load(path, backbone(seed=1))
    tensors, page = sd.checkpoint.load(path)
    sd.checkpoint.save(path, {name + "x": v for name, v in tensors.items()}, page)
    with pytest.raises(ValueError, match="heads of another make"):
        early_exit.load(path, network)
    sd.checkpoint.save(path, tensors, {"kind": "autoencoder"})
    with pytest.raises(ValueError, match="no early exits but: autoencoder"):
        early_exit.load(path, network)


@pytest.mark.parametrize("tau", [-0.1, float("nan")])
def test_a_tolerance_that_is_none(tau):
    with pytest.raises(ValueError, match="tau must be at least 0"):
        early_exit.EarlyExit(backbone(), tau)
