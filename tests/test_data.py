"""Kana data: what is in the file, that it is the recorded file, and that the fonts still give it byte for byte."""

import hashlib
import io
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdelab.__main__ import main
from sdelab.data import draw, glyphs, kana, load_kana
from sdelab.data.fonts import FONTS, find_fonts, packages

ROOT = Path(__file__).parents[1]
README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def arrays():
    return kana.read()


@pytest.fixture(scope="module")
def fonts(arrays):
    """The installed fonts, if they are the very files the data was drawn from."""
    try:
        paths = find_fonts()
    except FileNotFoundError as missing:
        pytest.skip(f"kana fonts not installed: {missing}")
    found = [hashlib.sha256(paths[font.name].read_bytes()).hexdigest() for font in FONTS]
    other = [font.name for font, a, b in zip(FONTS, found, arrays["font_sha256"], strict=True) if a != b]
    if other:
        pytest.skip(f"other versions of these fonts are installed: {', '.join(other)}")
    return paths


# ---- what is in the file


def test_numbers_of_the_specification(arrays):
    assert len(arrays["images"]) >= 20_000 and arrays["images"].shape[1:] == (32, 32)
    assert arrays["images"].dtype == np.uint8
    assert kana.KANA_FILE.stat().st_size < 12_000_000
    assert len(set(arrays["classes"].tolist())) == 46 and "".join(arrays["classes"]) == draw.KANA
    assert sum(not font.held_out for font in FONTS) >= 12 and sum(font.held_out for font in FONTS) >= 4
    assert {font.style for font in FONTS if not font.held_out} == {"print", "pencil", "brush"}
    assert {font.style for font in FONTS if font.held_out} == {"print", "pencil", "brush"}


def test_every_font_and_class_is_there_equally_often_and_splits_do_not_leak(arrays):
    counts = np.zeros((3, len(FONTS), 46), int)
    np.add.at(counts, (arrays["splits"], arrays["fonts"], arrays["labels"]), 1)
    held_out = np.array([font.held_out for font in FONTS])
    for s, split in enumerate(kana.SPLITS):
        there = held_out if split == "test_fonts" else ~held_out
        assert (counts[s][there] == draw.PER_GLYPH[split]).all(), split
        assert (counts[s][~there] == 0).all(), split
    assert len({image.tobytes() for image in arrays["images"]}) == len(arrays["images"])


def test_no_glyph_is_cut_empty_or_filled(arrays):
    assert not glyphs.touches_border(arrays["images"]).any()
    ink = arrays["images"].mean((1, 2)) / 255
    assert 0.02 < ink.min() and ink.max() < 0.40
    assert arrays["images"].max((1, 2)).min() > 200, "a glyph without one dark pixel is too faint to read"
    # Fitted to the same size: the ink spans between a half and all of the inner 30 pixels.
    ends = [np.ptp(np.flatnonzero(np.any(image, axis))) for image in arrays["images"][::40] for axis in (0, 1)]
    longest = np.reshape(ends, (-1, 2)).max(1) + 1
    assert longest.min() >= 18 and longest.max() <= 30


def test_fonts_are_different_designs(arrays):
    means = np.zeros((len(FONTS), 46, 32 * 32))
    flat = arrays["images"].reshape(-1, 32 * 32) / 255.0
    np.add.at(means, (arrays["fonts"], arrays["labels"]), flat)
    means -= means.mean(2, keepdims=True)
    means /= np.linalg.norm(means, axis=2, keepdims=True)
    alike = np.einsum("ick,jck->ij", means, means) / 46 - np.eye(len(FONTS))
    assert alike.max() < 0.96, [FONTS[i].name for i in np.unravel_index(alike.argmax(), alike.shape)]
    assert len(set(arrays["font_sha256"].tolist())) == len(FONTS)


def nearest_neighbour_accuracy(arrays, split, questions=600):
    train = arrays["splits"] == 0
    known, test = (
        arrays["images"][m].reshape(-1, 1024).astype(np.float32) / 255 for m in (train, arrays["splits"] == split)
    )
    distance = (known * known).sum(1) - 2 * test[:questions] @ known.T
    return (
        arrays["labels"][train][distance.argmin(1)] == arrays["labels"][arrays["splits"] == split][:questions]
    ).mean()


