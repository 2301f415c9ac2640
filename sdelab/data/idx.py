"""MNIST, Fashion-MNIST and KMNIST: downloaded on request, verified, kept uncompressed in a cache.

A file counts as genuine by SHA-256: of its uncompressed content where that digest is known (MNIST), otherwise of the
compressed file as published (Fashion-MNIST, KMNIST), which fixes the content as well. In the second case the digest
of the content is computed on the first verified download, kept beside it, and checked at every later use.
"""

import gzip
import hashlib
import math
import os
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import torch

from sdelab.data.common import Dataset, replace_file, scaled

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MIRROR_VARIABLE = "SDELAB_DATA_MIRROR"


class Source(NamedTuple):
    """Where a data set is published and how its files are recognised: SHA-256 of the content or of the .gz."""

    title: str
    mirrors: tuple[str, ...]
    classes: tuple[str, ...]
    content: dict[str, str]
    compressed: dict[str, str]


SOURCES = {
    "mnist": Source(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
        tuple("0123456789"),
        content={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        compressed={},
    ),
    "fashion": Source(
        "Fashion-MNIST",
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
        ),
        ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        content={},
        compressed={
            "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "kmnist": Source(
        "KMNIST",
        ("https://codh.rois.ac.jp/kmnist/dataset/kmnist",),
        tuple("おきすつなはまやれを"),
        content={},
        compressed={
            "train-images-idx3-ubyte": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "train-labels-idx1-ubyte": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "t10k-images-idx3-ubyte": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "t10k-labels-idx1-ubyte": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        },
    ),
}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _download(url: str, source: Source, file: str) -> bytes:
    """The verified, uncompressed content behind one address; `ValueError` when it is not the published file."""
    with tempfile.TemporaryDirectory() as folder:
        packed_file = Path(folder) / file
        pooch.HTTPDownloader(progressbar=True, timeout=30)(url, str(packed_file), None)
        packed = packed_file.read_bytes()
    if file in source.compressed and _sha256(packed) != source.compressed[file]:
        raise ValueError(f"the SHA-256 of the .gz is {_sha256(packed)}, published is {source.compressed[file]}")
    try:
        content = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a complete gzip file ({error})") from error
    if file in source.content and _sha256(content) != source.content[file]:
        raise ValueError(f"the SHA-256 of the content is {_sha256(content)}, expected {source.content[file]}")
    return content


def fetch(name: str, file: str, cache: str | Path | None = None, mirror: str | None = None) -> Path:
    """Path of one verified, uncompressed file in the cache, downloaded first if need be.

    `mirror` (or the environment variable SDELAB_DATA_MIRROR) replaces the public addresses and holds
    `<mirror>/<name>/<file>.gz`. Nothing unverified is ever left in the cache, which is changed by atomic renames.

    Raises `ConnectionError` when no address answers with the genuine file, saying what to download, from where, and
    where to put it; `ValueError` when a file in the cache has been damaged.
    """
    source = SOURCES[name]
    path = Path(cache or pooch.os_cache("sdelab")).expanduser() / name / file
    record = path.with_name(f"{file}.sha256")
    if path.is_file():
        expected = source.content.get(file) or (record.read_text().split()[0] if record.is_file() else "no record")
        if _sha256(path.read_bytes()) != expected:
            raise ValueError(f"{path} is damaged (its SHA-256 is not {expected}): delete it and load again")
        return path

    base = mirror or os.environ.get(MIRROR_VARIABLE)
    addresses = [f"{base.rstrip('/')}/{name}"] if base else source.mirrors
    failures = []
    for address in addresses:
        url = f"{address}/{file}.gz"
        try:
            content = _download(url, source, file)
        except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
            failures.append(f"  {url}\n    {type(error).__name__}: {error}")
            continue
        replace_file(record, f"{_sha256(content)}  {file}\n".encode())
        replace_file(path, content)
        return path
    raise ConnectionError(
        f"{source.title}: {file} could not be downloaded:\n" + "\n".join(failures) + "\n"
        f"Without a network: on another machine fetch {file}.gz from one of\n"
        + "".join(f"  {m}/{file}.gz\n" for m in source.mirrors)
        + f"put it into a folder {name}/, serve the folder above it (python -m http.server) and set "
        f"{MIRROR_VARIABLE}=http://localhost:8000; or copy a filled cache folder to {path.parent}."
    )


def read_idx(path: str | Path) -> np.ndarray:
    """uint8 array of an idx file: two zero bytes, 8 (uint8), rank, big-endian sizes, data. `ValueError` otherwise."""
    content = Path(path).read_bytes()
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} is not an idx file of uint8")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} announces shape {shape} but holds {len(content) - start} bytes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def load(
    name: str,
    split: str = "train",
    dtype: torch.dtype = torch.float32,
    pad: int = 0,
    cache: str | Path | None = None,
    mirror: str | None = None,
) -> Dataset:
    """One of `SOURCES` by name; see `load_mnist`."""
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}: choose one of {', '.join(SOURCES)}")
    if split not in FILES:
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if pad < 0:
        raise ValueError(f"pad must be a number of pixels >= 0, got {pad}")
    images, labels = (torch.from_numpy(read_idx(fetch(name, f, cache, mirror)).copy()) for f in FILES[split])
    images = torch.nn.functional.pad(images[:, None], (pad, pad, pad, pad))
    return Dataset(scaled(images, dtype), labels.long(), SOURCES[name].classes)


def load_mnist(split: str = "train", dtype: torch.dtype = torch.float32, **options) -> Dataset:
    """MNIST digits: 60,000 `"train"` and 10,000 `"test"` images (n, 1, 28, 28), in [-1, 1] or as uint8.

    Options: `pad=2` makes 32x32 images; `cache=` another folder than the user's cache; `mirror=` another server
    (see `fetch`). Reference: LeCun, Bottou, Bengio, Haffner (1998).
    Raises `ConnectionError` (what to do without a network) and `ValueError` (damaged cache, unknown split).
    """
    return load("mnist", split, dtype, **options)


def load_fashion(split: str = "train", dtype: torch.dtype = torch.float32, **options) -> Dataset:
    """Fashion-MNIST, as `load_mnist`. Reference: Xiao, Rasul, Vollgraf (2017), arXiv:1708.07747."""
    return load("fashion", split, dtype, **options)


def load_kmnist(split: str = "train", dtype: torch.dtype = torch.float32, **options) -> Dataset:
    """KMNIST, cursive hiragana of old books, as `load_mnist`. Reference: Clanuwat et al. (2018), arXiv:1812.01718."""
    return load("kmnist", split, dtype, **options)
