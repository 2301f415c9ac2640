"""The autoencoder against its formulas, latents of unit size, and a latent model end to end in small."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

import sdelab as sd
from sdelab import latent, nets

F64 = torch.float64


def normal(shape, seed=0):
    return sd.noise.normal(shape, seed=seed, dtype=F64)


def awake(seed=0, **kwargs):
    model = nets.Autoencoder(1, 3, 8, seed=seed, **kwargs).double()
    with torch.no_grad():
        for k, p in enumerate(model.parameters()):
            p.add_(0.2 * normal(p.shape, seed=k) / math.sqrt(p[0].numel() if p.ndim > 1 else 1))
    return model


IMAGES = normal((40, 1, 12, 8), seed=9).tanh()


def test_shapes_and_seeds():
    model = nets.Autoencoder(2, 3, 8, seed=1)
    assert model.encode(torch.zeros(5, 2, 12, 8)).shape == (5, 3, 3, 2)
    assert model.decode(torch.zeros(5, 3, 3, 2)).shape == (5, 2, 12, 8)
    same, other = nets.Autoencoder(2, 3, 8, seed=1), nets.Autoencoder(2, 3, 8, seed=2)
    pairs = [list(zip(model.parameters(), m.parameters(), strict=True)) for m in (same, other)]
    assert all(torch.equal(p, q) for p, q in pairs[0]) and not all(torch.equal(p, q) for p, q in pairs[1])


@pytest.mark.parametrize("kl", [0.0, 1e-3, 0.7])
def test_the_loss_is_its_formula(kl):
    model, eps = awake(), normal(IMAGES.shape, seed=4)
    mean, log_var = model.posterior(IMAGES)
    q = Normal(mean, log_var.exp().sqrt())
    z = mean if kl == 0 else mean + q.stddev * eps.reshape(40, -1)[:, :18].reshape(mean.shape)
    error = (model.image(z) - IMAGES).pow(2).mean((1, 2, 3))
    divergence = kl_divergence(q, Normal(torch.zeros_like(mean), 1.0)).mean((1, 2, 3))
    out = latent.objective(kl)(model, IMAGES, torch.zeros(40), eps)
    torch.testing.assert_close(out, error + kl * divergence)
    assert kl == 0 or (out - error - 0.97 * kl * divergence).abs().max() > 1e-6


def test_latents_are_shifted_and_scaled_to_unit_size_and_back():
    model = awake()
    before, x_hat = model.encode(IMAGES), model.decode(model.encode(IMAGES))
    model.measure(IMAGES, batch=7)
    after = model.encode(IMAGES)
    for k in range(3):
        want = (before[:, k] - before[:, k].mean()) / before[:, k].std(correction=0)
        torch.testing.assert_close(after[:, k], want, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model.decode(after), x_hat, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(latent.encode(model, IMAGES, batch=7), after)
    torch.testing.assert_close(latent.decode(model, after, batch=7), x_hat.clamp(-1, 1), rtol=1e-6, atol=1e-6)


def test_psnr():
    x = torch.zeros(3, 1, 4, 4)
    assert latent.psnr(x, x + 0.02) == pytest.approx(40, abs=1e-5)
    assert latent.psnr(x, torch.cat([x[:2], x[2:] + 0.02])) == pytest.approx(40 + 10 * math.log10(3), abs=1e-5)
    with pytest.raises(ValueError, match="compare pairs"):
        latent.psnr(x, x[:2])


@pytest.mark.parametrize(
    "run, says",
    [
        (lambda m: m.encode(torch.zeros(2, 1, 10, 8)), "multiples of 4"),
        (lambda m: m.encode(torch.zeros(2, 2, 8, 8)), r"\(n, 1, H, W\)"),
        (lambda m: m.decode(torch.zeros(2, 4, 2, 2)), r"\(n, 3, h, w\)"),
        (lambda m: nets.Autoencoder(latent=0), "at least 1"),
        (lambda m: latent.objective(-1.0), "must not be negative"),
    ],
)
def test_what_does_not_fit_is_told(run, says):
    with pytest.raises(ValueError, match=says):
        run(nets.Autoencoder(1, 3, 8))


def test_encode_diffuse_decode_on_images_of_two_numbers(tmp_path):
    """Images are a shade and a slope: an autoencoder and a denoiser of its latents, trained in seconds, make images
    whose shades and slopes have the law of the data. Weights and scale come back from their checkpoints."""
    a = torch.stack([sd.noise.uniform((2000,), k) * 2 - 1 for k in (1, 2)], 1)
    ramp = torch.linspace(-1, 1, 8)
    images = 0.5 * (a[:, :1, None, None] + a[:, 1:, None, None] * ramp).expand(-1, 1, 8, 8)

    start, file = nets.Autoencoder(1, 1, 8), tmp_path / "autoencoder.safetensors"
    settings = dict(objective=latent.objective(1e-4), times=latent.no_times, checkpoint=file)
    model = sd.train.fit(start, images, steps=200, batch=32, lr=sd.train.cosine(5e-3, 200), ema=0.95, **settings).ema
    assert latent.psnr(latent.decode(model, latent.encode(model, images)), images) > 27
    model.measure(images)
    z = latent.encode(model, images)
    assert abs(float(z.mean())) < 1e-3 and abs(float(z.std()) - 1) < 1e-3
    twin = sd.train.load(file, start)
    twin.measure(images)
    torch.testing.assert_close(latent.encode(twin, images), z)

    denoiser = nets.Denoiser(nets.UNet(1, 16, levels=1, attention=False), sd.process.EDM())
    run = sd.train.fit(denoiser, z, steps=300, batch=128, lr=sd.train.cosine(5e-3, 300), times="lognormal", ema=0.95)
    z_T = sd.noise.prior(denoiser.process, (1000, *z.shape[1:]), seed=3)
    x = latent.decode(model, sd.sample(run.ema, denoiser.process, z_T, solver="dpmpp_2m", grid="karras", steps=15))
    flat, basis = x.flatten(1), 0.5 * torch.stack([torch.ones(64), ramp.repeat(8)], 1)
    found = torch.linalg.lstsq(basis, flat.T).solution
    assert (flat.T - basis @ found).square().mean().sqrt() < 0.08
    torch.testing.assert_close(found.mean(1), torch.zeros(2), rtol=0, atol=0.1)
    torch.testing.assert_close(found.std(1), torch.full((2,), 3**-0.5), rtol=0.1, atol=0)
