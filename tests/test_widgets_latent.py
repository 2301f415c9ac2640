"""LatentPlayground: its tables against sd.sample one image at a time, the kernel's answers, the layout, the words."""

import dataclasses
import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sdelab as sd
from sdelab import guidance, latent, models, nets, noise
from sdelab.widgets import LatentPlayground, latent_playground
from sdelab.widgets.packing import unpack
from sdelab.widgets.player import HERE

PROCESS = sd.process.make("edm")
LEVEL = 2 / latent_playground.SHADES
SMALL: dict[str, Any] = {
    "classes": "あう", "samplers": ["dpmpp_2m", "euler_ancestral"], "grids": ["karras"], "guidance": [1, 2.5],
    "steps": [1, 2, 4], "seeds": [3, 5],
}  # fmt: skip


def awake(module, seed):
    with torch.no_grad():
        for k, p in enumerate(module.parameters()):
            p.add_(0.1 * noise.normal(p.shape, seed=seed + k))
    return module.eval()


def tiny(of_latents=True):
    network = awake(nets.UNet(2 if of_latents else 1, 8, levels=1, attention=False, classes=3), 50)
    denoiser = nets.Denoiser(network, PROCESS).eval()
    if not of_latents:
        return models.ImageModel(denoiser, (1, 8, 8), tuple("あいう"))
    autoencoder = awake(nets.Autoencoder(1, 2, 8), 0)
    autoencoder.measure(noise.normal((20, 1, 16, 16), 5))
    return models.ImageModel(denoiser, (2, 4, 4), tuple("あいう"), autoencoder)


@pytest.fixture(scope="module")
def widget():
    return LatentPlayground(tiny(), **SMALL)


def one(model, choice, steps, seed):
    """The image of a choice by the public function for names, alone: (C, H, W)."""
    D = model.denoiser
    denoise = guidance.classifier_free(D.of(model.classes.index(choice["class"])), D.of(None), choice["guidance"])
    x_T = noise.prior(PROCESS, (1, *model.shape), seed)
    about = {"solver": choice["sampler"], "grid": choice["grid"], "steps": steps, "seed": seed}
    with torch.no_grad():
        x = sd.sample(denoise, PROCESS, x_T, **about)
        return x[0].clamp(-1, 1) if model.autoencoder is None else latent.decode(model.autoencoder, x)[0]


def same(frames, model, choice):
    """The greatest difference of the stored images from those sampled alone, in levels."""
    worst = 0.0
    for f, steps in enumerate(frames["t"].astype(int).tolist()):
        for s, seed in enumerate(SMALL["seeds"]):
            alone = one(model, choice, steps, seed).double().numpy()
            worst = max(worst, float(np.abs(frames["images"][f, s] - alone).max()) / LEVEL)
    return worst


# ---- what is stored, and what the kernel answers


def test_stored_images_are_those_of_sample(widget):
    assert len(widget.shelf) == 2 * 2 * 2 and widget.picture == b""
    model = tiny()
    for entry in widget.shelf:
        header, frames = unpack(widget.library[entry["start"] : entry["stop"]])
        assert header["choice"] == entry["choice"]
        assert frames["images"].shape == (3, 2, 1, 16, 16)
        assert same(frames, model, entry["choice"]) < 0.51
    for wrong in ({"class": "い"}, {"guidance": 1.8}, {"sampler": "edm_euler"}, {"grid": "uniform"}):
        assert same(frames, model, entry["choice"] | wrong) > 2, wrong


@pytest.mark.parametrize("sampler", ["edm_heun_churn", "dpmpp_sde", "restart", "pc_ancestral_langevin", "seeds_2"])
def test_every_seed_has_noise_of_its_own_whatever_draws_it(sampler):
    model = tiny(of_latents=False)
    table = LatentPlayground(model, **SMALL | {"samplers": [sampler], "guidance": [2.0], "precompute": ()})
    _, frames = unpack(table.picture)
    assert same(frames, model, table.choice) < 0.51


