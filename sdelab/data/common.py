"""What every image loader returns, and how files are written."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch

from sdelab._checks import writing


class Dataset(NamedTuple):
    """Images with labels.

    images: (n, 1, side, side), floating in [-1, 1] (background -1, ink +1) or uint8 in 0..255; labels: (n,) int64,
    indices into `classes`; fonts: (n,) int64, indices into `font_names`, or None where there are no fonts.
    """

    images: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...]
    fonts: torch.Tensor | None = None
    font_names: tuple[str, ...] = ()


def scaled(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """uint8 images as they are, or x/127.5 - 1 in [-1, 1] for a floating `dtype`; `TypeError` otherwise."""
    if dtype == torch.uint8:
        return images
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating type (images in [-1, 1]) or torch.uint8 (0 to 255), got {dtype}")
    return images.to(dtype).div_(127.5).sub_(1)


def replace_file(path: str | Path, content: bytes) -> None:
    """Write a whole file or nothing: a temporary neighbour, then one atomic rename. ``OSError`` says what to do."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
