"""Kernels made for one network by ``torch.compile``."""

import os
import shutil
import sys

import torch
from torch import nn


def compiled(model: nn.Module, device: torch.device) -> None:
    """Let ``torch.compile`` make the kernels of a model's parts, such as a denoiser's network; on a GPU they run as
    CUDA graphs. The first step then takes a minute; results change by rounding. A copy of the model is not compiled.

    ``ValueError``: no compiler that could make them.
    """
    needed = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    if not shutil.which(needed.split()[0]):
        raise ValueError(
            f"compile needs the compiler {needed}, which is not on this machine: install it, or leave it out"
        )
    for part in model.children():
        part.compile(mode="reduce-overhead" if device.type == "cuda" else None)
