"""How the image models are trained: every number of a run, in named recipes and in TOML files.

    steps = 3000
    width = 64

A file names what it changes; the rest is the default recipe's. The shipped models tell on their cards which recipe made
them, in what time and how well: "hour" is an hour of one thread of a CPU, "tiny" half as long. The default of denoisers
is meant for a GPU, and has not been run on one.
"""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ._checks import named


@dataclass(frozen=True)
class Training:
    """What every training has; ``every``: steps between two checkpoints, log lines and sheets; ``bf16``: products in
    bfloat16, where the processor has units for it; ``compile``: kernels by ``torch.compile``, on a GPU as CUDA graphs;
    ``augment``: how far images are turned, scaled and shifted afresh at random (:func:`sdelab.train.augmented`; 0: not
    at all, 1: by up to 4 degrees, 4 % and a pixel)."""

    steps: int = 12_000
    batch: int = 128
    lr: float = 2e-3
    warmup: int = 100
    every: int = 500
    bf16: bool = True
    compile: bool = False
    augment: float = 0.0


@dataclass(frozen=True)
class AutoencoderRecipe(Training):
    """Network (see :class:`sdelab.nets.Autoencoder`), weight ``kl`` of the divergence, decay ``ema`` of the average."""

    steps: int = 6000
    latent: int = 4
    width: int = 48
    blocks: int = 1
    kl: float = 5e-4
    ema: float = 0.99


@dataclass(frozen=True)
class DenoiserRecipe(Training):
    """Network (see :class:`sdelab.nets.UNet`) and times log(sigma) ~ N(P_mean, P_std^2).

    patch: side of the squares of pixels that become channels (:class:`sdelab.models.ImageModel`), 1 for latents; drop:
    how often a class is forgotten; ema: width of the average as a share of the training
    (:func:`sdelab.train.power_ema`).
    """

    steps: int = 40_000
    batch: int = 256
    lr: float = 1e-3
    warmup: int = 200
    every: int = 1000
    width: int = 64
    levels: int = 2
    blocks: int = 1
    attention: bool = True
    patch: int = 1
    P_mean: float = -0.4
    P_std: float = 1.2
    drop: float = 0.1
    ema: float = 0.1


@dataclass(frozen=True)
class ClassifierRecipe(Training):
    """Network (see :class:`sdelab.nets.Classifier`), decay ``ema`` of the average."""

    steps: int = 4000
    width: int = 32
    blocks: int = 1
    ema: float = 0.995


Recipe = AutoencoderRecipe | DenoiserRecipe | ClassifierRecipe

RECIPES: dict[str, dict[str, Recipe]] = {
    "autoencoder": {
        "default": AutoencoderRecipe(),
        "tiny": AutoencoderRecipe(width=32, steps=2000, every=250),
        "plain": AutoencoderRecipe(steps=1500, kl=0.0),  # to compare with
    },
    "latent": {
        "default": DenoiserRecipe(),
        "hour": DenoiserRecipe(steps=14_000, batch=128),
        "tiny": DenoiserRecipe(steps=6000, batch=128, every=500),
    },
    "pixel": {
        "default": DenoiserRecipe(levels=4, P_mean=-0.6),
        "hour": DenoiserRecipe(steps=14_000, batch=128, patch=4, P_mean=-0.6),  # costs what a latent one does
        "tiny": DenoiserRecipe(steps=6000, batch=128, patch=4, P_mean=-0.6, every=500),
    },
    "classifier": {
        "default": ClassifierRecipe(),
        # Another network: nothing is chosen by its figures, which are those that are told.
        "judge": ClassifierRecipe(steps=3500, width=24, blocks=2),
        "tiny": ClassifierRecipe(width=16, steps=1000, every=250),
    },
}


def recipe(kind: str, config: str | Path = "default", **changes) -> Recipe:
    """The recipe of a kind of model by name or from a TOML file, with changes.

    ``ValueError``: unknown kinds, names and settings (with the near ones), settings of another type; ``OSError``: no
    such file.
    """
    recipes = named(RECIPES, kind, "kind of model")
    if str(config).endswith(".toml"):
        try:
            changes = tomllib.loads(Path(config).read_text("utf8")) | changes
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{config} is not valid TOML: {error}") from error
        made = recipes["default"]
    else:
        made = named(recipes, str(config), "recipe")
    fields = {field.name: field.type for field in dataclasses.fields(made)}
    for name, value in changes.items():
        kind_of = named(fields, name, "setting")
        if type(value) is not kind_of and not (kind_of is float and type(value) is int):
            raise ValueError(f"{name} must be of type {getattr(kind_of, '__name__', kind_of)}, not {value!r}")
    return dataclasses.replace(made, **changes)
