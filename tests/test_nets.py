"""Networks and denoisers: shapes, seeds, noise levels, preconditioning against its formulas, every target."""

import math

import pytest
import torch

import sdelab as sd
from sdelab import nets, targets

PROCESSES = [sd.process.VP(), sd.process.EDM(), sd.process.RectifiedFlow(), sd.process.SubVP(), sd.process.Cosine()]


def normal(shape, seed=0, dtype=torch.float64):
    return sd.noise.normal(shape, seed=seed, dtype=dtype)


def awake(network):
    """The network with weights that are no longer 0 anywhere."""
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.add_(0.3 * normal(p.shape, seed=100 + k, dtype=p.dtype) / math.sqrt(p[0].numel() if p.ndim > 1 else 1))
    return network


MAKERS = {
    "MLP": (lambda seed=0: nets.MLP(3, width=16, seed=seed), (5, 3)),
    "UNet": (lambda seed=0: nets.UNet(2, width=8, levels=2, seed=seed), (5, 2, 8, 12)),
    "UNet without attention": (
        lambda seed=0: nets.UNet(1, width=6, levels=1, attention=False, seed=seed),
        (5, 1, 7, 5),
    ),
    "UNet with classes": (lambda seed=0: nets.UNet(1, width=8, levels=2, classes=3, seed=seed), (5, 1, 8, 8)),
    "UNet of three levels": (lambda seed=0: nets.UNet(1, width=8, levels=3, blocks=2, seed=seed), (5, 1, 8, 8)),
}
both = pytest.mark.parametrize("name", MAKERS)