def test_a_change_samples_anew_in_the_kernel(widget):
    table, model = (
        LatentPlayground(tiny(), **SMALL, precompute=[{}, {"sampler": "euler_ancestral", "guidance": 2.5}]),
        tiny(),
    )
    table.choose(sampler="euler_ancestral", guidance=2.5)
    assert table.picture == b""
    for change in ({"guidance": 3.5}, {"class": "い"}, {"sampler": "unipc"}, {"grid": "logsnr"}):  # none is stored
        table.set_state({"choice": {**table.choice, **change}})  # as the page asks
        header, frames = unpack(table.picture)
        assert table.problem == "" and header["choice"] == table.choice and table.choice | change == table.choice
        assert same(frames, model, table.choice) < 0.51


def test_a_sampler_that_fails_is_told_to_the_page(monkeypatch):
    model = tiny(of_latents=False)
    table = LatentPlayground(model, **SMALL, precompute=[{}])
    monkeypatch.setattr(nets.Denoiser, "forward", lambda self, x, t, y=None: x * float("nan"))
    table.choose(sampler="edm_euler")
    assert table.problem.startswith("FloatingPointError: ") and "NaN or infinity" in table.problem


def test_numbers_beside_the_images(widget):
    frames = widget.frames({"guidance": 2.5})
    images = frames["images"].values
    rounding = LEVEL / 2
    for f, n in enumerate(SMALL["steps"]):
        times = sd.grids.make("karras", PROCESS, n, zero=True)
        np.testing.assert_allclose(frames["levels"][f, :n], times[:-1], rtol=1e-12)  # of EDM, sigma/alpha is t
        assert not frames["levels"][f, n:].any()
        assert float(frames["spread"][f]) == pytest.approx(float(np.var(images[f], 0).mean() ** 0.5), abs=rounding)
        for s in range(2):
            distance = np.sqrt(np.mean((images[f, s] - images[-1, s]) ** 2))
            assert float(frames["gap"][f, s]) == pytest.approx(distance, abs=2 * rounding)
    assert frames["calls"].tolist() == [2, 4, 8]  # two networks, once a step
    assert widget.frames({"guidance": 1.0})["calls"].tolist() == [1, 2, 4]
    assert widget.frames({"sampler": "edm_heun", "guidance": 1.0})["calls"].tolist() == [1, 3, 7]


def test_a_process_that_ends_in_noise_alone():
    model = tiny(of_latents=False)
    flow = dataclasses.replace(model, denoiser=nets.Denoiser(model.denoiser.network, sd.process.make("flow")).eval())
    table = LatentPlayground(flow, **SMALL | {"samplers": ["ddim"], "grids": ["uniform"], "precompute": ()})
    assert table.frames()["levels"][:, 0].tolist() == [1e4] * 3


def test_colours():
    network = awake(nets.UNet(3, 8, levels=1, attention=False, classes=3), 50)
    model = models.ImageModel(nets.Denoiser(network, PROCESS).eval(), (3, 8, 8), tuple("あいう"))
    table = LatentPlayground(model, **SMALL, precompute=())
    assert table.frames()["images"].levels.shape == (3, 2, 3, 8, 8)
    assert same(unpack(table.picture)[1], model, table.choice) < 0.51
    assert Image.open(io.BytesIO(table.png())).size == (720, 260)


# ---- what is offered, and refused


