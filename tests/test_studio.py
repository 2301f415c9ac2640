"""Recipes, pictures from a folder, and training by the command line: every part of it in small."""

import csv
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import sdelab as sd
from sdelab import cards, models, pictures, recipes, studio
from sdelab.__main__ import main
from sdelab.data.folder import load_folder

AUTOENCODER = "steps = 60\nwidth = 8\nlatent = 2\nbatch = 16\nevery = 20\nlr = 0.005\nwarmup = 5\n"
DENOISER = "steps = 30\nwidth = 8\nlevels = 1\nattention = false\nbatch = 8\nevery = 10\nwarmup = 5\n"


@pytest.fixture
def work(tmp_path):
    """A folder of pictures in two classes, bright above or below, and two recipes."""
    for name, half in (("below", slice(16, None)), ("above", slice(0, 16))):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for k in range(20):
            picture = np.full((32, 32), 20 + k, np.uint8)
            picture[half] = 200 + 2 * k
            Image.fromarray(picture).save(tmp_path / "shapes" / name / f"{k:02}.png")
    (tmp_path / "autoencoder.toml").write_text(AUTOENCODER)
    (tmp_path / "denoiser.toml").write_text(DENOISER)
    return tmp_path


def train(work, kind, *more):
    config = work / ("autoencoder.toml" if kind == "autoencoder" else "denoiser.toml")
    out = work / kind
    options = ["--data", str(work / "shapes"), "--config", str(config), "--out", str(out), "--device", "cpu", *more]
    return out, ["train", kind, *options]


def test_autoencoder_latent_and_pixel_by_the_command_line(work, capsys):
    out, arguments = train(work, "autoencoder")
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "autoencoder on 36 images, 60 steps, cpu" in told and "psnr" in told
    rows = list(csv.DictReader((out / studio.LOG).open()))
    assert [row["step"] for row in rows] == ["20", "40", "60"] and float(rows[2]["loss"]) < float(rows[0]["loss"])
    with Image.open(out / studio.SHEET) as sheet:
        assert sheet.size == (4 * 64, 2 * 64)  # every tenth of 40 is held out

    encoder = models.load_autoencoder(out / studio.MODEL)
    z = sd.latent.encode(encoder, load_folder(work / "shapes").images)
    assert z.shape == (40, 2, 8, 8) and abs(float(z.std()) - 1) < 0.1

    for kind, shape, more in (
        ("latent", (2, 8, 8), ("--autoencoder", str(out / studio.MODEL))),
        ("pixel", (1, 32, 32), ()),
    ):
        folder, arguments = train(work, kind, *more)
        assert main(arguments) == 0
        model = models.load(folder / studio.MODEL)
        assert model.shape == shape and model.classes == ("above", "below")
        card = model.about
        assert set(cards.FIELDS) <= card.keys() and card["figures"].keys() == {"loss"} and not card["resumed"]
        assert card["recipe"]["width"] == 8 and card["data"] == "shapes, 36 images" and 0 < card["seconds"] < 600
        encoder_told = "--autoencoder autoencoder/model.safetensors " if kind == "latent" else ""
        told = f"python -m sdelab train {kind} --data shapes --config denoiser.toml {encoder_told}--seed 0"
        assert card["command"] == told
        assert str(work) not in cards.text(folder / studio.MODEL)
        x = sd.noise.prior(model.denoiser.process, (2, *shape), seed=1)
        assert model.images(model.denoiser.of(model.classes_of(["above", "below"]))(x, 1.0)).shape == (2, 1, 32, 32)
        begun_with(work, kind, folder / studio.MODEL, capsys)


def begun_with(work, kind, start, capsys):
    """--start: a step that moves nothing leaves the model it began with; another kind of model is refused."""
    config, out = work / "still.toml", work / f"{kind}-again"
    options = ["--data", str(work / "shapes"), "--config", str(config), "--out", str(out), "--device", "cpu"]
    again = ["train", kind, *options, "--start", str(start), "--seed", "5"]
    config.write_text(DENOISER.replace("steps = 30", "steps = 1\nlr = 1e-15").replace("warmup = 5", "warmup = 0"))
    assert main(again) == 0
    one, other = (models.load(path) for path in (start, out / studio.MODEL))
    assert other.denoiser.sigma_data == one.denoiser.sigma_data
    for a, b in zip(one.denoiser.parameters(), other.denoiser.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-8)
    assert (one.autoencoder is None) == (other.autoencoder is None) == (kind == "pixel")
    if one.autoencoder is not None and other.autoencoder is not None:
        assert all(map(torch.equal, one.autoencoder.state_dict().values(), other.autoencoder.state_dict().values()))
    assert f"--start {kind}/model.safetensors --seed 5" in other.about["command"]
    other_kind = {"latent": "pixel", "pixel": "latent"}[kind]
    assert main([other_kind if word == kind else word for word in again]) == 1
    assert f"is no {other_kind} model" in capsys.readouterr().err
    config.write_text(config.read_text().replace("width = 8", "width = 16"))
    assert main(again) == 1
    assert "cannot begin with the weights of that model: width 8 there, 16 here" in capsys.readouterr().err


