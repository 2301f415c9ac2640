"""How the image models are trained: every number of a run, in named recipes and in TOML files.

    steps = 3000
    width = 64

A file names what it changes; the rest is the default recipe's. The numbers are first guesses from a trial, not yet
measured choices.
"""

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path

from ._checks import named


@dataclass(frozen=True)
class Training:
    """What every training has; ``every``: steps between two checkpoints, log lines and sheets."""

    steps: int = 12_000
    batch: int = 128
    lr: float = 2e-3
    warmup: int = 100
    every: int = 500


@dataclass(frozen=True)
class AutoencoderRecipe(Training):
    """Network (see :class:`sdelab.nets.Autoencoder`), weight ``kl`` of the divergence, decay ``ema`` of the average."""

    latent: int = 4
    width: int = 48
    blocks: int = 1
    kl: float = 1e-3
    ema: float = 0.99


@dataclass(frozen=True)
class DenoiserRecipe(Training):
    """Network (see :class:`sdelab.nets.UNet`) and times log(sigma) ~ N(P_mean, P_std^2).

    drop: how often a class is forgotten; ema: width of the average as a share of the training
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
    P_mean: float = -0.4
    P_std: float = 1.2
    drop: float = 0.1
    ema: float = 0.1


Recipe = AutoencoderRecipe | DenoiserRecipe

RECIPES: dict[str, dict[str, Recipe]] = {
    "autoencoder": {
        "default": AutoencoderRecipe(),
        "tiny": AutoencoderRecipe(width=32, steps=2000, every=250),
    },
    "latent": {
        "default": DenoiserRecipe(),
        "tiny": DenoiserRecipe(steps=6000, batch=128, every=500),
    },
    "pixel": {
        "default": DenoiserRecipe(levels=4, P_mean=-1.0),
        "tiny": DenoiserRecipe(width=16, levels=4, P_mean=-1.0, steps=3000, batch=64, every=250),
    },
}


def recipe(kind: str, config: str | Path = "default", **changes) -> Recipe:
    """The recipe of a kind of model ("autoencoder", "latent", "pixel") by name or from a TOML file, with changes.

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
