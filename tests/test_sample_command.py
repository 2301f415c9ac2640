"""`sample --model` and `models`: images are those of the library by another way, and every mistake is one line."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

import sdelab as sd
from sdelab import _sample_command as command
from sdelab import cards, guidance, models, nets
from sdelab.__main__ import main

PROCESS = sd.process.make("edm")
QUICK = ["--steps", "3", "--device", "cpu"]


def awake(module, seed=0):
    with torch.no_grad():
        for k, p in enumerate(module.parameters()):
            p.add_(0.1 * sd.noise.normal(p.shape, seed=seed + k))
    return module


def pixel(classes=("あ", "い", "う", "か")):
    network = awake(nets.UNet(1, 8, levels=1, attention=False, classes=len(classes)))
    return models.ImageModel(nets.Denoiser(network, PROCESS, sigma_data=0.6), (1, 8, 8), classes, about={"seed": 3})


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A folder of shipped models: of pixels, of latents, of things without classes, and an autoencoder."""
    folder = tmp_path_factory.mktemp("models")
    models.save(folder / "kana-pixel.safetensors", pixel())
    models.save(folder / "wear-pixel.safetensors", pixel(("T-shirt", "Ankle boot")))
    models.save(folder / "plain-pixel.safetensors", pixel(()))
    autoencoder = awake(nets.Autoencoder(1, 2, 8))
    autoencoder.measure(sd.noise.normal((20, 1, 16, 16), 5))
    about = {"data": "kana", "seconds": 1234.4, "recipe": {"steps": 3, "bf16": True}, "figures": {"psnr": 33.25}}
    models.save(folder / "kana-autoencoder.safetensors", autoencoder, about)
    network = awake(nets.UNet(2, 8, levels=1, attention=False, classes=2), 50)
    latent = models.ImageModel(nets.Denoiser(network, PROCESS), (2, 4, 4), ("あ", "い"), autoencoder)
    models.save(folder / "kana-latent.safetensors", latent, about)
    return folder


@pytest.fixture(autouse=True)
def here(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "FOLDER", shipped)
    monkeypatch.chdir(tmp_path)


def drawn(*words):
    """The images that the command writes."""
    assert main(["sample", *QUICK, "--out", "x.npz", *words]) == 0
    return torch.from_numpy(np.load("x.npz")["x"])


def expected(model, y, guide=None, **settings):
    """The same, by the library."""
    x_T = sd.noise.prior(PROCESS, (len(y), *model.shape), seed=7)
    D = model.denoiser
    denoise = D.of(torch.tensor(y)) if guide is None else guide(D.of(torch.tensor(y)), D.of(None))
    with torch.no_grad():
        settings = {"solver": "dpmpp_2m", "grid": "karras", "steps": 3, "seed": 7} | settings
        return model.images(sd.sample(denoise, PROCESS, x_T, **settings))


def test_a_grid_of_one_class(shipped, capsys):
    words = "--model kana-latent --class い --solver heun --grid uniform --steps 4 --guidance 2 --seed 7 --n 10"
    assert main(["sample", *words.split(), "--device", "cpu", "--out", "made/grid.png"]) == 0
    told = capsys.readouterr().out
    # 3 steps of 2 calls and the last, of each of the two denoisers
    assert told.startswith("made/grid.png: 10 samples of kana-latent by Heun") and "14 network calls each" in told
    with Image.open("made/grid.png") as grid:
        pixels = np.asarray(grid)
    assert pixels.shape == (3 * 32, 4 * 32)
    model = models.load(shipped / "kana-latent.safetensors")
    want = expected(
        model, [1] * 10, lambda c, u: guidance.classifier_free(c, u, 2.0), solver="heun", grid="uniform", steps=4
    )
    first = 255 - np.asarray(Image.fromarray(pixels[:32, :32]).resize((16, 16), Image.Resampling.NEAREST)).astype(float)
    assert np.abs(first - 127.5 * (want[0, 0].numpy() + 1)).max() <= 0.51
    assert (pixels[64:, 64:] == 255).all()  # 10 of 12 places


