"""Draw the whole kana data set from the fonts, and a contact sheet to look at (`python -m sdelab data kana`)."""

import hashlib
from pathlib import Path

import numpy as np
import PIL
import scipy
from PIL import Image, features
from tqdm import tqdm

from sdelab.data.fonts import FONTS, find_fonts
from sdelab.data.glyphs import SEED, SIZE, glyph_images
from sdelab.data.kana import SPLITS

KANA = "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
PER_GLYPH = {"train": 34, "test_images": 6, "test_fonts": 16}  # images per font and class
DRAWN_WITH = "Pillow 13.0.0 (FreeType 2.14.3), numpy 2.4.6, scipy 1.17.1"


def libraries() -> str:
    """The libraries whose versions can change a pixel, to compare with DRAWN_WITH; FreeType comes inside Pillow."""
    freetype = features.version("freetype2")
    return f"Pillow {PIL.__version__} (FreeType {freetype}), numpy {np.__version__}, scipy {scipy.__version__}"


def build(root: str | Path = "/usr/share/fonts", progress: bool = False) -> dict[str, np.ndarray]:
    """Arrays of the data set, drawn from the fonts found under `root` (see `find_fonts` for missing ones).

    images (n, 32, 32) uint8, ink 255 on 0; labels, fonts, splits (n,) uint8, indices into classes (46,),
    font_names (25,) and split_names (3,); font_sha256 (25,) of the font files. Rows are grouped by split and
    shuffled within it, always in the same way.
    """
    paths = find_fonts(root)
    parts: dict[str, list] = {split: [] for split in SPLITS}
    for f, font in enumerate(tqdm(FONTS, unit="font", disable=not progress)):
        names = ("test_fonts",) if font.held_out else ("train", "test_images")
        counts = [PER_GLYPH[name] for name in names]
        for c, character in enumerate(KANA):
            images = glyph_images(paths[font.name], character, sum(counts), key=(f, c))
            for name, chunk in zip(names, np.split(images, np.cumsum(counts)[:-1]), strict=True):
                parts[name] += [(image, c, f) for image in chunk]

    rng, rows = np.random.default_rng(SEED), []
    for s, split in enumerate(SPLITS):
        order = np.argsort(rng.random(len(parts[split])), kind="stable")
        rows += [(*parts[split][i], s) for i in order]
    images, labels, fonts, splits = zip(*rows, strict=True)
    return {
        "images": np.stack(images),
        "labels": np.array(labels, np.uint8),
        "fonts": np.array(fonts, np.uint8),
        "splits": np.array(splits, np.uint8),
        "classes": np.array(list(KANA)),
        "font_names": np.array([font.name for font in FONTS]),
        "font_sha256": np.array([hashlib.sha256(paths[font.name].read_bytes()).hexdigest() for font in FONTS]),
        "split_names": np.array(SPLITS),
    }


def contact_sheet(arrays: dict[str, np.ndarray], path: str | Path, rows: int = 16) -> None:
    """PNG to look at: one image of every font (row) and class (column), a gap, then `rows` rows at random."""
    images, columns = arrays["images"], len(arrays["classes"])
    pair = arrays["fonts"].astype(int) * columns + arrays["labels"]
    _, first = np.unique(pair, return_index=True)
    chance = np.random.default_rng(SEED).integers(len(images), size=rows * columns)
    tiles = images[np.concatenate([first, chance])].reshape(-1, columns, SIZE, SIZE)
    sheet = 255 - tiles.transpose(0, 2, 1, 3).reshape(-1, columns * SIZE)
    gap = np.full((SIZE // 2, sheet.shape[1]), 128, np.uint8)
    split = len(first) // columns * SIZE
    Image.fromarray(np.concatenate([sheet[:split], gap, sheet[split:]])).save(path)
