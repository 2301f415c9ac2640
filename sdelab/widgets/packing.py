"""Arrays of frames as one compressed run of bytes, read by ``unpack`` in ``player.mjs`` and by :func:`unpack` here.

Layout, before zlib: a little-endian uint32 with the length of the header, the header (JSON), then the arrays one after
another. Integers are stored as differences along the axes named in ``delta`` (modulo their range) and 16-bit numbers as
two planes of bytes: smooth pictures and slowly moving particles then compress to a fraction of their size.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

STORED = {"uint8", "uint16", "float32"}


@dataclass(frozen=True)
class Quantised:
    """Levels 0, 1, ... standing for ``lo + (hi - lo) * level / top``."""

    levels: np.ndarray
    lo: float
    hi: float
    top: int
    delta: tuple[int, ...] = ()

    @property
    def values(self) -> np.ndarray:
        """What the levels stand for, float64."""
        return self.lo + (self.hi - self.lo) * self.levels / self.top


def quantise(values: Any, lo: float, hi: float, top: int = 65535, delta: tuple[int, ...] = ()) -> Quantised:
    """Round ``values`` to ``top + 1`` levels between ``lo`` and ``hi`` (those outside are moved to the ends).

    The error inside is at most half a level, ``(hi - lo) / (2 * top)``. ``delta`` names the axes along which
    neighbouring levels are close, for the packing.
    """
    if not (1 <= top <= 65535 and hi > lo):
        raise ValueError(f"quantise needs 1 <= top <= 65535 and lo < hi; got top={top}, lo={lo}, hi={hi}")
    scaled = (np.clip(np.asarray(values, dtype=np.float64), lo, hi) - lo) * (top / (hi - lo))
    return Quantised(np.rint(scaled).astype(np.uint8 if top <= 255 else np.uint16), float(lo), float(hi), top, delta)


def pack(arrays: dict[str, Any], **header: Any) -> bytes:
    """Arrays (float, or :class:`Quantised`) and a JSON-able header as zlib-compressed bytes. Floats become float32."""
    described, raw = [], []
    for name, array in arrays.items():
        about: dict[str, Any] = {"name": name}
        if isinstance(array, Quantised):
            about |= {"lo": array.lo, "hi": array.hi, "top": array.top, "delta": list(array.delta)}
            stored = array.levels
            for axis in array.delta:
                stored = np.diff(stored, axis=axis, prepend=stored.dtype.type(0))
        else:
            stored = np.asarray(array, dtype=np.float32)
            if not np.isfinite(stored).all():
                raise ValueError(f"frames: {name!r} holds numbers that are not finite")
        described.append(about | {"dtype": stored.dtype.name, "shape": list(stored.shape)})
        raw.append(_planes(stored) if stored.dtype == np.uint16 else stored.tobytes())
    head = json.dumps({**header, "arrays": described}, ensure_ascii=False).encode()
    return zlib.compress(len(head).to_bytes(4, "little") + head + b"".join(raw), 6)


def unpack(packed: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of :func:`pack`, step by step as the page does it (levels turned into values)."""
    raw = zlib.decompress(packed)
    at = 4 + int.from_bytes(raw[:4], "little")
    header = json.loads(raw[4:at])
    arrays = {}
    for about in header.pop("arrays"):
        dtype, shape = np.dtype(about["dtype"]), about["shape"]
        if dtype.name not in STORED:
            raise ValueError(f"frames: {about['name']!r} is stored as {dtype.name}; known are {sorted(STORED)}")
        count = int(np.prod(shape))
        piece = np.frombuffer(raw, np.uint8, count * dtype.itemsize, at)
        at += piece.size
        if dtype == np.uint16:
            piece = np.ascontiguousarray(piece.reshape(2, count).T)
        array = piece.view(dtype).reshape(shape)
        for axis in about.get("delta", []):
            array = np.cumsum(array, axis=axis, dtype=dtype)
        if "top" in about:
            array = about["lo"] + (about["hi"] - about["lo"]) * array / about["top"]
        arrays[about["name"]] = array
    return header, arrays


def _planes(array: np.ndarray) -> bytes:
    """All low bytes, then all high bytes."""
    return array.astype("<u2").reshape(-1, 1).view(np.uint8).T.tobytes()