def test_classes_are_separable(arrays):
    """Pixel-wise nearest neighbours: right on seen fonts, often right on fonts never seen, lost when labels are."""
    assert nearest_neighbour_accuracy(arrays, 1) > 0.98
    assert nearest_neighbour_accuracy(arrays, 2) > 0.80
    mixed = {**arrays, "labels": np.random.default_rng(0).permutation(arrays["labels"])}
    assert nearest_neighbour_accuracy(mixed, 1) < 0.1


# ---- loading


def test_load_kana_gives_scaled_images_labels_and_fonts(arrays):
    train = load_kana()
    assert train.images.shape == (31_280, 1, 32, 32) and train.images.dtype == torch.float32
    assert train.images.min() == -1 and train.images.max() == 1
    assert train.labels.dtype == torch.int64 and train.classes[int(train.labels[0])] in draw.KANA
    raw = load_kana(dtype=torch.uint8)
    assert torch.equal(raw.images[:, 0], torch.from_numpy(arrays["images"][arrays["splits"] == 0]))
    assert torch.allclose((train.images + 1) * 127.5, raw.images.float(), atol=1e-4)
    assert load_kana("test_fonts", torch.float64).images.dtype == torch.float64
    unseen = load_kana("test_fonts").fonts
    assert unseen is not None and set(unseen.tolist()) == {i for i, font in enumerate(FONTS) if font.held_out}
    sizes = {s: len(load_kana(s, torch.uint8).labels) for s in ("train", "test_images", "test_fonts", "test", "all")}
    assert sizes["test"] == sizes["test_images"] + sizes["test_fonts"]
    assert sizes["all"] == sizes["train"] + sizes["test"] == len(arrays["images"])
    assert train.font_names == tuple(font.name for font in FONTS)


def test_bad_arguments_say_what_to_write():
    with pytest.raises(ValueError, match="split must be one of train, test_images"):
        load_kana("validation")
    with pytest.raises(TypeError, match="floating type"):
        load_kana(dtype=torch.int32)


def test_a_missing_or_damaged_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m sdelab data kana"):
        load_kana(path=tmp_path / "kana.npz")
    copy = tmp_path / "kana.npz"
    content = bytearray(kana.KANA_FILE.read_bytes())
    copy.write_bytes(content)
    assert len(load_kana("test_images", path=copy).labels) == 5520  # checked against the repository's record
    content[len(content) // 2] ^= 1  # one bit
    copy.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged or is another version.*git checkout"):
        load_kana(path=copy)
    copy.write_bytes(content[:1000])
    with pytest.raises(ValueError, match="1,000 bytes"):
        load_kana(path=copy)
    copy.with_suffix(".sha256").write_text(f"{'0' * 64}  kana.npz\n")
    with pytest.raises(ValueError, match="0000"):
        load_kana(path=copy)


def test_nothing_is_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([{"an": "object"}], dtype=object))
    path = tmp_path / "kana.npz"
    path.write_bytes(buffer.getvalue())
    path.with_suffix(".sha256").write_text(f"{hashlib.sha256(buffer.getvalue()).hexdigest()}  kana.npz\n")
    with pytest.raises(ValueError, match="allow_pickle=False"):
        kana.read(path)


# ---- drawing


def disc() -> np.ndarray:
    """A distance field that needs no font: a ring with a bar, in exact arithmetic."""
    y, x = np.mgrid[:128, :128] - 63.5
    return (
        np.rint(np.maximum(6 - abs(np.sqrt(x * x + y * y) - 30), np.minimum(4 - abs(x - 8), 40 - abs(y))) * 1024) / 1024
    )


WARPED = "6405038688fb54645a7d81732b065193f79c1d4f6cf4b61c804f87537e7bc64c"
WARP = """
import hashlib, sys, numpy as np
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from sdelab.data import glyphs
assert not any(__cpu_features__[feature] for feature in __cpu_dispatch__), "numpy still uses them"
images = glyphs.warp(np.load(sys.argv[1]), 50, np.random.default_rng(3))
print(hashlib.sha256(images.tobytes()).hexdigest())
"""


def test_warps_do_not_depend_on_the_processor(tmp_path):
    """The bytes of the day the data was drawn, also with numpy's AVX and FMA code paths switched off."""
    assert hashlib.sha256(glyphs.warp(disc(), 50, np.random.default_rng(3)).tobytes()).hexdigest() == WARPED
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    optional = " ".join(feature for feature in __cpu_dispatch__ if __cpu_features__[feature])
    np.save(tmp_path / "disc.npy", disc())
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": optional, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WARP, str(tmp_path / "disc.npy")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.stdout.strip() == WARPED, run.stderr


