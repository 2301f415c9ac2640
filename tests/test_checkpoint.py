"""Checkpoints: what goes in comes out, every flipped bit and every cut is seen, a killed writer leaves a whole file."""

import json
import os
import struct
import subprocess
import sys
import time

import pytest
import safetensors.torch
import torch

from sdelab import checkpoint

CONFIG = {"network": {"width": 8, "name": "MLP"}, "lr": 1e-3, "clip": None, "grid": [1, 2.5]}


def tensors():
    return {
        "a": torch.tensor([[1.0, -2.0], [float("inf"), float("nan")]]),
        "b": torch.arange(3, dtype=torch.int64),
        "scalar": torch.tensor(0.1, dtype=torch.float64),
        "nothing": torch.zeros(0, 2),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]),
    }


@pytest.fixture
def path(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", tensors(), CONFIG)
    return tmp_path / "a.safetensors"


def test_what_goes_in_comes_out(path):
    found, config = checkpoint.load(path, CONFIG)
    assert config == CONFIG and found.keys() == tensors().keys()
    for name, v in tensors().items():
        assert found[name].dtype == v.dtype and found[name].shape == v.shape
        assert torch.equal(found[name].nan_to_num(7.0), v.nan_to_num(7.0))
    assert os.listdir(path.parent) == [path.name]
    found["a"] += 1  # memory of one's own
    plain = safetensors.torch.load_file(path)  # and any other reader may have it
    assert torch.equal(plain["b"], tensors()["b"])


def test_memory_laid_out_otherwise_and_shared(tmp_path):
    a = torch.arange(6.0).view(2, 3)
    checkpoint.save(tmp_path / "b", {"t": a.T, "row": a[1], "again": a[1]}, {})
    found, _ = checkpoint.load(tmp_path / "b")
    assert torch.equal(found["t"], a.T) and torch.equal(found["row"], a[1]) and torch.equal(found["again"], a[1])


def test_every_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "small"
    checkpoint.save(path, {"w": torch.tensor([1.0, 2.0])}, {"lr": 0.5})
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"damaged|format|sd\.checkpoint\.save"):
                checkpoint.load(path)
    path.write_bytes(whole)
    checkpoint.load(path)


def test_every_cut_is_seen(tmp_path):
    path = tmp_path / "small"
    checkpoint.save(path, {"w": torch.tensor([1.0, 2.0])}, {"lr": 0.5})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=r"is cut off, damaged or no safetensors file .*: copy it again, or delete"
        ):
            checkpoint.load(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="cut off, damaged"):
        checkpoint.load(path)


def test_the_checksum_guards_what_the_format_does_not():
    """Exchanged names, another dtype of the same width, another shape of the same bytes, other settings."""
    base = checkpoint.digest({"a": torch.ones(2), "b": torch.zeros(2)}, {"lr": 1})
    others = [
        checkpoint.digest({"b": torch.ones(2), "a": torch.zeros(2)}, {"lr": 1}),
        checkpoint.digest({"a": torch.ones(2), "b": torch.zeros(2, dtype=torch.int32)}, {"lr": 1}),
        checkpoint.digest({"a": torch.ones(2), "b": torch.zeros(2, 1)}, {"lr": 1}),
        checkpoint.digest({"a": torch.ones(2), "b": torch.zeros(2)}, {"lr": 2}),
        checkpoint.digest({"a": torch.ones(2), "b": torch.tensor([0.0, -0.0])}, {"lr": 1}),
    ]
    assert len({base, *others}) == 6
    assert base == checkpoint.digest({"b": torch.zeros(2), "a": torch.ones(2)}, {"lr": 1})


def test_files_of_others(tmp_path):
    path = tmp_path / "plain"
    safetensors.torch.save_file({"w": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"not what sd\.checkpoint\.save writes"):
        checkpoint.load(path)
    checkpoint.save(path, {"w": torch.ones(2)}, {})
    page = json.loads(safetensors.safe_open(path, "pt").metadata()["sdelab"])
    page["format"] = "sdelab checkpoint 99"
    safetensors.torch.save_file({"w": torch.ones(2)}, path, {"sdelab": json.dumps(page)})
    with pytest.raises(ValueError, match="has the format 'sdelab checkpoint 99' and this version reads"):
        checkpoint.load(path)
    torch.save({"w": torch.ones(2)}, path)  # a pickle: refused unread
    with pytest.raises(ValueError, match="no safetensors file"):
        checkpoint.load(path)
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(ValueError, match="no safetensors file"):
        checkpoint.load(path)
    with pytest.raises(FileNotFoundError):
        checkpoint.load(tmp_path / "none")


def test_another_configuration_is_named(path):
    other = {**CONFIG, "network": {"width": 16, "name": "MLP"}, "seed": 3}
    with pytest.raises(ValueError) as error:
        checkpoint.load(path, other)
    told = str(error.value)
    assert "network.width: 8 in the file, 16 here" in told and "seed: nothing in the file, 3 here" in told
    assert "lr" not in told.replace(str(path), "")
    checkpoint.load(path, {**CONFIG, "grid": (1, 2.5)})  # a tuple is a list
    many = {str(k): k for k in range(10)}
    with pytest.raises(ValueError, match="and 10 more"):
        checkpoint.load(path, many)


@pytest.mark.parametrize("bad", [{"f": print}, {"nan": float("nan")}, {1: 2}, {"t": torch.ones(1)}])
def test_configurations_that_a_file_cannot_hold(bad, tmp_path):
    with pytest.raises(ValueError, match="the configuration"):
        checkpoint.save(tmp_path / "x", {}, bad)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_file(stage, path, monkeypatch):
    def broken(*_):
        raise OSError("no space left")

    if stage == "write":
        wanted = path.with_name(path.name + ".part")
        wanted.mkdir()  # cannot be opened for writing
    else:
        monkeypatch.setattr(os, stage, broken)
    with pytest.raises(OSError):
        checkpoint.save(path, {"a": torch.zeros(2)}, CONFIG)
    monkeypatch.undo()
    assert checkpoint.load(path, CONFIG)[0].keys() == tensors().keys()


def test_bytes_are_on_the_disk_before_the_name_is(path, monkeypatch):
    done = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (done.append(name), real(*a))[1])
    checkpoint.save(path, {"a": torch.zeros(2)}, CONFIG)
    assert done == ["fsync", "replace", "fsync"]


WRITER = """
import sys, torch
from sdelab import checkpoint
k = 0
while True:
    k += 1
    checkpoint.save(sys.argv[1], {"k": torch.full((60_000,), k)}, {"k": k})
"""


def test_a_writer_killed_again_and_again_leaves_a_whole_file(tmp_path):
    """kill -9 while a process does nothing but write; what it leaves half done (if so) is the .part beside it."""
    path, last = tmp_path / "busy", 0
    for kill in range(3):
        path.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        try:
            deadline = time.monotonic() + 120
            while not path.exists():
                assert writer.poll() is None and time.monotonic() < deadline
                time.sleep(0.002)
            time.sleep(0.05 + 0.0137 * kill)
        finally:
            writer.kill()
            writer.wait()
        found, config = checkpoint.load(path)
        assert (found["k"] == config["k"]).all()
        last = max(last, config["k"])
    assert last > 1
    checkpoint.save(path, {"k": torch.zeros(2)}, {})  # a leftover is no obstacle, and goes
    assert os.listdir(tmp_path) == ["busy"]
