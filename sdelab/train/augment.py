"""Images drawn afresh from a set: each a random row, turned, scaled and shifted a little, so that none comes twice."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from .. import noise
from .times import ROWS

# At strength 1: at most this many degrees, this share of the size, this many pixels.
TURN, ZOOM, SHIFT = 4.0, 0.04, 1.0


def warp(images: Tensor, u: Tensor) -> Tensor:
    """Images (n, channels, H, W) in [-1, 1] turned by u[:, 0] TURN degrees, larger by u[:, 1] ZOOM, shifted by
    u[:, 2] SHIFT pixels to the right and u[:, 3] SHIFT down; u is (n, 4).

    Between pixels by cubic interpolation, held within [-1, 1]; beyond the edge by its colour.
    """
    n, _, height, width = images.shape
    angle, size, right, down = u.to(images).T
    angle, size = math.radians(TURN) * angle, 1 + ZOOM * size
    c, s = angle.cos() / size, angle.sin() / size
    x, y = 2 * SHIFT / width * right, 2 * SHIFT / height * down  # in half sides, as affine_grid counts
    c_y, c_x = s * height / width, -s * width / height
    # where in the old image each place of the new one was: (turn and size)^-1 (place - shift)
    rows = [torch.stack([c, c_y, -c * x - c_y * y], 1), torch.stack([c_x, c, -c_x * x - c * y], 1)]
    grid = affine_grid(torch.stack(rows, 1), [n, 1, height, width], align_corners=False)
    return grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(-1, 1)


def augmented(
    data: Tensor | tuple[Tensor, Tensor], strength: float, *, seed: int, then: Callable[[Tensor], Tensor] | None = None
) -> Callable[..., Any]:
    """An endless stream for :func:`sdelab.train.fit` of rows of ``data``, images or (images, classes), warped afresh.

    Every row of the stream is a random row of the data and four numbers u, uniform between ± ``strength``, for
    :func:`warp`: a pure function of (seed, the row's number). then: what is done with the warped images, such as
    encoding them. A generative model learns the warps along with the images, so let them be small. ``ValueError``: a
    negative strength.
    """
    if not strength >= 0:
        raise ValueError(f"the strength of augmentation must not be negative, and is {strength}")
    return partial(_rows, data, strength, seed, then or (lambda x: x))


def _rows(data, strength: float, seed: int, then: Callable[[Tensor], Tensor], n: int, *, first: int):
    images, *classes = [data] if torch.is_tensor(data) else data
    u = noise.uniform((n, 5), seed, key=(noise.TRAIN, -1, ROWS), dtype=torch.float64, first=first)
    rows = (u[:, 0] * len(images)).long().clamp_max(len(images) - 1)
    x = then(warp(images[rows.to(images.device)], strength * (2 * u[:, 1:] - 1)))
    return (x, classes[0][rows.to(classes[0].device)]) if classes else x
