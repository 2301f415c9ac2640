"""Image models as files: what comes back is what was written, and everything else is told."""

import pytest
import torch

import sdelab as sd
from sdelab import models, nets

PROCESS = sd.process.make("edm")


def awake(module, seed=0):
    with torch.no_grad():
        for k, p in enumerate(module.parameters()):
            p.add_(0.1 * sd.noise.normal(p.shape, seed=seed + k))
    return module


def pixel():
    network = awake(nets.UNet(1, 8, levels=2, classes=2))
    return models.ImageModel(
        nets.Denoiser(network, PROCESS, sigma_data=0.6), (1, 8, 8), ("あ", "い"), about={"seed": 3}
    )


def latent():
    autoencoder = awake(nets.Autoencoder(1, 2, 8))
    autoencoder.measure(sd.noise.normal((20, 1, 16, 16), 5))
    network = awake(nets.UNet(2, 8, levels=1, attention=False), seed=50)
    return models.ImageModel(nets.Denoiser(network, PROCESS), (2, 4, 4), autoencoder=autoencoder)


@pytest.mark.parametrize("make", [pixel, latent])
def test_a_model_comes_back(make, tmp_path):
    model, path = make(), tmp_path / "model.safetensors"
    models.save(path, model, {"seconds": 1.5})
    back = models.load(path)
    assert (back.shape, back.classes, back.about) == (model.shape, model.classes, model.about | {"seconds": 1.5})
    x = sd.noise.normal((3, *model.shape), 1)
    torch.testing.assert_close(back.denoiser(x, 2.0), model.denoiser(x, 2.0), rtol=0, atol=0)
    torch.testing.assert_close(back.images(x), model.images(x), rtol=0, atol=0)
    assert float(back.images(9 * x).abs().max()) <= 1
    assert not any(p.requires_grad for p in back.denoiser.parameters()) and not back.denoiser.training


def test_an_autoencoder_comes_back_with_its_scale(tmp_path):
    whole, path = latent(), tmp_path / "model.safetensors"
    model, x = whole.autoencoder, sd.noise.normal((3, 1, 16, 16), 1)
    assert model is not None
    for held in (model, whole):  # alone, and within a latent model
        models.save(path, held, {"psnr": 30.0})
        torch.testing.assert_close(models.load_autoencoder(path).encode(x), model.encode(x), rtol=0, atol=0)
    models.save(path, model)
    with pytest.raises(ValueError, match="no model of images but: autoencoder"):
        models.load(path)
    models.save(path, pixel())
    with pytest.raises(ValueError, match="holds no autoencoder but: pixel"):
        models.load_autoencoder(path)


def test_classes_by_name():
    assert pixel().classes_of(["い", "あ", "い"]).tolist() == [1, 0, 1] and pixel().classes_of("い").tolist() == [1]
    with pytest.raises(ValueError, match="unknown class 'ア'; known: あ, い"):
        pixel().classes_of("ア")
    with pytest.raises(ValueError, match="without classes"):
        latent().classes_of("あ")


def test_shipped_models_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    models.save(tmp_path / "kana-pixel.safetensors", pixel())
    assert models.load("kana-pixel").classes == ("あ", "い")
    with pytest.raises(FileNotFoundError, match=r"neither a file nor a name.*shipped models: kana-pixel"):
        models.load("kana-latent")


def test_what_is_no_model_is_told(tmp_path):
    path = tmp_path / "file"
    sd.checkpoint.save(path, {"a": torch.zeros(2)}, {"steps": 3})
    with pytest.raises(ValueError, match="no model of images"):
        models.load(path)
    models.save(path, latent())
    tensors, page = sd.checkpoint.load(path)
    sd.checkpoint.save(path, tensors, page | {"network": page["network"] | {"width": 16}})
    with pytest.raises(ValueError, match="do not fit its own description: network/"):
        models.load(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="cut off"):
        models.load(path)
    other = models.ImageModel(nets.Denoiser(nets.MLP(2, 8, 1), PROCESS), (2,))
    with pytest.raises(TypeError, match="only a U-Net's denoiser"):
        models.save(path, other)
