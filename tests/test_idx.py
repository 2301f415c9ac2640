"""MNIST and its relatives: downloads from a server on this machine, good, broken and absent."""

import gzip
import hashlib
import http.server
import os
import socketserver
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from sdelab.__main__ import main
from sdelab.data import idx, load_fashion, load_kmnist, load_mnist

MNIST = Path(os.environ.get("SDELAB_MNIST", Path(__file__).parents[2] / "shared" / "data" / "mnist"))


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
LABELS = np.array([3, 1, 4, 1, 5])
SMALL = {file: idx_bytes(a) for pair in idx.FILES.values() for file, a in zip(pair, (IMAGES, LABELS), strict=True)}


@pytest.fixture(scope="module")
def server():
    """Serves what tests put into `answers`: path -> (status, announced length or None, body)."""
    answers: dict[str, tuple[int, int | None, bytes]] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, length, body = answers.get(self.path, (404, None, b"no"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as tcp:
        threading.Thread(target=tcp.serve_forever, daemon=True).start()
        yield answers, f"http://127.0.0.1:{tcp.server_address[1]}"
        tcp.shutdown()


@pytest.fixture
def mirror(server, monkeypatch):
    """A server with tiny data sets, whose digests stand in for the published ones; the address of it."""
    answers, address = server
    answers.clear()
    packed = {file: gzip.compress(content, mtime=0) for file, content in SMALL.items()}
    content = {file: hashlib.sha256(c).hexdigest() for file, c in SMALL.items()}
    compressed = {file: hashlib.sha256(c).hexdigest() for file, c in packed.items()}
    for name in idx.SOURCES:
        known = {"content": content, "compressed": {}} if name == "mnist" else {"content": {}, "compressed": compressed}
        monkeypatch.setitem(idx.SOURCES, name, idx.SOURCES[name]._replace(**known))
        answers.update({f"/{name}/{file}.gz": (200, None, body) for file, body in packed.items()})
    monkeypatch.delenv(idx.MIRROR_VARIABLE, raising=False)
    return address


@pytest.mark.parametrize("load", [load_mnist, load_fashion, load_kmnist])
def test_download_then_load_without_a_server(load, server, mirror, tmp_path):
    first = load("train", cache=tmp_path, mirror=mirror)
    assert first.images.shape == (5, 1, 28, 28) and first.images.dtype == torch.float32
    assert torch.equal(((first.images[:, 0] + 1) * 127.5).round().long(), torch.from_numpy(IMAGES))
    assert first.labels.tolist() == LABELS.tolist() and len(first.classes) == 10
    server[0].clear()
    again = load("train", torch.uint8, cache=tmp_path, mirror=mirror, pad=2)
    assert again.images.shape == (5, 1, 32, 32) and again.images[:, :, [0, 1, 30, 31]].sum() == 0
    assert torch.equal(again.images[:, 0, 2:30, 2:30].long(), torch.from_numpy(IMAGES))


def test_the_environment_names_a_mirror_and_the_command_line_fetches(mirror, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(idx.MIRROR_VARIABLE, f"{mirror}/")
    assert len(load_mnist("test", cache=tmp_path).labels) == 5
    assert main(["data", "fetch", "kmnist", "--cache", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.split("\n")
    for file, content in SMALL.items():
        assert f"{hashlib.sha256(content).hexdigest()} {tmp_path / 'kmnist' / file}" in lines


FILE = "train-images-idx3-ubyte"
GOOD = gzip.compress(SMALL[FILE], mtime=0)
BROKEN = {
    "another file": (200, None, gzip.compress(b"not what was published"), "SHA-256"),
    "one bit": (200, None, bytes([*GOOD[:200], GOOD[200] ^ 1, *GOOD[201:]]), "SHA-256|gzip"),
    "no gzip": (200, None, b"<html>Please log in</html>", "SHA-256|gzip"),
    "cut, announced": (200, len(GOOD), GOOD[:100], "IncompleteRead|broken"),
    "cut, not announced": (200, None, GOOD[:100], "SHA-256|gzip"),
    "empty": (200, None, b"", "SHA-256|gzip"),
    "server error": (500, None, b"oops", "500"),
    "not there": (404, None, b"no", "404"),
}


@pytest.mark.parametrize("load, name", [(load_mnist, "mnist"), (load_fashion, "fashion")])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_download_is_reported_and_leaves_nothing(fault, load, name, server, mirror, tmp_path):
    *answer, reason = BROKEN[fault]
    server[0][f"/{name}/{FILE}.gz"] = tuple(answer)
    with pytest.raises(ConnectionError, match=reason) as error:
        load(cache=tmp_path, mirror=mirror)
    assert f"{mirror}/{name}/{FILE}.gz" in str(error.value) and idx.MIRROR_VARIABLE in str(error.value)
    assert not list(tmp_path.rglob("*"))


def test_without_a_server_the_message_says_what_to_fetch_and_where_to_put_it(tmp_path, capsys):
    arguments = ["data", "fetch", "mnist", "--cache", str(tmp_path), "--mirror", "http://127.0.0.1:9"]
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz" in message
    assert f"copy a filled cache folder to {tmp_path / 'mnist'}" in message
    assert not list(tmp_path.rglob("*"))


def test_the_next_public_address_is_tried(server, mirror, tmp_path, monkeypatch):
    addresses = ("http://127.0.0.1:9/gone", f"{mirror}/mnist")
    monkeypatch.setitem(idx.SOURCES, "mnist", idx.SOURCES["mnist"]._replace(mirrors=addresses))
    assert len(load_mnist(cache=tmp_path).labels) == 5


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_a_damaged_cache_is_noticed(name, mirror, tmp_path):
    path = idx.fetch(name, FILE, tmp_path, mirror)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged.*delete it and load again"):
        idx.fetch(name, FILE, tmp_path, mirror)
    path.unlink()
    assert idx.fetch(name, FILE, tmp_path, mirror).read_bytes() == SMALL[FILE]


def test_idx_files_that_lie_are_refused(tmp_path):
    path = tmp_path / "file"
    for content, reason in (
        (b"", "not an idx file"),
        (b"\0\0\x0d\1\0\0\0\0", "not an idx file"),  # floats
        (SMALL[FILE][:-1], "announces shape"),
        (SMALL[FILE] + b"x", "announces shape"),
        (b"\0\0\x08\3\0\0", "not an idx file"),
        (b"\0\0\x08", "not an idx file"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=reason):
            idx.read_idx(path)


def test_bad_arguments():
    with pytest.raises(ValueError, match="split must be 'train' or 'test'"):
        load_mnist("valid")
    with pytest.raises(ValueError, match="choose one of mnist, fashion, kmnist"):
        idx.load("emnist")
    with pytest.raises(ValueError, match="pad"):
        load_mnist(pad=-1)


def test_every_source_can_be_recognised():
    for source in idx.SOURCES.values():
        for file in (file for pair in idx.FILES.values() for file in pair):
            digest = source.content.get(file) or source.compressed[file]
            assert len(digest) == 64 and int(digest, 16) > 0
        assert len(source.classes) == 10


@pytest.mark.skipif(not MNIST.is_dir(), reason=f"real MNIST files not found at {MNIST} (set SDELAB_MNIST)")
def test_real_mnist_through_a_server(server, tmp_path):
    answers, address = server
    answers.clear()
    answers.update({f"/mnist/{p.name}": (200, None, p.read_bytes()) for p in MNIST.glob("*.gz")})
    train = load_mnist("train", torch.uint8, cache=tmp_path, mirror=address)
    test = load_mnist("test", cache=tmp_path, mirror=address, pad=2)
    assert train.images.shape == (60_000, 1, 28, 28) and test.images.shape == (10_000, 1, 32, 32)
    assert torch.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9] and test.labels[:5].tolist() == [7, 2, 1, 0, 4]
