"""Sheets of many small images in one PNG file."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from .data.common import replace_file


def sheet(images: Tensor, path: str | Path, columns: int = 8, scale: int = 2) -> None:
    """Write :func:`png` of images to a file, whole or not at all."""
    replace_file(path, png(images, columns, scale))


def png(images: Tensor, columns: int = 8, scale: int = 2) -> bytes:
    """Images (n, 1 or 3, H, W) in [-1, 1] row by row, as the content of a PNG file; paper (-1) is white.

    scale: how many times larger than they are. ``ValueError``: another shape.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"images must have shape (n, 1 or 3, H, W), not {tuple(images.shape)}")
    n, channels, height, width = images.shape
    sign = -1 if channels == 1 else 1
    tiles = (sign * images.detach().cpu().float().clamp(-1, 1) + 1).mul(127.5).round().byte().numpy()
    rows = -(-n // columns)
    full = np.full((rows * columns, channels, height, width), 255, np.uint8)
    full[:n] = tiles
    flat = full.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    flat = flat.reshape(rows * height, columns * width, channels).repeat(scale, 0).repeat(scale, 1)
    buffer = io.BytesIO()
    Image.fromarray(flat.squeeze(-1) if channels == 1 else flat).save(buffer, format="png")
    return buffer.getvalue()
