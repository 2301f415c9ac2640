"""The models in data/models: each loads, is small, has a whole card and, where it is a denoiser, makes images."""

import re

import pytest
import torch

import sdelab as sd
from benchmarks import RESULTS, kept, latent
from sdelab import cards, early_exit, models, nets


def unet(name: str) -> nets.UNet:
    network = models.load(name).denoiser.network
    assert isinstance(network, nets.UNet)
    return network


LOAD = {
    "autoencoder": models.load_autoencoder,
    "classifier": models.load_classifier,
    "latent": models.load,
    "pixel": models.load,
    "exits": lambda name: early_exit.load(name, unet("kana-latent")),
}


def test_the_readme_is_that_of_the_files():
    """After a change of the files: `python -m sdelab models --write`."""
    assert (models.FOLDER / "README.md").read_text("utf8") == cards.readme()


@pytest.mark.parametrize("path", cards.shipped(), ids=lambda path: path.stem)
def test_every_model_loads_is_small_and_has_a_card(path):
    assert path.stat().st_size <= 10_000_000
    card = cards.card(path)
    model = LOAD[card["kind"]](path.stem)
    assert set(cards.FIELDS) <= card.keys(), set(cards.FIELDS) - card.keys()
    assert card["figures"] and all(isinstance(v, (int, float)) for v in card["figures"].values())
    assert card["seconds"] > 0 and re.fullmatch(r"\d{4}-\d\d-\d\d", card["date"])
    assert not re.search(r"(?<![\w.])[/~]\w", cards.text(path)), "a place on the machine that trained it"
    assert not isinstance(model, models.ImageModel) or model.about.items() <= card.items()


@pytest.mark.parametrize(
    "path", [p for p in cards.shipped() if cards.card(p)["kind"] in ("latent", "pixel")], ids=lambda path: path.stem
)
def test_a_denoiser_makes_images(path):
    model = models.load(path)
    n = 64 if model.autoencoder else 8  # of pixels they take many times as long
    process, y = model.denoiser.process, torch.arange(n) % max(1, len(model.classes))
    x_T = sd.noise.prior(process, (n, *model.shape), seed=1)
    with torch.no_grad():
        denoise = model.denoiser.of(y if model.classes else None)
        images = model.images(sd.sample(denoise, process, x_T, solver="dpmpp_2m", steps=20))
    assert images.shape[:2] == (n, 1) and images.isfinite().all() and images.abs().max() <= 1
    assert (images.flatten(1).std(1) > 0.1).all()  # ink on paper


@pytest.mark.parametrize(
    ("name", "judge", "least"), [("kana-latent", "kana-judge", 0.97), ("mnist-latent", "mnist-judge", 0.9)]
)
def test_samples_are_read_as_what_they_were_asked_for(name, judge, least):
    """By networks that learnt from images alone; a model that ignored its class would be read rightly once in K."""
    model = models.load(name)
    y = torch.arange(len(model.classes)).repeat(92 // len(model.classes))
    x_T = sd.noise.prior(model.denoiser.process, (len(y), *model.shape), seed=2)
    with torch.no_grad():
        images = model.images(sd.sample(model.denoiser.of(y), model.denoiser.process, x_T, solver="dpmpp_2m", steps=12))
    assert sd.classify.accuracy(models.load_classifier(judge), images, y) >= least


def test_the_figures_are_of_the_models_that_are_shipped():
    """After a change of a model: `python -m benchmarks latent` and `python -m benchmarks early_exit`."""
    held = kept(latent.FILE, {})
    assert held.keys() == {*latent.PARTS, "digests"} and held["digests"].keys() == latent.PARTS.keys()
    for part, digest in held["digests"].items():
        assert digest == latent.digest(latent.model_of(part)), f"python -m benchmarks.latent {part}"
    assert kept(RESULTS / "early_exit.json", {})["digest"] == latent.digest(latent.MODEL)