@pytest.mark.parametrize(
    ("text", "y"),
    [
        (None, [0, 1, 2, 3, 0]), ("い", [1] * 5), ("いあ", [1, 0, 1, 0, 1]), ("い,あか", [1, 0, 3, 1, 0]),
        ("ka, i", [3, 1, 3, 1, 3]),
    ],
)  # fmt: skip
def test_classes_by_turns(text, y):
    words = [] if text is None else ["--class", text]
    got = drawn("--model", "kana-pixel", "--n", "5", "--seed", "7", *words)
    torch.testing.assert_close(got, expected(pixel(), y), rtol=0, atol=1e-6)
    assert (got - expected(pixel(), [2] * 5)).abs().max() > 1e-4


def test_classes_that_are_words():
    got = drawn("--model", "wear-pixel", "--n", "3", "--seed", "7", "--class", "Ankle boot,T-shirt")
    torch.testing.assert_close(got, expected(pixel(("T-shirt", "Ankle boot")), [1, 0, 1]), rtol=0, atol=1e-6)
    got = drawn("--model", "plain-pixel", "--n", "3", "--seed", "7")
    x_T = sd.noise.prior(PROCESS, (3, 1, 8, 8), seed=7)
    with torch.no_grad():
        want = sd.sample(pixel(()).denoiser, PROCESS, x_T, solver="dpmpp_2m", grid="karras", steps=3)
    torch.testing.assert_close(got, want.clamp(-1, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "guide"),
    [
        ("--guidance 3", lambda c, u: guidance.classifier_free(c, u, 3.0)),
        (
            "--guidance 3 --interval 0.1 20 --rescale 0.7",
            lambda c, u: guidance.classifier_free(c, u, 3.0, interval=(0.1, 20.0), process=PROCESS, rescale=0.7),
        ),
        ("--threshold static", lambda c, u: guidance.threshold(c)),
        (
            "--guidance 9 --threshold dynamic",
            lambda c, u: guidance.dynamic_threshold(guidance.classifier_free(c, u, 9.0)),
        ),
    ],
)
def test_guidance_and_thresholds(words, guide):
    got = drawn("--model", "kana-pixel", "--n", "4", "--seed", "7", *words.split())
    torch.testing.assert_close(got, expected(pixel(), [0, 1, 2, 3], guide), rtol=0, atol=1e-6)
    assert (got - expected(pixel(), [0, 1, 2, 3])).abs().max() > 1e-4


def test_many_samples_are_made_in_parts(monkeypatch):
    whole = drawn("--model", "kana-pixel", "--n", "8", "--solver", "ddpm")
    monkeypatch.setattr(command, "PART", 3)
    torch.testing.assert_close(drawn("--model", "kana-pixel", "--n", "8", "--solver", "ddpm"), whole, rtol=0, atol=1e-5)


def one_line(capsys, *words):
    """The one line that a mistake is answered with."""
    assert main(list(words)) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--model kana-latnt", "no model 'kana-latnt'"),
        ("--model kana-latnt", "shipped models: kana-autoencoder, kana-latent"),
        ("--model kana-autoencoder", "holds no model of images but: autoencoder"),
        ("--model kana-pixel --class シ", "unknown class 'シ'; known: a, i, u, ka, あ"),
        ("--model kana-pixel --class あえ", "unknown class 'え'"),
        ("--model kana-pixel --class kaa", "did you mean 'ka'"),
        ("--model kana-pixel --class ,", "unknown class ''"),
        ("--model wear-pixel --class boot", "did you mean 'Ankle boot'"),
        ("--model plain-pixel --class あ", "without classes: leave the class out"),
        ("--model plain-pixel --guidance 2", "nothing to guide to"),
        ("--model kana-pixel --solver dpmp_2m", "did you mean 'dpmpp_2m'"),
        ("--model kana-pixel --grid karas", "did you mean 'karras'"),
        ("--model kana-pixel --rescale 0.5", "give --guidance, too"),
        ("--model kana-pixel --guidance 2 --rescale 2", "rescale must lie between 0 and 1"),
        ("--model kana-pixel --guidance 2 --interval 2 1", "low < high"),
        ("--model kana-pixel --guidance nan", "finite"),
        ("--model kana-latent --threshold static", "denoises latents"),
        ("--model kana-pixel --law ring", "--law has no meaning for --model"),
        ("--model kana-pixel --process vp", "--process has no meaning for --model"),
        ("--law ring --class あ", "--class has no meaning for a law"),
        ("--model kana-pixel --out x.pt", "--out must end in .npz or .png"),
        ("--model kana-pixel --device gpu", "--device takes auto, cpu"),
        ("--model kana-pixel --device cuda:99", "there is no GPU 'cuda:99'"),
    ],
)
def test_a_mistake_is_one_line(words, says, capsys, tmp_path):
    assert says in one_line(capsys, "sample", "--n", "2", "--steps", "2", *words.split())
    assert not list(tmp_path.iterdir())


