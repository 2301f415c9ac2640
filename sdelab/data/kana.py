"""The kana data set as a file: write it byte for byte the same, load it only if its SHA-256 is the recorded one."""

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import torch

from sdelab.data.common import Dataset, replace_file, scaled

SPLITS = ("train", "test_images", "test_fonts")
KANA_FILE = Path(__file__).parents[2] / "data" / "kana.npz"


def content_sha256(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of the arrays themselves (names, types, shapes, bytes): independent of how they are compressed."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def npz_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """A compressed .npz without time stamps: the same arrays give the same bytes (with the same zlib)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, member.getvalue(), compresslevel=9)
    return buffer.getvalue()


def save(arrays: dict[str, np.ndarray], path: str | Path = KANA_FILE) -> str:
    """Write `path` and, beside it, its SHA-256 in a file that `sha256sum -c` reads; returns the SHA-256."""
    path, content = Path(path), npz_bytes(arrays)
    digest = hashlib.sha256(content).hexdigest()
    replace_file(path, content)
    replace_file(path.with_suffix(".sha256"), f"{digest}  {path.name}\n".encode())
    return digest


def read(path: str | Path = KANA_FILE) -> dict[str, np.ndarray]:
    """The arrays of `draw.build`, from a file whose SHA-256 is the recorded one.

    The record is the .sha256 file beside `path`, or the repository's. Raises `FileNotFoundError` when the data or
    the record is missing and `ValueError` when they disagree; nothing is unpickled.
    """
    path = Path(path)
    restore = "restore it with `git checkout -- data`, or draw it again with `python -m sdelab data kana`"
    if not path.is_file():
        raise FileNotFoundError(
            f"no kana data at {path}: it is part of the repository (data/kana.npz); {restore}, or pass path= to where "
            "your copy lies"
        )
    record = next((r for r in (path.with_suffix(".sha256"), KANA_FILE.with_suffix(".sha256")) if r.is_file()), None)
    if record is None:
        raise FileNotFoundError(f"no record {path.with_suffix('.sha256')} to check {path.name} against: {restore}")
    content, expected = path.read_bytes(), record.read_text().split()[0]
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is damaged or is another version: its SHA-256 is {found} ({len(content):,} bytes), "
            f"{record.name} says {expected}; {restore}"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def load_kana(split: str = "train", dtype: torch.dtype = torch.float32, path: str | Path | None = None) -> Dataset:
    """Hiragana images of 46 classes drawn from free fonts, after checking the SHA-256 of the file.

    split: `"train"` and `"test_images"` share fonts but no image; `"test_fonts"` has fonts seen nowhere else;
    `"test"` is both tests together and `"all"` everything. dtype: a floating type gives images (n, 1, 32, 32) in
    [-1, 1] with paper -1 and ink +1, `torch.uint8` gives 0 to 255.

    Raises `FileNotFoundError` or `ValueError` saying how to get the file (see `read`), `ValueError` for an unknown
    split, `TypeError` for an integer dtype other than uint8.
    """
    wanted = {**{name: (name,) for name in SPLITS}, "test": SPLITS[1:], "all": SPLITS}
    if split not in wanted:
        raise ValueError(f"split must be one of {', '.join(wanted)}, got {split!r}")
    arrays = read(KANA_FILE if path is None else path)
    names = arrays["split_names"].tolist()
    rows = np.isin(arrays["splits"], [names.index(name) for name in wanted[split]])
    return Dataset(
        images=scaled(torch.from_numpy(arrays["images"][rows])[:, None], dtype),
        labels=torch.from_numpy(arrays["labels"][rows]).long(),
        classes=tuple(arrays["classes"].tolist()),
        fonts=torch.from_numpy(arrays["fonts"][rows]).long(),
        font_names=tuple(arrays["font_names"].tolist()),
    )
