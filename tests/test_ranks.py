"""One training in two processes, started by torchrun: the run of one process, written once."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ranks_worker import SETTINGS, faces, model

import sdelab as sd
from sdelab import studio, train
from sdelab.__main__ import main
from sdelab.train import ranks

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
            "--nproc-per-node", "2"]  # fmt: skip


def started(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([*TORCHRUN, *command], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes did all of ranks_worker.py."""
    folder = tmp_path_factory.mktemp("two")
    train.fit(model(), faces, checkpoint=folder / "alone", **{**SETTINGS, "steps": 5})
    (folder / "own.toml").write_text(
        "steps = 4\nwidth = 8\nlatent = 2\nbatch = 4\nevery = 2\nwarmup = 1\nbf16 = false\n"
    )
    (folder / "shapes").mkdir()
    for k in range(10):
        Image.fromarray(np.full((32, 32), 25 * k, np.uint8)).save(folder / "shapes" / f"{k}.png")
    done = started(str(Path(__file__).with_name("ranks_worker.py")), str(folder))
    assert not done.returncode, done.stderr[-3000:]
    return folder


def farthest(file, run) -> float:
    """The largest relative difference of a file's losses and averaged weights from a run's."""
    held, mine = sd.checkpoint.load(file)[0], {"losses": run.losses, **run.ema.state_dict()}
    assert held.keys() == mine.keys()
    return max(float((held[name] - v).abs().max() / v.abs().max().clamp_min(1e-300)) for name, v in mine.items())


@pytest.fixture(scope="module")
def one():
    return train.fit(model(), faces, **SETTINGS)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_two_processes_are_one_run(two, one, rank):
    assert farthest(two / rank / "stream", one) < 1e-11
    assert farthest(two / rank / "tensor", train.fit(model(), faces(64), **SETTINGS)) < 1e-11


def test_planted_faults_are_seen(two, one):
    assert farthest(two / "0" / "same rows", one) > 1e-2
    assert farthest(two / "0" / "own loss", one) > 1e-2


def test_the_first_process_alone_writes(two):
    assert (two / "0" / "run").exists() and not (two / "1" / "run").exists()
    assert [(two / rank / "told").read_text().split("\n")[3] for rank in "01"] == ["3", "0"]  # watched


def test_a_run_goes_on_in_another_number_of_processes(two, one):
    """From one to two (five steps alone, the rest together), and from two to one."""
    assert farthest(two / "0" / "resumed", one) < 1e-11
    assert farthest(two / "1" / "resumed", one) < 1e-11
    assert len(sd.checkpoint.load(two / "stopped")[0]["losses"]) == 6
    again = train.fit(model(), faces, checkpoint=two / "stopped", **SETTINGS)
    assert float((again.losses - one.losses).abs().max()) < 1e-11


def test_what_both_are_told(two):
    for rank in "01":
        stopped, apart, odd, _ = (two / rank / "told").read_text().split("\n")
        assert stopped.startswith("stopped after step 6; the same call goes on from")  # Ctrl-C in the second alone
        assert "is 0 in one process and 12 in another: all must see the same files" in apart
        assert "batch = 5 does not divide among 2 processes: take a multiple of 2" in odd


def test_the_command_under_torchrun(two):
    """`torchrun --nproc-per-node 2 -m sdelab train autoencoder`: written and said once; the run of one process."""
    names = {studio.RUN, studio.LOG, studio.SHEET, studio.MODEL}
    assert {file.name for file in (two / "0" / "command").iterdir()} == names
    assert not list((two / "1" / "command").iterdir())
    told = (two / "0" / "said").read_text()
    assert "autoencoder on 9 images, 4 steps, cpu" in told and "psnr" in told and not (two / "1" / "said").read_text()
    assert "2 processes" in sd.checkpoint.load(two / "0" / "command" / studio.MODEL)[1]["about"]["machine"]
    words = ["--data", str(two / "shapes"), "--config", str(two / "own.toml"), "--out", str(two / "command")]
    assert main(["train", "autoencoder", "--device", "cpu", *words]) == 0
    a, b = (sd.checkpoint.load(folder / "command" / studio.RUN)[0]["losses"] for folder in (two / "0", two))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=0)


def test_alone_a_process_is_a_group_of_one():
    with ranks.joined("cpu") as device:
        assert (device, ranks.count(), ranks.rank(), ranks.part(7)) == ("cpu", 1, 0, slice(0, 7))
    x = torch.ones(2)
    ranks.average(x)
    assert x.tolist() == [1, 1] and ranks.anyone(True) and not ranks.anyone(False)
