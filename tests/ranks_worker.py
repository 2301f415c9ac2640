"""What each of the two processes of tests/test_ranks.py does, each writing to a folder of its own."""

import contextlib
import io
import signal
import sys
from pathlib import Path

import torch

import sdelab as sd
from sdelab import nets, train
from sdelab.__main__ import main as cli
from sdelab.train import ranks

SETTINGS: dict = dict(steps=12, batch=12, lr=1e-2, seed=2, ema=0.9, clip=1.0, drop=0.3, progress=False)


def faces(n, *, first=0):
    """Images 4 x 4 of two classes with their classes, a stream."""
    y = (sd.noise.uniform((n,), 3, first=first) < 0.5).long()
    return (1 - 2 * y)[:, None, None, None] + 0.3 * sd.noise.normal((n, 1, 4, 4), 4, first=first), y


def model():
    """In double precision, so that what is left of a difference is no rounding."""
    return nets.Denoiser(nets.UNet(1, width=16, levels=1, attention=False, classes=2), sd.process.EDM()).double()


def keep(file, run):
    sd.checkpoint.save(file, {"losses": run.losses, **run.ema.state_dict()}, {})


def interrupted(rank):
    """Ctrl-C reaches the second process alone, while it draws the batch of step 6."""

    def stream(n, first):
        if first == 5 * n and rank == 1:
            signal.raise_signal(signal.SIGINT)
        return faces(n, first=first)

    return stream


def told(make) -> str:
    try:
        make()
    except (KeyboardInterrupt, ValueError) as error:
        return str(error)
    return "nothing"


def main(folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ranks.joined("cpu"):
        rank = ranks.rank()
        own = folder / str(rank)  # what the second process writes, if anything, lies here
        own.mkdir()
        seen = []
        run = train.fit(model(), faces(64), checkpoint=own / "run", every=4, watch=lambda r: seen.append(1), **SETTINGS)
        keep(own / "tensor", run)
        keep(own / "stream", train.fit(model(), faces, **SETTINGS))
        stopped = told(lambda: train.fit(model(), interrupted(rank), checkpoint=folder / "stopped", **SETTINGS))
        apart = told(lambda: train.fit(model(), faces(64), checkpoint=own / "run", **SETTINGS))
        odd = told(lambda: train.fit(model(), faces, **{**SETTINGS, "batch": 5}))
        keep(own / "resumed", train.fit(model(), faces, checkpoint=folder / "alone", **SETTINGS))
        whole, ranks.part = ranks.part, lambda batch: slice(0, batch // 2)  # planted: both take the same rows
        keep(own / "same rows", train.fit(model(), faces, **SETTINGS))
        ranks.part, average, ranks.average = whole, ranks.average, lambda x: None  # planted: each tells its own loss
        keep(own / "own loss", train.fit(model(), faces, **SETTINGS))
        ranks.average = average
        (own / "told").write_text("\n".join([stopped, apart, odd, str(len(seen))]))
        with contextlib.redirect_stdout(io.StringIO()) as said:  # and the command itself, in the same group
            words = ["train", "autoencoder", "--data", str(folder / "shapes"), "--config", str(folder / "own.toml")]
            assert cli([*words, "--device", "cpu", "--out", str(own / "command")]) == 0
        (own / "said").write_text(said.getvalue())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
