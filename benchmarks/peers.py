"""The public samplers that ours are held against, in tests and benchmarks.

diffusers, k-diffusion, torchsde and torchdiffeq are run, never copied. Each is imported when asked for.
"""

import functools
import importlib
import importlib.util
import sys
import types

from torch import Tensor


@functools.cache
def k_diffusion() -> types.ModuleType:
    """k-diffusion's ``sampling`` module alone: its package imports torchvision, CLIP and wandb as well."""
    spec = importlib.util.find_spec("k_diffusion")
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError("k-diffusion is not installed: run make setup")

    def append_dims(x: Tensor, dims: int) -> Tensor:
        return x[(...,) + (None,) * (dims - x.ndim)]

    package, utils = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
    package.__path__ = list(spec.submodule_search_locations)
    utils.append_dims = append_dims  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules["k_diffusion"], sys.modules["k_diffusion.utils"] = package, utils
    return importlib.import_module("k_diffusion.sampling")


class ModelK:
    """A denoiser D(x, sigma) as k-diffusion calls it: the noise level as a vector, attributes at hand."""

    class inner_model:
        class inner_model:
            pass

    def __init__(self, denoise):
        self.denoise = denoise

    def __call__(self, x: Tensor, sigma: Tensor, **_) -> Tensor:
        return self.denoise(x, float(sigma[0]))
