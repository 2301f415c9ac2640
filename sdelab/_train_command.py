"""The command `train`: autoencoders, denoisers and classifiers of images, from a recipe into a folder."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from ._commands import device_of

SETS = ("kana", "mnist", "fashion", "kmnist")


def add_train(commands) -> None:
    """`train autoencoder | latent | pixel | classifier` trains a model of images, and goes on where a run stopped."""
    parser = commands.add_parser(
        "train", help="train a model of images",
        description="Train a model of images. Ctrl-C saves; the same command goes on from there. On several GPUs: "
        "torchrun --nproc-per-node COUNT -m sdelab train …",
    )  # fmt: skip
    parser.add_argument("kind", choices=("autoencoder", "latent", "pixel", "classifier"), help="what to train")
    parser.add_argument("--data", default="kana", metavar="NAME", help=f"{', '.join(SETS)} or a folder of pictures")
    parser.add_argument(
        "--config",
        default="default",
        metavar="NAME",
        help="recipe: default, tiny (for a CPU), or a file .toml of settings",
    )
    parser.add_argument("--autoencoder", metavar="NAME", help="name or file of the autoencoder, for `latent`")
    parser.add_argument("--start", metavar="NAME", help="name or file of a latent or pixel model to go on training")
    parser.add_argument("--steps", type=int, help="steps instead of the recipe's")
    parser.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda")
    parser.add_argument("--threads", type=int, help="threads of the CPU, default all; part of what makes a run")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--out", type=Path, help="folder of the run, default runs/DATA-KIND")
    parser.set_defaults(run=run_train)


def images(name: str):
    """(training set, held-out set) of a data set's name or a folder, sides a multiple of 8."""
    from . import data
    from .data import folder, idx

    if name == "kana":
        return data.load_kana("train"), data.load_kana("test_fonts")
    if name in SETS:
        return idx.load(name, "train", pad=2), idx.load(name, "test", pad=2)
    if not Path(name).is_dir():
        raise ValueError(f"--data takes {', '.join(SETS)} or a folder of pictures, and {name!r} is none of these")
    found = folder.load_folder(name)
    rest = [k for k in range(len(found.images)) if k % 10]  # every tenth picture is held out
    if not rest:
        raise ValueError(f"{name} holds {len(found.images)} pictures: some more are needed")
    held = found._replace(images=found.images[::10], labels=found.labels[::10])
    return found._replace(images=found.images[rest], labels=found.labels[rest]), held


def _command(options: argparse.Namespace) -> str:
    """The command as a card tells it: what decides the outcome, without the folders of this machine."""
    told = {"data": Path(options.data).name, "config": Path(options.config).name}
    for name in ("autoencoder", "start"):
        value = getattr(options, name)
        told[name] = value and "/".join(Path(value).parts[-2:])
    told |= {name: getattr(options, name) for name in ("steps", "threads", "seed")}
    words = [word for name, value in told.items() if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(["python", "-m", "sdelab", "train", options.kind, *words])


def run_train(options: argparse.Namespace) -> None:
    from .train import ranks

    with ranks.joined(device_of(options.device)) as device:
        _train(options, device, first=ranks.rank() == 0)


def _train(options: argparse.Namespace, device: str, first: bool) -> None:
    import torch

    from . import models, recipes, studio

    say = print if first else lambda *_: None
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipes.recipe(options.kind, options.config, **({"steps": options.steps} if options.steps else {}))
    if options.start and (options.autoencoder or options.kind not in ("latent", "pixel")):
        raise ValueError("--start is for `train latent` and `train pixel`, and brings its own autoencoder")
    if (options.autoencoder is not None) != (options.kind == "latent" and not options.start):
        raise ValueError("--autoencoder belongs to `train latent`, and `train latent` needs it: train one first")
    start = models.load(options.start, device) if options.start else None
    if start and (start.autoencoder is not None) != (options.kind == "latent"):
        raise ValueError(f"{options.start} is no {options.kind} model: --start takes one of the kind that is trained")
    encoder = models.load_autoencoder(options.autoencoder, device) if options.autoencoder else None
    data, held_out = images(options.data)
    folder = options.out or Path("runs") / f"{Path(options.data).name}-{options.kind}"
    say(f"{options.kind} on {len(data.images):,} images, {recipe.steps:,} steps, {device}: {folder}")
    about = {"data": f"{Path(options.data).name}, {len(data.images):,} images", "command": _command(options)}
    settings: dict[str, Any] = {"seed": options.seed, "device": device, "about": about}
    try:
        if isinstance(recipe, recipes.AutoencoderRecipe):
            told = studio.autoencoder(data, recipe, folder, held_out=held_out.images, **settings)
        elif isinstance(recipe, recipes.ClassifierRecipe):
            told = studio.classifier(data, recipe, folder, held_out=held_out, **settings)
        else:
            told = studio.denoiser(data, recipe, folder, encoder=encoder, start=start, **settings)
    except KeyboardInterrupt as stop:
        raise SystemExit(f"\n{stop or 'stopped'}" if first else 1) from None
    say(", ".join(f"{name} {value:.4g}" for name, value in told.items()), f"-> {folder / studio.MODEL}")