def test_a_kernel_offers_all_that_there_is(widget):
    offered = {c["name"]: [row["value"] for row in c.get("options", [])] for c in widget.spec["controls"]}
    assert offered["class"] == ["あ", "い", "う"] and offered["seed"] == [3, 5]
    assert set(offered["grid"]) == set(sd.grids.table)
    assert set(offered["sampler"]) == {row.key for row in sd.solvers.table if not row.adaptive}
    assert offered["sampler"][:2] == SMALL["samplers"] and len(offered["sampler"]) == len(set(offered["sampler"]))
    stored = {name: {entry["choice"][name] for entry in widget.shelf} for name in widget.choice}
    assert stored == {
        "class": {"あ", "う"},
        "sampler": set(SMALL["samplers"]),
        "grid": {"karras"},
        "guidance": {1.0, 2.5},
    }


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"classes": ["か"]}, "unknown class 'か'; known: あ, い, う"),
        ({"samplers": ["dpmpp2m"]}, "unknown solver 'dpmpp2m'; did you mean 'dpmpp_2m'"),
        ({"samplers": ["rk45"]}, "rk45 chooses its own steps, and here they are counted"),
        ({"grids": ["karas"]}, "unknown grid 'karas'; did you mean 'karras'"),
        ({"guidance": [9]}, "guidance is a number from 0 to 8.0; got 9.0"),
        ({"guidance": []}, "guidance must have at least one entry"),
        ({"steps": [0, 4]}, "steps is a whole number of at least 1; got 0"),
        ({"steps": [4, 2]}, "steps must be increasing whole numbers, at least one, not [4, 2]"),
        ({"seeds": [-1]}, "seeds is a whole number of at least 0; got -1"),
        ({"seeds": []}, "seeds must be increasing whole numbers"),
        ({"seed": 4}, "seed is one of [3, 5], not 4"),
        ({"precompute": [{"clas": "あ"}]}, "unknown parameter of LatentPlayground 'clas'; did you mean 'class'"),
        ({"precompute": [{"sampler": "eulr"}]}, "unknown sampler 'eulr'; did you mean 'euler'"),
    ],
)
def test_errors_name_what_was_wrong(about, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LatentPlayground(tiny(of_latents=False), **SMALL | {"precompute": ()} | about)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match=r"model must be an sd\.models\.ImageModel"):
        LatentPlayground("kana-latent")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="trained without classes"):
        LatentPlayground(dataclasses.replace(tiny(), classes=()))
    with pytest.raises(ValueError, match="seed is one of"):
        LatentPlayground(tiny(of_latents=False), **SMALL, precompute=()).seed = 9


# ---- what is shown


def test_the_default_widget_fits_in_a_page():
    """Images of the size of the book's, here nothing but noise, which packs worst; four of its classes."""
    network = awake(nets.UNet(1, 4, levels=1, attention=False, classes=6), 50)
    model = models.ImageModel(nets.Denoiser(network, PROCESS).eval(), (1, 32, 32), tuple("あいうえおか"))
    about: dict[str, Any] = {"samplers": ["dpmpp_2m"], "grids": ["karras"], "guidance": [2.0]}
    table = LatentPlayground(model, **about)
    assert sorted({entry["choice"]["class"] for entry in table.shelf}) == sorted("あうお")
    full = LatentPlayground.__init__.__kwdefaults__
    assert full is not None
    choices = 4 * len(full["samplers"]) * len(full["grids"]) * len(full["guidance"])
    assert len(table.library) / len(table.shelf) * choices * 4 / 3 < 1.5e6  # base64
    assert any(table.choice == entry["choice"] for entry in table.shelf)


def test_every_label_is_there_in_both_languages(widget):
    texts = [widget.spec["title"], *widget.spec["words"].values()]
    for control in widget.spec["controls"]:
        texts += [control["label"], *(row["label"] for row in control.get("options", []))]
    for text in texts:
        assert set(text) == {"ja", "en"} and all(each.strip() for each in text.values()), text
    assert re.search(r"[ぁ-んァ-ヶ一-龠]", widget.spec["title"]["ja"])


def test_front_end_is_one_module_that_needs_nothing(widget):
    source = LatentPlayground._esm
    assert not re.search(r"^import |https?://|eval\(|innerHTML", source, flags=re.MULTILINE)
    assert source.count("export default") == 1
    told = re.findall(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", source, flags=re.MULTILINE)
    assert len(told) == len(set(told)), "one scope holds all files, so no name may stand twice"
    used = set(re.findall(r'\bword\("(\w+)"\)|\bspoken\("(\w+)"\)', source))
    assert {a or b for a, b in used} <= set(widget.spec["words"])
    own = (HERE / "latent_playground.mjs").read_text("utf8")
    imported = set(re.findall(r"(\w+)", " ".join(re.findall(r"^import \{(.*?)\}", own, flags=re.M))))
    assert imported <= set(re.findall(r"^export (?:async )?function (\w+)", source, flags=re.MULTILINE))


def test_mimebundle(widget):
    twin = LatentPlayground(tiny(), **SMALL, precompute=())
    data, _ = widget._repr_mimebundle_()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert data["text/plain"] == repr(twin) == (
        "LatentPlayground(class='あ', sampler='dpmpp_2m', grid='karras', guidance=1.0)"
    )  # fmt: skip
    picture = Image.open(io.BytesIO(data["image/png"]))
    assert picture.size == (720, 260) and len(data["image/png"]) < 120_000
    assert np.asarray(picture.convert("L")).std() > 20  # not blank
    assert data["image/png"] == twin.png()
