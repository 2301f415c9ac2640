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


def test_a_classifier_comes_back(tmp_path):
    model, path = awake(nets.Classifier(1, 3, 8)), tmp_path / "model.safetensors"
    models.save(path, model, {"figures": {"accuracy": 1.0}})
    x = sd.noise.normal((3, 1, 16, 16), 1)
    back = models.load_classifier(path)
    torch.testing.assert_close(back(x), model(x), rtol=0, atol=0)
    assert not any(p.requires_grad for p in back.parameters())
    with pytest.raises(ValueError, match="no model of images but: classifier"):
        models.load(path)
    models.save(path, pixel())
    with pytest.raises(ValueError, match="holds no classifier but: pixel"):
        models.load_classifier(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [pixel, latent])
def test_weights_in_half_precision_come_back_rounded_once(make, dtype, tmp_path):
    """Every weight is the nearest number of that dtype, exactly; the buffers are as they were; the file is half."""
    model, path = make(), tmp_path / "half.safetensors"
    models.save(path, model, dtype=dtype)
    back = models.load(path)
    pairs: list[tuple[torch.nn.Module, torch.nn.Module]] = [(back.denoiser, model.denoiser)]
    if back.autoencoder is not None and model.autoencoder is not None:
        pairs += [(back.autoencoder, model.autoencoder)]
        for name in ("shift", "scale"):
            held, was = getattr(back.autoencoder, name), getattr(model.autoencoder, name)
            assert torch.equal(held, was) and not torch.equal(was.to(dtype).float(), was)
    for loaded, was in pairs:
        for v, w in zip(loaded.parameters(), was.parameters(), strict=True):
            assert v.dtype == torch.float32 and torch.equal(v, w.to(dtype).float())
    x_T = sd.noise.prior(PROCESS, (4, *model.shape), seed=1)
    with torch.no_grad():
        runs = [sd.sample(m.denoiser, PROCESS, x_T, solver="dpmpp_2m", steps=8) for m in (back, model)]
    change = float((back.images(runs[0]) - model.images(runs[1])).abs().max())
    assert 0 < change < (1e-2 if dtype == torch.float16 else 1e-1)
    models.save(tmp_path / "whole.safetensors", model)
    whole = sum(v.nbytes for v in sd.checkpoint.load(tmp_path / "whole.safetensors")[0].values())
    assert sum(v.nbytes for v in sd.checkpoint.load(path)[0].values()) == pytest.approx(whole / 2, rel=1e-3)


def test_weights_beyond_a_dtype_are_refused(tmp_path):
    model = pixel()
    with torch.no_grad():
        next(model.denoiser.network.parameters()).fill_(7e4)
    with pytest.raises(ValueError, match=r"float16 does not hold network/told\.0\.weight, which reaches 7e\+04"):
        models.save(tmp_path / "model", model, dtype=torch.float16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["meta", *["cuda"] * torch.cuda.is_available()])
def test_a_model_comes_back_on_a_device(device, tmp_path):
    """All of it lies there; "meta", where numbers have no values, is a device that every machine has."""
    models.save(tmp_path / "model", latent(), dtype=torch.float16)
    back = models.load(tmp_path / "model", device)
    assert back.autoencoder is not None
    held = [v for m in (back.denoiser, back.autoencoder) for v in (*m.parameters(), *m.buffers())]
    assert len(held) > 20 and {v.device.type for v in held} == {device}
    x = back.images(back.denoiser(torch.ones(2, *back.shape, device=device), 1.0))
    assert x.shape == (2, 1, 16, 16) and x.device.type == device


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