def test_warps_change_weight_and_place_but_stay_inside():
    images = glyphs.warp(disc(), 400, np.random.default_rng(0))
    assert not np.array_equal(images[0], images[1])
    ink = images.mean((1, 2)) / 255
    assert ink.std() / ink.mean() > 0.05
    rows = (images.astype(float) * np.arange(32)[:, None]).sum((1, 2)) / images.sum((1, 2), dtype=float)
    assert abs(rows.mean() - 15.5) < 0.15 and 0.5 < rows.std() < 1.5


def test_a_glyph_that_cannot_fit_is_refused(monkeypatch):
    flood = np.where(disc() > 0, 0.0, 5.0)  # ink everywhere but a ring
    monkeypatch.setattr(glyphs, "distance_field", lambda path, character: flood)
    with pytest.raises(RuntimeError, match="does not fit"):
        glyphs.glyph_images("font.ttf", "あ", 1, (0,))


def test_the_zip_has_no_clock_and_says_what_it_holds():
    content = {"b": np.arange(5, dtype=np.uint8), "a": np.array(["あ", "い"])}
    first = kana.npz_bytes(content)
    assert first == kana.npz_bytes(dict(reversed(content.items())))
    with np.load(io.BytesIO(first), allow_pickle=False) as archive:
        assert archive["a"].tolist() == ["あ", "い"] and archive["b"].tolist() == [0, 1, 2, 3, 4]
    assert kana.content_sha256(content) != kana.content_sha256({**content, "b": content["b"].astype(np.int16)})


def test_missing_fonts_name_the_packages(tmp_path, capsys):
    with pytest.raises(FileNotFoundError) as error:
        find_fonts(tmp_path)
    assert f"apt-get install --no-install-recommends {' '.join(packages())}" in str(error.value)
    assert main(["data", "kana", "--fonts", str(tmp_path), "--out", str(tmp_path / "kana.npz")]) == 1
    assert "fonts-klee" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_font_without_the_glyph_is_refused(fonts):
    with pytest.raises(ValueError, match="no usable glyph"):
        glyphs.distance_field(fonts["Oradano Mincho GSRR"], " ")


def test_the_fonts_give_the_recorded_file(fonts, arrays, tmp_path, capsys):
    """The whole data set, drawn again: every pixel, and with the same zlib every byte of the file."""
    again = draw.build()
    if kana.content_sha256(again) != kana.content_sha256(arrays) and draw.libraries() != draw.DRAWN_WITH:
        pytest.skip(f"drawn with {draw.libraries()}: not the pinned {draw.DRAWN_WITH}")
    for name in arrays:
        assert np.array_equal(again[name], arrays[name]), name
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:
        assert kana.save(again, tmp_path / "kana.npz") == hashlib.sha256(kana.KANA_FILE.read_bytes()).hexdigest()
        assert (tmp_path / "kana.sha256").read_text() == kana.KANA_FILE.with_suffix(".sha256").read_text()


# ---- records, command line


def test_readme_records_digests_fonts_packages_and_licences(arrays):
    assert f"{hashlib.sha256(kana.KANA_FILE.read_bytes()).hexdigest()}  kana.npz" in README
    assert kana.content_sha256(arrays) in README and draw.DRAWN_WITH in README
    for font, digest in zip(FONTS, arrays["font_sha256"], strict=True):
        role = r"\*\*held out\*\*" if font.held_out else "train"
        name, file, package = map(re.escape, (font.name, font.file, font.package))
        licence = "UmeFont" if font.licence == "Ume" else font.licence
        assert re.search(rf"^\| {name} \| `{file}` \| {package} \S+ \| .*{licence}.* \| {role} \|$", README, re.M), font
        assert f"{digest}  {font.file}" in README


def test_verify_prints_the_digest_and_draws_the_sheet(tmp_path, capsys, arrays):
    sheet = tmp_path / "sheet.png"
    assert main(["data", "verify", "--contact-sheet", str(sheet)]) == 0
    assert kana.content_sha256(arrays) in capsys.readouterr().out
    assert Image.open(sheet).size == (46 * 32, (len(FONTS) + 16) * 32 + 16)
    assert main(["data", "verify", "--file", str(tmp_path / "no.npz")]) == 1
    assert "error: no kana data" in capsys.readouterr().err
