"""The command `train` of the command line: autoencoders and denoisers of images, from a recipe into a folder."""

import argparse
from pathlib import Path

SETS = ("kana", "mnist", "fashion", "kmnist")


def add_train(commands) -> None:
    """`train autoencoder | latent | pixel` trains a model of images, and goes on where a run stopped."""
    parser = commands.add_parser(
        "train", help="train a model of images",
        description="Train a model of images. Ctrl-C saves; the same command goes on from there.",
    )  # fmt: skip
    parser.add_argument("kind", choices=("autoencoder", "latent", "pixel"), help="what to train")
    parser.add_argument("--data", default="kana", metavar="NAME", help=f"{', '.join(SETS)} or a folder of pictures")
    parser.add_argument(
        "--config",
        default="default",
        metavar="NAME",
        help="recipe: default, tiny (for a CPU), or a file .toml of settings",
    )
    parser.add_argument("--autoencoder", metavar="NAME", help="name or file of the autoencoder, for `latent`")
    parser.add_argument("--steps", type=int, help="steps instead of the recipe's")
    parser.add_argument("--device", default="auto", help="auto (default: a GPU if there is one), cpu, cuda")
    parser.add_argument("--threads", type=int, help="threads of the CPU, default all; part of what makes a run")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument("--out", type=Path, help="folder of the run, default runs/DATA-KIND")
    parser.set_defaults(run=run_train)


def images(name: str):
    """(training images, held-out images) of a data set's name or a folder, sides a multiple of 8."""
    from . import data
    from .data import folder, idx

    if name == "kana":
        return data.load_kana("train"), data.load_kana("test_fonts").images
    if name in SETS:
        return idx.load(name, "train", pad=2), idx.load(name, "test", pad=2).images
    if not Path(name).is_dir():
        raise ValueError(f"--data takes {', '.join(SETS)} or a folder of pictures, and {name!r} is none of these")
    held = folder.load_folder(name)
    rest = [k for k in range(len(held.images)) if k % 10]  # every tenth picture is held out
    if not rest:
        raise ValueError(f"{name} holds {len(held.images)} pictures: some more are needed")
    return held._replace(images=held.images[rest], labels=held.labels[rest]), held.images[::10]


def run_train(options: argparse.Namespace) -> None:
    import torch

    from . import models, recipes, studio

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("there is no GPU that this PyTorch can use: take --device cpu, with --config tiny")
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = recipes.recipe(options.kind, options.config, **({"steps": options.steps} if options.steps else {}))
    if (options.autoencoder is None) == (options.kind == "latent"):
        raise ValueError("--autoencoder belongs to `train latent`, and `train latent` needs it: train one first")
    encoder = models.load_autoencoder(options.autoencoder, device) if options.autoencoder else None
    data, held_out = images(options.data)
    folder = options.out or Path("runs") / f"{Path(options.data).name}-{options.kind}"
    print(f"{options.kind} on {len(data.images):,} images, {recipe.steps:,} steps, {device}: {folder}")
    try:
        if isinstance(recipe, recipes.AutoencoderRecipe):
            told = studio.autoencoder(data, recipe, folder, held_out=held_out, seed=options.seed, device=device)
        else:
            told = studio.denoiser(data, recipe, folder, encoder=encoder, seed=options.seed, device=device)
    except KeyboardInterrupt as stop:
        raise SystemExit(f"\n{stop or 'stopped'}") from None
    print(", ".join(f"{name} {value:.4g}" for name, value in told.items()), f"-> {folder / studio.MODEL}")
