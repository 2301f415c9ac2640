"""What a sample costs: the U-Net of the latent model on latents, and on pixels."""

import subprocess
import sys
import time

import torch

import sdelab as sd
from sdelab.models import ImageModel

from .latent_common import MODEL

# Per sample of 20 steps: a U-Net like MODEL's with other states. {channels}, {side}, {n}, {training} are filled in.
MEASURED = """
import pathlib, torch, sdelab as sd
torch.set_num_threads(1)
model = sd.models.load({model!r})
settings = dict(model.denoiser.network.settings, channels={channels}, classes=0)
network, x = sd.nets.UNet(**settings), torch.randn({n}, {channels}, {side}, {side})
with torch.set_grad_enabled({training}):
    for _ in range(2):
        y = network(x, torch.zeros(()))
        if {training}:
            y.square().mean().backward()
        elif y.shape[1:] == model.shape:
            model.images(y)
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # in KiB
"""


def cost() -> dict:
    """Seconds, and bytes per sample, of the same U-Net on latents, on pixels as patches and on pixels; of one thread.

    seconds: of 20 calls, and of decoding where there is a decoder, per image in batches of 16, the fastest of five.
    bytes, training_bytes: how much the peak of a process's memory grows per sample in a batch, when images are made
    and in a step of training.
    """
    model, states, out = sd.models.load(MODEL), {"latents": (4, 8), "patches": (16, 8), "pixels": (1, 32)}, {}
    for name, (channels, side) in states.items():
        network = sd.nets.UNet(**dict(network_of(model).settings, channels=channels, classes=0))
        x = torch.zeros(16, channels, side, side)
        seconds, sizes = [], (16, 64) if side == 32 else (256, 1024)
        for _ in range(5):
            clock = time.thread_time()
            with torch.no_grad():
                for _ in range(20):
                    network(x, torch.zeros(()))
                if name == "latents":
                    model.images(x)
            seconds.append((time.thread_time() - clock) / len(x))
        peaks = [
            [peak(channels=channels, side=side, n=n, training=training) for n in sizes] for training in (False, True)
        ]
        memory = [(many - few) / (sizes[1] - sizes[0]) for few, many in peaks]
        out[name] = {"seconds": min(seconds), "bytes": memory[0], "training_bytes": memory[1]}
        print(name, out[name], flush=True)
    return out


def peak(**settings) -> int:
    """The greatest memory in bytes of a process that runs MEASURED with these settings (on Linux, which keeps it)."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(model=MODEL, **settings)], capture_output=True, check=True, text=True
    )
    return 1024 * int(done.stdout)


def network_of(model: ImageModel) -> sd.nets.UNet:
    network = model.denoiser.network
    assert isinstance(network, sd.nets.UNet)
    return network