@both
def test_weights_are_a_function_of_the_seed_and_leave_the_global_generator_alone(name):
    make, _ = MAKERS[name]
    before = torch.get_rng_state()
    a, b, c = make(), make(), make(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = [(p, q, r) for p, q, r in zip(a.parameters(), b.parameters(), c.parameters(), strict=True)]
    assert all(torch.equal(p, q) for p, q, _ in pairs)
    drawn = [(p, r) for p, _, r in pairs if p.ndim > 1 and p.any()]
    assert drawn and not any(torch.equal(p, r) for p, r in drawn)
    assert all(p.isfinite().all() for p in a.parameters()) and not any(p.is_meta for p in a.parameters())


def test_matrices_start_at_one_over_fan_in():
    network = nets.UNet(width=32)
    for name, p in network.named_parameters():
        if p.ndim > 1 and p.numel() > 2000 and p.any():
            assert abs(float(p.detach().var()) * p[0].numel() - 1) < 6 * (2 / p.numel()) ** 0.5, name


@both
def test_shape_start_at_zero_and_dependence_on_state_and_level(name):
    make, shape = MAKERS[name]
    network, x = make().double(), normal(shape)
    c = torch.linspace(-1, 1, len(x), dtype=torch.float64)
    assert torch.equal(network(x, c), torch.zeros_like(x))
    awake(network)
    F = network(x, c)
    assert F.shape == x.shape and F.dtype == x.dtype
    each = torch.cat([network(x[i : i + 1], c[i]) for i in range(len(x))])
    torch.testing.assert_close(F, each, rtol=1e-10, atol=1e-12)  # rows do not look at each other
    assert (network(x, c + 0.3) - F).flatten(1).norm(dim=1).min() > 1e-3
    assert (network(x + 0.3, c) - F).flatten(1).norm(dim=1).min() > 1e-3


@both
def test_every_parameter_takes_part(name):
    make, shape = MAKERS[name]
    network = awake(make().double())
    network(normal(shape), torch.linspace(-1, 1, shape[0], dtype=torch.float64)).square().sum().backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # a bias before a norm of one-channel groups, or of the keys of an attention, changes nothing
    assert all(key.endswith("bias") for key in idle), idle


def test_attention_is_its_formula():
    from sdelab.nets.unet import Attention

    layer, h = awake(Attention(8, heads=2).double()), normal((3, 8, 2, 3))
    own = dict(layer.named_parameters())
    x = layer.norm(h).flatten(2)
    q, k, v = (torch.einsum("oc,ncp->nop", w, x) for w in own["qkv.weight"][..., 0, 0].chunk(3))
    q, k, v = (y + b[:, None] for y, b in zip((q, k, v), own["qkv.bias"].chunk(3), strict=True))
    heads = []
    for i in (slice(0, 4), slice(4, 8)):
        w = torch.einsum("ncp,ncq->npq", q[:, i], k[:, i]) / 2  # sqrt of 4 channels
        heads.append(torch.einsum("npq,ncq->ncp", w.exp() / w.exp().sum(2, keepdim=True), v[:, i]))
    y = torch.einsum("oc,ncp->nop", own["out.weight"][..., 0, 0], torch.cat(heads, 1)) + own["out.bias"][:, None]
    torch.testing.assert_close(layer(h), h + y.view(h.shape))


def test_mlp_is_its_formula():
    network = awake(nets.MLP(2, width=5, depth=2).double())
    x, c = normal((4, 2)), torch.linspace(-1, 1, 4, dtype=torch.float64)
    f = 2.0 ** torch.linspace(-3, 2, 16, dtype=torch.float64)
    phase = 2 * math.pi * c[:, None] * f
    own = dict(network.named_parameters())

    def linear(name, y):
        return y @ own[f"{name}.weight"].T + own[f"{name}.bias"]

    def s(h):
        return h / (1 + torch.exp(-h))

    a = linear("told", torch.cat([phase.cos(), phase.sin()], 1))
    h = linear("enter", x) + a[:, :5]
    for k in (1, 2):
        h = h + linear(f"layers.{k - 1}", s(h + a[:, 5 * k : 5 * k + 5]))
    torch.testing.assert_close(network(x, c), linear("leave", s(h)))


CLASSY = lambda: awake(nets.UNet(1, width=8, levels=2, classes=3)).double()  # noqa: E731


def test_classes_are_told_one_by_one_and_none_is_a_class_of_its_own():
    network, x, c = CLASSY(), normal((4, 1, 8, 8)), torch.tensor(0.3).double()
    y = torch.tensor([0, 2, -1, 1])
    out = network(x, c, y)
    for n in range(4):
        torch.testing.assert_close(out[n : n + 1], network(x[n : n + 1], c, y[n : n + 1]))
    torch.testing.assert_close(network(x, c)[2], out[2])
    torch.testing.assert_close(network(x, c, torch.tensor([2])), network(x, c, torch.full((4,), 2)))
    alone = torch.cat([network(x[:1], c, torch.tensor([k])) for k in (-1, 0, 1, 2)])
    assert torch.cdist(alone.flatten(1), alone.flatten(1)).add(torch.eye(4)).min() > 1e-3


def test_classes_leave_the_other_weights_as_they_are():
    plain, classy = nets.UNet(1, width=8, levels=2), nets.UNet(1, width=8, levels=2, classes=3)
    held = classy.state_dict()
    assert held.pop("label.weight").shape == (4, 32)
    assert held.keys() == plain.state_dict().keys()
    assert all(torch.equal(v, held[name]) for name, v in plain.state_dict().items())


def test_a_denoiser_of_a_class():
    process, x = sd.process.VP(), normal((4, 1, 8, 8))
    model, y = nets.Denoiser(CLASSY(), process, sigma_data=0.7), torch.tensor([0, 2, -1, 1])
    torch.testing.assert_close(model.of(y)(x, 0.5), model(x, 0.5, y), rtol=0, atol=0)
    torch.testing.assert_close(model.of(None)(x, 0.5), model.of(-1)(x, 0.5))
    torch.testing.assert_close(model.of(2)(x, 0.5)[1], model(x, 0.5, y)[1])
    assert (model.of(y).process, model.of(y).predicts, model.of(y).sigma_data) == (process, "edm", 0.7)


@pytest.mark.parametrize(
    "classes, y, error, says",
    [
        (3, torch.tensor([3]), ValueError, "between 0 and 2"),
        (3, torch.tensor([-2]), ValueError, "between 0 and 2"),
        (3, torch.tensor([0, 1]), ValueError, "for a batch of 4"),
        (3, torch.zeros(4, 1, dtype=torch.int64), ValueError, "for a batch of 4"),
        (3, 1.0, TypeError, "whole numbers"),
        (0, torch.tensor([0]), ValueError, "no classes"),
    ],
)
def test_classes_that_are_not_there_are_told(classes, y, error, says):
    model = nets.Denoiser(nets.UNet(1, width=8, levels=2, classes=classes), sd.process.VP())
    with pytest.raises(error, match=says):
        model.of(y)(torch.zeros(4, 1, 8, 8), 0.5)


def test_a_classifiers_weights_are_a_function_of_its_seed():
    before = torch.get_rng_state()
    a, b, c = (nets.Classifier(1, 5, 8, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(v, b[name]) for name, v in a.items())
    drawn = [name for name, v in a.items() if v.ndim > 1 and v.any()]
    assert len(drawn) > 6 and not any(torch.equal(a[name], c[name]) for name in drawn)


def test_a_classifiers_logits_are_linear_in_its_features_and_rows_do_not_look_at_each_other():
    network, x = awake(nets.Classifier(2, 5, 8, blocks=2)).double(), normal((4, 2, 16, 24))
    f, y = network.features(x), torch.tensor([4, 0, 2, 2])
    assert f.shape == (4, 64)
    logits = f @ network.leave.weight.T + network.leave.bias
    torch.testing.assert_close(network(x), logits)
    torch.testing.assert_close(torch.cat([network(x[i : i + 1]) for i in range(4)]), logits)
    p = torch.stack([network.of(torch.full((4,), k))(x).exp() for k in range(5)], 1)
    torch.testing.assert_close(p, logits.exp() / logits.exp().sum(1, keepdim=True))
    torch.testing.assert_close(network.of(y)(x), p[torch.arange(4), y].log())
    network.of(y)(x).sum().backward()
    assert all(q.grad is not None and q.grad.any() for q in network.parameters())


def test_what_a_classifier_cannot_take_is_told():
    with pytest.raises(ValueError, match="H and W multiples of 8, not \\(2, 1, 28, 28\\)"):
        nets.Classifier()(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match="at least 1"):
        nets.Classifier(classes=0)


def test_unet_overfits_a_few_images():
    images = (sd.noise.uniform((3, 1, 8, 8), seed=1) > 0.5).float() * 2 - 1
    network = nets.UNet(1, width=8, levels=2, attention=True)
    denoiser = nets.Denoiser(network, sd.process.VP())
    run = sd.train.fit(denoiser, images, steps=120, batch=9, lr=1e-2, times=lambda u: 0.2 + 0.1 * u, ema=0.9)
    x = sd.process.VP().perturb(images, 0.25, normal(images.shape, seed=9, dtype=torch.float32))
    assert ((run.ema(x, 0.25) - images) ** 2).mean() < 0.02 < ((denoiser(x, 0.25) - images) ** 2).mean()


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_edm_preconditioning_is_its_formula(process):
    d, t, x = 0.7, 0.4 * process.T, normal((6, 3))
    network = awake(nets.MLP(3, width=8).double())
    denoiser = nets.Denoiser(network, process, sigma_data=d)
    alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
    r = math.sqrt(alpha**2 * d**2 + sigma**2)
    F = network(x / r, torch.tensor(math.log(sigma / alpha) / 4, dtype=torch.float64))
    torch.testing.assert_close(denoiser(x, t), alpha * d**2 / r**2 * x + sigma * d / r * F, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(denoiser.score(x, t), (alpha * denoiser(x, t) - x) / sigma**2, rtol=1e-10, atol=1e-10)


class Oracle(torch.nn.Module):
    """Gives what it is told to, whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.anything = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, c):
        return self.answer


@pytest.mark.parametrize("name", targets.NAMES)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_the_right_prediction_of_every_target_gives_the_right_x0(process, name):
    x0, eps, t = normal((6, 3)), normal((6, 3), seed=1), torch.linspace(0.1, 0.9, 6, dtype=torch.float64) * process.T
    p, q = targets.basis(process, t, name)
    denoiser = nets.Denoiser(Oracle(p[:, None] * x0 + q[:, None] * eps), process, predicts=name)
    torch.testing.assert_close(denoiser(process.perturb(x0, t, eps), t), x0, rtol=1e-8, atol=1e-8)


def test_edm_target_is_the_networks_answer_to_a_right_denoiser():
    process = sd.process.VP()
    x0, x, t = normal((6, 3)), normal((6, 3), seed=1), 0.4
    scales = targets.Preconditioning(process, 0.6)
    denoiser = nets.Denoiser(Oracle(scales.target(x0, x, t)), process, sigma_data=0.6)
    torch.testing.assert_close(denoiser(x, t), x0)


def test_ends_of_time():
    flow, x = sd.process.RectifiedFlow(), normal((4, 2))
    network = awake(nets.MLP(2, width=8).double())
    for predicts in ("edm", "x0", "v", "velocity"):
        assert nets.Denoiser(network, flow, predicts=predicts)(x, 1.0).isfinite().all()
    for predicts in ("eps", "score"):
        with pytest.raises(ValueError, match=f"a '{predicts}' prediction does not determine x_0"):
            nets.Denoiser(network, flow, predicts=predicts)(x, 1.0)
    torch.testing.assert_close(nets.Denoiser(network, flow)(x, 0.0), x)  # c_out = 0
    with pytest.raises(ValueError, match="'velocity' prediction does not determine"):
        nets.Denoiser(network, sd.process.VP(), predicts="velocity")(x, torch.tensor([0.5, 0.5, 0.5, 0.0]))


def test_dtype_and_one_time_or_many():
    process = sd.process.VP()
    denoiser = nets.Denoiser(awake(nets.MLP(2, width=8)), process)
    x = normal((4, 2))
    D = denoiser(x, 0.3)
    assert D.dtype == torch.float64
    torch.testing.assert_close(denoiser(x.float(), 0.3), D.float())
    torch.testing.assert_close(denoiser(x, torch.full((4,), 0.3, dtype=torch.float64)), D)
    torch.testing.assert_close(denoiser(x, torch.tensor(0.3, dtype=torch.float64)), D)
    assert denoiser(x.bfloat16(), 0.3).dtype == torch.bfloat16
    # a far-out state in double precision keeps its digits: only F is computed in single
    exact = nets.Denoiser(nets.MLP(2), process)(1e6 * x, 0.3)
    torch.testing.assert_close(exact, float(denoiser.scales.c_skip(0.3)) * 1e6 * x, rtol=1e-14, atol=0)


def test_a_denoiser_of_an_untrained_network_samples_the_gaussian_of_its_data():
    """F = 0 leaves the best linear denoiser, so the flow carries N(0, sigma_T^2 I) to N(0, d^2 I)."""
    process = sd.process.EDM()
    denoiser = nets.Denoiser(nets.MLP(2), process, sigma_data=0.6)
    x_T = normal((3, 2)) * process.T
    with torch.no_grad():
        x = sd.sample(denoiser, process, x_T, solver="exp_adams_3", grid="karras", steps=200)
    torch.testing.assert_close(x, x_T * 0.6 / math.sqrt(0.36 + process.T**2), rtol=2e-4, atol=0)


def test_errors():
    process, x = sd.process.VP(), normal((4, 2))
    with pytest.raises(ValueError, match="unknown target 'epsilon'; did you mean 'eps'"):
        nets.Denoiser(nets.MLP(2), process, predicts="epsilon")
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        nets.Denoiser(lambda x, c: x, process)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sigma_data"):
        nets.Denoiser(nets.MLP(2), process, sigma_data=0.0)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 3\)"):
        nets.MLP(3)(x, torch.tensor(0.0))
    with pytest.raises(ValueError, match="give one number, or one per sample"):
        nets.MLP(2).double()(x, torch.zeros(3))
    with pytest.raises(ValueError, match="multiples of 4"):
        nets.UNet(1)(torch.zeros(1, 1, 30, 28), torch.tensor(0.0))
    with pytest.raises(ValueError, match="at least 1"):
        nets.MLP(0)
    with pytest.raises(ValueError, match="at least 1"):
        nets.UNet(levels=0)
    with pytest.raises(ValueError, match="the network returned shape"):
        nets.Denoiser(Oracle(x[:, :1]), process)(x, 0.5)


def test_a_u_net_has_derivatives_along_a_direction():
    """Taylor methods ask for the network's derivative along the path (forward mode), which must be the true one."""
    network = nets.UNet(2, 8, 2, classes=3, seed=1).double()
    weight = network.get_parameter("leave.weight")
    weight.data.copy_(sd.noise.normal(weight.shape, 4))
    x, v = (sd.noise.normal((2, 2, 8, 8), k, dtype=torch.float64) for k in (2, 3))
    c, y = torch.tensor(0.1, dtype=torch.float64), torch.tensor([0, 2])
    slope = torch.func.jvp(lambda x: network(x, c, y), (x,), (v,))[1]
    h = 1e-5
    central = (network(x + h * v, c, y) - network(x - h * v, c, y)) / (2 * h)
    torch.testing.assert_close(slope, central, atol=1e-7, rtol=0)