def test_files_that_are_no_good(capsys, shipped, tmp_path):
    def told(file="bad.safetensors"):
        return one_line(capsys, "sample", "--model", file, "--out", "old.npz")

    (tmp_path / "old.npz").write_bytes(b"as it was")
    good = (shipped / "kana-pixel.safetensors").read_bytes()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(good[:-9])
    assert "cut off, damaged" in told()
    bad.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    assert "checksum is wrong" in told()
    bad.write_bytes(b"")
    assert "cut off, damaged" in told()
    tensors, page = sd.checkpoint.load(shipped / "kana-pixel.safetensors")
    for change, says in (
        ({"shape": [2, 8, 8]}, "states have shape (2, 8, 8), which does not fit"),
        ({"classes": ["あ"]}, "names 1 classes, and its network knows 4"),
        ({"network": page["network"] | {"width": 16}}, "do not fit its own description"),
        ({"network": page["network"] | {"depth": 2}}, "does not describe its model as this version does"),
        ({"kind": "classifier"}, "no model of images but: classifier"),
    ):
        sd.checkpoint.save(bad, tensors, page | change)
        assert says in told()
    sd.train.fit(pixel().denoiser, sd.noise.normal((4, 1, 8, 8), 1), steps=1, batch=2, checkpoint=tmp_path / "run")
    assert "a run of training (at its end model.safetensors is written beside it)" in told("run")
    assert "neither a file nor a name" in told(str(tmp_path))
    assert (tmp_path / "old.npz").read_bytes() == b"as it was"


@pytest.mark.parametrize("words", ["--model kana-pixel", "--law ring"])
@pytest.mark.parametrize("name", ["old.png", "old.npz"])
def test_a_full_disk_leaves_the_old_file(words, name, capsys, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"as it was")

    def full(descriptor, mode):
        os.close(descriptor)
        return open("/dev/full", mode)

    monkeypatch.setattr(os, "fdopen", full)
    told = one_line(capsys, "sample", "--n", "2", "--steps", "2", *words.split(), "--out", name)
    assert f"{name} could not be written (No space left on device)" in told
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == b"as it was"


def test_a_place_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "x.png").mkdir()
    assert "x.png could not be written" in one_line(
        capsys, "sample", "--model", "kana-pixel", *QUICK, "--n", "2", "--out", "x.png"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_models_are_listed_and_their_cards_printed(capsys, shipped):
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [p.stem for p in sorted(shipped.glob("*.safetensors"))]
    size = (shipped / "kana-latent.safetensors").stat().st_size
    assert lines[1].split() == ["kana-latent", "latent", f"{size / 1e6:.2f}", "MB", "psnr", "33.25"]
    assert main(["models", "kana-latent"]) == 0
    told = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert told[0] == ["kana-latent"]
    fields = dict(told[1:])
    model = models.load("kana-latent")
    assert model.autoencoder is not None
    count = sum(v.numel() for m in (model.denoiser, model.autoencoder) for v in m.state_dict().values())
    assert fields["numbers"] == f"{count:,} (float32)" and fields["seconds"] == "1,234"
    assert fields["recipe"] == "bf16 True, steps 3" and fields["figures"] == "psnr 33.25"
    assert "no model 'kana'" in one_line(capsys, "models", "kana")


def test_the_readme_of_the_models_is_written_from_them(capsys, shipped, tmp_path, monkeypatch):
    assert main(["models", "--write"]) == 0
    text = (shipped / "README.md").read_text("utf8")
    assert text == cards.readme() and "| `kana-autoencoder` | autoencoder |" in text and "psnr 33.25" in text
    assert str(shipped) not in text
    (shipped / "README.md").unlink()
    monkeypatch.setattr(models, "FOLDER", tmp_path / "empty")
    assert "There are none yet" in cards.readme()
    capsys.readouterr()
    assert main(["models"]) == 0 and "there are no models in" in capsys.readouterr().out
    sd.checkpoint.save(tmp_path / "other.safetensors", {"a": torch.zeros(2)}, {"steps": 3})
    assert "holds no model but: a checkpoint" in one_line(capsys, "models", "other.safetensors")
