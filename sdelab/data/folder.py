"""Images of one's own: a folder of pictures, in one folder per class or all in one."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from sdelab.data.common import Dataset, scaled

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def load_folder(path: str | Path, size: int = 32, dtype: torch.dtype = torch.float32, mode: str = "L") -> Dataset:
    """Every picture below ``path``, cut to its middle square and resized: (n, 1 or 3, size, size), in [-1, 1] or uint8.

    Folders in ``path`` are the classes, in alphabetical order; without any, there is one class named after ``path``.
    mode: "L" grey, "RGB" colours. ``FileNotFoundError``: no pictures there; ``ValueError``: a file that is no picture
    in spite of its ending, another mode.
    """
    path = Path(path)
    if mode not in ("L", "RGB"):
        raise ValueError(f"mode must be 'L' (grey) or 'RGB', not {mode!r}")
    folders = sorted(p for p in path.glob("*") if p.is_dir()) or [path]
    files = [(f, n) for n, d in enumerate(folders) for f in sorted(d.rglob("*")) if f.suffix.lower() in ENDINGS]
    if not files:
        raise FileNotFoundError(f"no pictures ({', '.join(ENDINGS)}) below {path}")
    images = torch.from_numpy(np.stack([_square(f, size, mode) for f, _ in files]))
    labels = torch.tensor([n for _, n in files])
    return Dataset(scaled(images, dtype), labels, tuple(d.name for d in folders))


def _square(file: Path, size: int, mode: str) -> np.ndarray:
    """One picture (channels, size, size), uint8."""
    try:
        with Image.open(file) as picture:
            side = min(picture.size)
            left, top = ((length - side) // 2 for length in picture.size)
            square = picture.convert(mode).crop((left, top, left + side, top + side))
            pixels = np.asarray(square.resize((size, size), Image.Resampling.BOX))
            return pixels.reshape(size, size, -1).transpose(2, 0, 1)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{file} cannot be read as a picture: {error}; remove it or give it another ending") from error
