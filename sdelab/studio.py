"""Autoencoders and denoisers of images, trained from a recipe into a folder.

The folder holds run.safetensors (what a run goes on from), log.csv (mean losses), sheet.png (to look at while it runs)
and, at the end, model.safetensors (:mod:`sdelab.models`). The same call goes on where a run stopped.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import latent, models, noise, pictures, process, train
from .data.common import Dataset, replace_file
from .nets import Autoencoder, Denoiser, UNet
from .recipes import AutoencoderRecipe, DenoiserRecipe, Recipe
from .solve import sample

RUN, LOG, SHEET, MODEL = "run.safetensors", "log.csv", "sheet.png", "model.safetensors"


def autoencoder(
    data: Dataset, recipe: AutoencoderRecipe, folder, *, held_out: Tensor, seed: int = 0, device="cpu", progress=None
) -> dict[str, float]:
    """Train one; the figures are its PSNR in decibels on the images it was trained on, and on those ``held_out``.

    The sheet shows held-out images, and what became of them below.
    """
    images, held_out = data.images.to(device), held_out.to(device)
    start = Autoencoder(images.shape[1], recipe.latent, recipe.width, recipe.blocks, seed=seed).to(device)

    def again(model: Autoencoder, x: Tensor) -> Tensor:
        return latent.decode(model, latent.encode(model, x))

    shown = held_out[:: -(-len(held_out) // 16)]

    def picture(model: Autoencoder) -> Tensor:
        return torch.cat([shown, again(model, shown)])

    run = _fit(
        start, images, recipe, folder, picture, len(shown), seed=seed, progress=progress,
        objective=latent.objective(recipe.kl), times=latent.no_times, ema=recipe.ema,
    )  # fmt: skip
    run.ema.measure(images)
    figures = {name: latent.psnr(again(run.ema, x), x) for name, x in (("psnr_train", images), ("psnr", held_out))}
    models.save(Path(folder) / MODEL, run.ema, _about(recipe, seed, device) | figures)
    return figures


def denoiser(
    data: Dataset, recipe: DenoiserRecipe, folder, *, encoder: Autoencoder | None = None, seed: int = 0, device="cpu",
    progress=None,
) -> dict[str, float]:  # fmt: skip
    """Train one of images or, with an ``encoder``, of its latents; the figure is the mean loss of the last tenth.

    Every class is told with its image and forgotten now and then. The sheet shows samples of 20 steps of DPM++ 2M, one
    class a column.
    """
    encoder = None if encoder is None else encoder.to(device)
    images = data.images.to(device)
    x = images if encoder is None else latent.encode(encoder, images)
    shape, edm = tuple(x.shape[1:]), process.make(models.PROCESS)
    network = UNet(
        shape[0], recipe.width, recipe.levels, recipe.blocks, attention=recipe.attention, classes=len(data.classes),
        seed=seed,
    )  # fmt: skip
    start = Denoiser(network.to(device), edm, sigma_data=round(float(x.std()), 3))

    def model_of(ema: Denoiser) -> models.ImageModel:
        return models.ImageModel(ema, shape, data.classes, encoder)

    columns = min(len(data.classes), 16)

    @torch.no_grad()
    def picture(ema: Denoiser) -> Tensor:
        y = torch.arange(columns, device=device).repeat(4)
        x_T = noise.prior(edm, (len(y), *shape), seed=seed, device=device)
        return model_of(ema).images(sample(ema.of(y), edm, x_T, solver="dpmpp_2m", grid="karras", steps=20))

    run = _fit(
        start, (x, data.labels.to(device)), recipe, folder, picture, columns, seed=seed, progress=progress,
        times=train.lognormal(edm, recipe.P_mean, recipe.P_std), ema=train.power_ema(recipe.ema), drop=recipe.drop,
    )  # fmt: skip
    figures = {"loss": float(run.losses[-max(1, recipe.steps // 10) :].mean())}
    models.save(Path(folder) / MODEL, model_of(run.ema), _about(recipe, seed, device) | figures)
    return figures


def _fit(start, data, recipe: Recipe, folder, picture: Callable[[Any], Tensor], columns: int, **settings) -> train.Run:
    """``train.fit`` by a recipe, with its checkpoint, log and sheet in a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def watch(run: train.Run) -> None:
        means = [f"{stretch.mean():.6g}" for stretch in run.losses.split(recipe.every)]
        ends = [min((k + 1) * recipe.every, len(run.losses)) for k in range(len(means))]
        lines = ["step,loss", *(f"{step},{loss}" for step, loss in zip(ends, means, strict=True))]
        replace_file(folder / LOG, ("\n".join(lines) + "\n").encode())
        pictures.sheet(picture(run.ema), folder / SHEET, columns)

    return train.fit(
        start, data, steps=recipe.steps, batch=recipe.batch, lr=train.cosine(recipe.lr, recipe.steps, recipe.warmup),
        clip=1.0, checkpoint=folder / RUN, every=recipe.every, watch=watch, **settings,
    )  # fmt: skip


def _about(recipe: Recipe, seed: int, device) -> dict[str, Any]:
    on_gpu = torch.device(device).type == "cuda"
    machine = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    return {"recipe": dataclasses.asdict(recipe), "seed": seed, "machine": machine, "torch": torch.__version__}
