"""From a font to 32x32 images: one large glyph, a signed distance field, many random warps of it.

A glyph is drawn once, large, and turned into a *signed distance field* d (positive inside the ink). An image is
then a warp of that field, a stroke offset w and a soft threshold,

    image(u) = ramp( d(A u + b + e(u)) + w ),       ramp(d) = clip(1/2 + d/2, 0, 1),

with A a rotation, shear and scale, b a shift and e a smooth elastic displacement. Warping the field instead of the
pixels keeps edges sharp, and changing w changes the stroke weight as a heavier or lighter pen would.

Every operation is one that IEEE arithmetic rounds exactly (+ - * / and comparisons): the rotation uses rational
formulas instead of cos and sin, and no BLAS is called, so the same fonts give the same bytes on other processors.
"""

from functools import reduce
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIZE = 32  # side of an image
CANVAS = 128  # side of the distance field: 4 units per image pixel
SEED = 20_261


def distance_field(path: str | Path, character: str) -> np.ndarray:
    """Signed distance (CANVAS, CANVAS) to the outline of a glyph whose longest side is fitted to 3/4 of the canvas.

    Fitting by the ink, not by the font's em square, makes brush fonts (drawn 20 % smaller) as large as printed ones.
    Raises `ValueError` when the font has no ink for the character.
    """
    font = ImageFont.truetype(str(path), 2 * CANVAS, layout_engine=ImageFont.Layout.BASIC)
    ink = Image.new("L", (4 * CANVAS, 4 * CANVAS))
    ImageDraw.Draw(ink).text((CANVAS, CANVAS), character, fill=255, font=font)
    box = ink.getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < CANVAS / 8:
        raise ValueError(f"{Path(path).name} has no usable glyph for {character!r}: choose another font")
    width, height = box[2] - box[0], box[3] - box[1]
    longest, side = max(width, height), 3 * CANVAS // 4
    size = (max(1, width * side // longest), max(1, height * side // longest))
    canvas = Image.new("L", (CANVAS, CANVAS))
    corner = ((CANVAS - size[0]) // 2, (CANVAS - size[1]) // 2)
    canvas.paste(ink.crop(box).resize(size, Image.Resampling.BOX), corner)
    coverage = np.asarray(canvas, dtype=np.float64) / 255
    inside = coverage >= 0.5
    deep, far = (np.asarray(ndimage.distance_transform_edt(mask)) for mask in (inside, ~inside))
    # Distances run between pixel centres (±1 beside the edge); half a pixel less measures from the edge itself.
    field = deep - far - np.where(inside, 0.5, -0.5)
    field = ndimage.uniform_filter(field, 3, mode="nearest")  # rounds the staircase of the pixels
    return np.rint(field * 1024) / 1024  # short fractions: no rounding error of the filter survives


def _spline_basis(points: int, knots: int) -> np.ndarray:
    """Uniform cubic B-splines (points, knots): smooth interpolation of a few random displacements."""
    u = np.arange(points) * ((knots - 3) / points)
    distance = np.abs(u[:, None] - (np.arange(knots) - 1))
    near, far = 2 / 3 - distance * distance * (1 - distance / 2), np.maximum(2 - distance, 0)
    return np.where(distance < 1, near, far * far * far / 6)


def warp(field: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random images uint8 (count, SIZE, SIZE), ink 255 on 0, of one distance field.

    Rotation within ±8 degrees, shear ±0.12, scale 0.86 to 1.06 (each axis another ±4 %), shift ±1.5 pixels, elastic
    displacement of about a third of a pixel, stroke weight ±0.25 pixel a side (thin fonts are thickened first, black
    ones kept open).
    """

    def uniform(low: float, high: float) -> np.ndarray:
        return low + (high - low) * rng.random((count, 1, 1))

    points = 2 * SIZE
    axis = (np.arange(points) + 0.5) * (CANVAS / points) - CANVAS / 2
    y, x = axis[None, :, None], axis[None, None, :]
    half_turn = uniform(-0.07, 0.07)  # tan(angle/2): rational cosine and sine are exact on every processor
    cosine = (1 - half_turn * half_turn) / (1 + half_turn * half_turn)
    sine = 2 * half_turn / (1 + half_turn * half_turn)
    shear, scale, aspect = uniform(-0.12, 0.12), uniform(0.86, 1.06), uniform(0.96, 1.04)
    v, u = (sine * x + cosine * y) / scale, (cosine * x - sine * y) / (scale * aspect)
    shift = CANVAS / SIZE * 1.5
    rows, columns = v + uniform(-shift, shift), u + shear * v + uniform(-shift, shift)

    basis = _spline_basis(points, 7)
    for target in (rows, columns):
        knots = (2 * rng.random((count, 7, 7)) - 1) * 5.0
        along = reduce(np.add, (knots[:, :, None, k] * basis[None, None, :, k] for k in range(7)))
        target += reduce(np.add, (along[:, k, None, :] * basis[None, :, k, None] for k in range(7)))

    # Area over length of outline: the mean half-width of a stroke, weighted by its length, so hairlines count.
    half_stroke = np.count_nonzero(field > 0) / (np.count_nonzero(np.abs(field) < 1) / 2)
    weight = uniform(-1.0, 1.0) + max(0.0, 3.4 - half_stroke)
    weight = np.minimum(weight, max(7.5 - half_stroke, -1.5))
    where = np.stack([rows, columns]) + (CANVAS - 1) / 2
    depth = ndimage.map_coordinates(field, where, order=1, mode="nearest") + weight
    grey = np.clip(0.5 + depth / 2, 0, 1)
    box = (grey[:, ::2, ::2] + grey[:, 1::2, ::2]) + (grey[:, ::2, 1::2] + grey[:, 1::2, 1::2])
    return np.floor(box * (255 / 4) + 0.5).astype(np.uint8)


def touches_border(images: np.ndarray) -> np.ndarray:
    """Whether each image (n, side, side) has ink in its outermost ring of pixels."""
    return np.logical_or(images[:, [0, -1], :].any((1, 2)), images[:, :, [0, -1]].any((1, 2)))


def glyph_images(path: str | Path, character: str, count: int, key: tuple[int, ...]) -> np.ndarray:
    """`count` warped images of one glyph; those that would touch the border are drawn again from the same stream."""
    field, rng = distance_field(path, character), np.random.default_rng((SEED, *key))
    images = warp(field, count, rng)
    for _ in range(100):
        cut = touches_border(images)
        if not cut.any():
            return images
        images[cut] = warp(field, int(cut.sum()), rng)
    raise RuntimeError(f"{Path(path).name} {character!r} does not fit into {SIZE}x{SIZE} pixels: choose another font")