def test_classifier_by_the_command_line(work, capsys):
    config, out = work / "classifier.toml", work / "classifier"
    config.write_text("steps = 30\nwidth = 8\nbatch = 8\nevery = 10\nlr = 0.005\nwarmup = 5\n")
    options = ["--data", str(work / "shapes"), "--config", str(config), "--out", str(out), "--device", "cpu"]
    assert main(["train", "classifier", *options]) == 0
    assert "classifier on 36 images, 30 steps, cpu" in capsys.readouterr().out
    model, page = models.load_classifier(out / studio.MODEL), sd.checkpoint.load(out / studio.MODEL)[1]
    found = load_folder(work / "shapes")
    right = (model(found.images).argmax(1) == found.labels).double()
    held = torch.arange(40) % 10 == 0
    assert page["about"]["classes"] == ["above", "below"] == list(found.classes)
    assert page["about"]["figures"] == {"accuracy_train": float(right[~held].mean()), "accuracy": 1.0}
    assert float(right.mean()) > 0.9
    with Image.open(out / studio.SHEET) as sheet:
        assert sheet.size == (16 * 64, 64)  # four pictures, in a row for sixteen


def test_what_makes_no_sense_is_told(work, capsys):
    for arguments, says in (
        (train(work, "latent")[1], "needs it: train one first"),
        (train(work, "pixel", "--autoencoder", "x")[1], "belongs to `train latent`"),
        (train(work, "latent", "--autoencoder", "nowhere")[1], "no model 'nowhere'"),
        (train(work, "latent", "--start", "nowhere")[1], "no model 'nowhere'"),
        (train(work, "latent", "--start", "x", "--autoencoder", "x")[1], "brings its own autoencoder"),
        (train(work, "autoencoder", "--start", "x")[1], "--start is for `train latent` and `train pixel`"),
        (["train", "pixel", "--data", "kanna"], "'kanna' is none of these"),
        (["train", "pixel", "--config", "tny"], "did you mean 'tiny'"),
        (["train", "pixel", "--device", "cuda"], "no GPU" if not torch.cuda.is_available() else ""),
    ):
        if says:
            assert main(arguments) == 1
            assert says in capsys.readouterr().err


def test_ctrl_c_saves_and_the_same_command_goes_on(work, monkeypatch, ctrl_c):
    """Interrupted at its first log and called again: the files of a run that nobody stopped."""
    draw = pictures.sheet

    def interrupting(*args, **kwargs):
        draw(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)

    out, arguments = train(work, "autoencoder")
    monkeypatch.setattr(pictures, "sheet", interrupting)
    with pytest.raises(SystemExit, match="stopped after step 20; the same call goes on from"):
        main(arguments)
    assert (out / studio.RUN).exists() and not (out / studio.MODEL).exists()
    monkeypatch.setattr(pictures, "sheet", draw)
    assert main(arguments) == 0

    whole = work / "whole"
    assert main([str(whole) if a == str(out) else a for a in arguments]) == 0
    resumed = [cards.card(folder / studio.MODEL)["resumed"] for folder in (out, whole)]
    assert resumed == [True, False]
    for name in (studio.MODEL, studio.RUN):
        a, b = (sd.checkpoint.load(folder / name)[0] for folder in (out, whole))
        assert all(torch.equal(v, b[key]) for key, v in a.items()) and a.keys() == b.keys()
    assert (out / studio.LOG).read_bytes() == (whole / studio.LOG).read_bytes()


def test_recipes(tmp_path):
    assert recipes.recipe("latent", "tiny").steps < recipes.recipe("latent").steps
    file = tmp_path / "own.toml"
    file.write_text("width = 16\nema = 0\n")
    made = recipes.recipe("pixel", file, steps=7)
    assert isinstance(made, recipes.DenoiserRecipe) and made.levels == 4
    assert (made.width, made.ema, made.steps) == (16, 0, 7)
    for text, says in (
        ("widht = 1", "unknown setting 'widht'; did you mean 'width'"),
        ("width = 1.5", "width must be of type int"),
        ("attention = 1", "attention must be of type bool"),
        ("width = ", "not valid TOML"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=says):
            recipes.recipe("pixel", file)
    with pytest.raises(ValueError, match="unknown kind of model"):
        recipes.recipe("pixels")
    with pytest.raises(FileNotFoundError):
        recipes.recipe("pixel", tmp_path / "none.toml")


def test_pictures_of_a_folder(tmp_path):
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 255  # the middle square
    Image.fromarray(wide).save(tmp_path / "b.PNG")
    Image.fromarray(np.full((8, 8, 3), (255, 0, 0), np.uint8)).save(tmp_path / "a.bmp")
    (tmp_path / "notes.txt").write_text("no picture")
    grey = load_folder(tmp_path, size=8, dtype=torch.uint8)
    assert grey.images.shape == (2, 1, 8, 8) and grey.classes == (tmp_path.name,) and grey.labels.tolist() == [0, 0]
    assert bool((grey.images[1] == 255).all()) and bool((grey.images[0] == 76).all())
    red = load_folder(tmp_path, size=8, mode="RGB").images[0]
    assert torch.equal(red.mean((1, 2)), torch.tensor([1.0, -1.0, -1.0]))
    (tmp_path / "c.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"c\.png cannot be read"):
        load_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no pictures"):
        load_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="'L' \\(grey\\) or 'RGB'"):
        load_folder(tmp_path, mode="CMYK")


def test_sheets(tmp_path):
    images = torch.stack([torch.full((1, 3, 2), v) for v in (-1.0, 0.0, 5.0)])
    pictures.sheet(images, tmp_path / "sheet.png", columns=2, scale=1)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (6, 4)
    assert [pixels[0, 0], pixels[0, 2], pixels[3, 0], pixels[3, 2]] == [255, 128, 0, 255]
    colours = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    pictures.sheet(colours, tmp_path / "sheet.png", columns=2, scale=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (12, 6) and sheet.getpixel((5, 5)) == (255, 0, 128)
    with pytest.raises(ValueError, match="1 or 3"):
        pictures.sheet(torch.zeros(2, 2, 4, 4), tmp_path / "no.png")
