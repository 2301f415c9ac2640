"""The command `train`, broken off: killed while it writes, on a full disk, with a damaged file. Nothing is lost."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import sdelab as sd
from sdelab import studio
from sdelab.__main__ import main

# Files are put in their place by os.replace: checkpoint, log, sheet, and so on; the fourth is the second checkpoint.
KILLED = """
import os, signal, sys
import sdelab.studio
from sdelab.__main__ import main
calls, replace = [], os.replace
def killed(*files):
    calls.append(files)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*files)
os.replace = killed
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / "shapes").mkdir()
    for k in range(20):
        Image.fromarray(np.full((32, 32), 12 * k, np.uint8)).save(folder / "shapes" / f"{k:02}.png")
    (folder / "own.toml").write_text("steps = 30\nwidth = 8\nlatent = 2\nbatch = 8\nevery = 10\nwarmup = 5\n")
    assert main(arguments(folder, "whole")) == 0
    return folder


def arguments(work, out):
    options = {"data": work / "shapes", "config": work / "own.toml", "out": work / out, "device": "cpu", "threads": 1}
    return ["train", "autoencoder", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def steps_done(work, out):
    return len(sd.checkpoint.load(work / out / studio.RUN)[0]["losses"])


def ends_like_the_whole(work, out):
    """The same call again: the bits of the run that nobody broke off."""
    assert main(arguments(work, out)) == 0
    for name in (studio.MODEL, studio.RUN):
        a, b = (sd.checkpoint.load(work / run / name)[0] for run in (out, "whole"))
        assert a.keys() == b.keys() and all(torch.equal(v, b[key]) for key, v in a.items())
    assert (work / out / studio.LOG).read_bytes() == (work / "whole" / studio.LOG).read_bytes()


def test_kill_9_in_the_middle_of_a_write(work):
    child = subprocess.run([sys.executable, "-c", KILLED, *arguments(work, "killed")], capture_output=True, timeout=300)
    assert child.returncode == -9, child.stderr
    assert steps_done(work, "killed") == 10 and (work / "killed" / f"{studio.RUN}.part").exists()
    ends_like_the_whole(work, "killed")


@pytest.mark.parametrize("full", [studio.RUN, studio.LOG])
def test_a_full_disk_is_told_and_the_older_files_stay(work, full, monkeypatch, capsys):
    """It is full from the second checkpoint on, or from the second log."""
    replace, seen = os.replace, []

    def filling(source, target):
        seen.append(os.path.basename(target))
        if seen.count(full) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    out = f"full {full}"
    monkeypatch.setattr(os, "replace", filling)
    assert main(arguments(work, out)) == 1
    told = capsys.readouterr().err
    assert f"{work / out / full} could not be written (No space left on device)" in told and "make room" in told
    monkeypatch.undo()
    assert steps_done(work, out) == (10 if full == studio.RUN else 20)
    assert len((work / out / studio.LOG).read_text().split()) == 2
    ends_like_the_whole(work, out)


def test_a_damaged_checkpoint_is_told_and_left(work, capsys):
    assert main(arguments(work, "damaged")) == 0
    path = work / "damaged" / studio.RUN
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)
    assert main(arguments(work, "damaged")) == 1
    told = capsys.readouterr().err
    assert f"{path} is damaged, its checksum is wrong" in told and "delete it and train again" in told
    assert path.read_bytes() == damaged
