"""Images drawn afresh: the warp against closed forms, the stream against its promises."""

import math

import pytest
import torch

import sdelab as sd
from sdelab import nets, recipes, studio, train
from sdelab.data import Dataset
from sdelab.train import augment


def normal(*shape, seed=0):
    return sd.noise.normal(shape, seed, dtype=torch.float64)


def u(turn=0.0, zoom=0.0, right=0.0, down=0.0):
    return torch.tensor([[turn, zoom, right, down]], dtype=torch.float64)


def test_whole_pixels_and_quarter_turns_only_move_pixels():
    x = normal(1, 2, 8, 8).clamp(-1, 1)
    torch.testing.assert_close(augment.warp(x, u()), x, rtol=0, atol=1e-12)
    right = torch.cat([x[..., :1], x[..., :-1]], -1)  # beyond the edge, its colour
    torch.testing.assert_close(augment.warp(x, u(right=1 / augment.SHIFT)), right, rtol=0, atol=1e-12)
    down = torch.cat([x[..., :1, :], x[..., :-1, :]], -2)
    torch.testing.assert_close(augment.warp(x, u(down=1 / augment.SHIFT)), down, rtol=0, atol=1e-12)
    quarter = augment.warp(x, u(turn=90 / augment.TURN))
    torch.testing.assert_close(quarter, x.rot90(-1, (2, 3)), rtol=0, atol=1e-12)  # clockwise


def test_all_at_once_on_a_ramp():
    """At p it is the ramp at centre + (turned by -a)(p - centre - shift)/size; PyTorch's cubic keeps a ramp to a tenth
    of a pixel, the warp moves by several."""
    height, width = 24, 40  # not square, where turning half sides instead of pixels would shear
    i, j = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width)), indexing="ij")
    ramp = 0.01 * i - 0.02 * j
    turn, zoom, right, down = 1.5, -2.0, 1.7, -0.6
    a, size = math.radians(turn * augment.TURN), 1 + zoom * augment.ZOOM
    x, y = j - right * augment.SHIFT, i - down * augment.SHIFT
    old_x, old_y = (math.cos(a) * x + math.sin(a) * y) / size, (math.cos(a) * y - math.sin(a) * x) / size
    warped = augment.warp(ramp[None, None], u(turn, zoom, right, down))[0, 0]
    inside = (old_x.abs() < width / 2 - 3) & (old_y.abs() < height / 2 - 3)
    assert inside.double().mean() > 0.5
    torch.testing.assert_close(warped[inside], (0.01 * old_y - 0.02 * old_x)[inside], rtol=0, atol=0.002)


def faces():
    """Images whose colour tells their class."""
    y = torch.arange(10)
    return (0.1 * y - 0.5)[:, None, None, None] * torch.ones(1, 1, 8, 8), y


def test_the_stream_is_a_function_of_the_rows_number():
    x = normal(10, 1, 8, 8).clamp(-1, 1)
    stream = train.augmented(x, 1.0, seed=3)
    whole = stream(9, first=20)
    torch.testing.assert_close(torch.cat([stream(4, first=20), stream(5, first=24)]), whole, rtol=0, atol=1e-14)
    assert not torch.equal(train.augmented(x, 1.0, seed=4)(9, first=20), whole)
    many = stream(400, first=0)
    assert len(many.unique(dim=0)) == 400  # ten images, never the same twice
    still = train.augmented(x, 0.0, seed=3)(400, first=0)  # the rows alone
    near = (still[:, None] - x).abs().amax((2, 3, 4)).argmin(1)
    assert torch.bincount(near, minlength=10).min() > 15 and float((still - x[near]).abs().max()) < 1e-12


def test_classes_and_what_is_done_with_the_images():
    x, y = train.augmented(faces(), 1.0, seed=0)(50, first=7)
    assert torch.equal(((x.mean((1, 2, 3)) + 0.5) / 0.1).round().long(), y) and len(y.unique()) > 5
    z, again = train.augmented(faces(), 1.0, seed=0, then=lambda x: x.mean((2, 3)))(50, first=7)
    torch.testing.assert_close(z, x.mean((2, 3)))
    assert torch.equal(again, y)
    with pytest.raises(ValueError, match="must not be negative, and is -1"):
        train.augmented(faces(), -1, seed=0)


def test_a_run_on_fresh_images_goes_on_to_the_bit(tmp_path):
    def run(steps, strength=0.5, file=None):
        model = nets.Denoiser(nets.UNet(1, 8, 1, attention=False, classes=10), sd.process.EDM())
        data = train.augmented(faces(), strength, seed=1)
        return train.fit(model, data, steps=steps, batch=4, checkpoint=file, progress=False)

    whole = run(6)
    run(2, file=tmp_path / "run")
    again = run(6, file=tmp_path / "run")
    assert torch.equal(whole.losses, again.losses)
    assert all(torch.equal(p, q) for p, q in zip(whole.ema.parameters(), again.ema.parameters(), strict=True))
    with pytest.raises(ValueError, match="another configuration: data"):
        run(6, 0.6, tmp_path / "run")


def test_by_recipe_images_and_latents_alike(tmp_path):
    images = (2 * torch.linspace(0, 1, 32).outer(torch.linspace(0, 1, 32)) - 1) * torch.ones(6, 1, 1, 1)
    data = Dataset(images, torch.arange(6) % 2, ("a", "b"))
    encoder = nets.Autoencoder(1, 2, 8)
    small: dict = dict(steps=2, batch=4, every=2, warmup=0, width=8)
    for name, make in (
        ("images", lambda r, f: studio.autoencoder(data, r, f, held_out=images)),
        ("pixel", lambda r, f: studio.denoiser(data, r, f)),
        ("latent", lambda r, f: studio.denoiser(data, r, f, encoder=encoder)),
    ):
        kind = recipes.AutoencoderRecipe if name == "images" else recipes.DenoiserRecipe
        more = {} if name == "images" else {"levels": 1, "attention": False}
        told = [make(kind(**small, **more, augment=a), tmp_path / f"{name} {a}") for a in (0.0, 1.0)]
        assert told[0] != told[1], name
