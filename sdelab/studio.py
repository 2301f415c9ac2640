"""Autoencoders, denoisers and classifiers of images, trained from a recipe into a folder.

The folder holds run.safetensors (what a run goes on from), log.csv (mean losses), sheet.png (to look at while it runs)
and, at the end, model.safetensors (:mod:`sdelab.models`). The same call goes on where a run stopped. Among several
processes (:mod:`sdelab.train.ranks`) the first one writes them.
"""

import dataclasses
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_unshuffle

from . import classify, latent, models, noise, pictures, process, train
from .data.common import Dataset, replace_file
from .nets import Autoencoder, Classifier, Denoiser, UNet
from .recipes import AutoencoderRecipe, ClassifierRecipe, DenoiserRecipe, Recipe
from .solve import sample
from .train import ranks

RUN, LOG, SHEET, MODEL = "run.safetensors", "log.csv", "sheet.png", "model.safetensors"


def autoencoder(
    data: Dataset, recipe: AutoencoderRecipe, folder, *, held_out: Tensor, seed: int = 0, device="cpu", progress=None,
    about: Mapping[str, str] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train one; the figures are its PSNR in decibels on the images it was trained on, and on those ``held_out``.

    The sheet shows held-out images, and what became of them below. about: what the card says besides (data, command).
    """
    card = _card(recipe, folder, seed, device, about)
    images, held_out = data.images.to(device), held_out.to(device)
    start = Autoencoder(images.shape[1], recipe.latent, recipe.width, recipe.blocks, seed=seed).to(device)

    def again(model: Autoencoder, x: Tensor) -> Tensor:
        return latent.decode(model, latent.encode(model, x))

    shown = held_out[:: -(-len(held_out) // 16)]

    def picture(model: Autoencoder) -> Tensor:
        return torch.cat([shown, again(model, shown)])

    drawn = train.augmented(images, recipe.augment, seed=seed) if recipe.augment else images
    run = _fit(
        start, drawn, recipe, folder, picture, len(shown), seed=seed, progress=progress,
        objective=latent.objective(recipe.kl), times=latent.no_times, ema=recipe.ema,
    )  # fmt: skip
    run.ema.measure(images)
    figures = {name: latent.psnr(again(run.ema, x), x) for name, x in (("psnr_train", images), ("psnr", held_out))}
    _save(folder, run.ema, card(figures))
    return figures


def denoiser(
    data: Dataset, recipe: DenoiserRecipe, folder, *, encoder: Autoencoder | None = None,
    start: models.ImageModel | None = None, seed: int = 0, device="cpu", progress=None,
    about: Mapping[str, str] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train one of images or, with an ``encoder``, of its latents; the figure is the mean loss of the last tenth.

    Every class is told with its image and forgotten now and then. The sheet shows samples of 20 steps of DPM++ 2M, one
    class a column. start: a model whose weights the training begins with, instead of random ones; its autoencoder is
    the encoder. about: what the card says besides (data, command). ``ValueError``: a start that is not of this recipe
    and these classes.
    """
    card = _card(recipe, folder, seed, device, about)
    encoder = encoder if start is None else start.autoencoder
    encoder = None if encoder is None else encoder.to(device)
    images = data.images.to(device)
    states = partial(latent.encode, encoder) if encoder else partial(pixel_unshuffle, downscale_factor=recipe.patch)
    x, labels = states(images), data.labels.to(device)
    drawn = train.augmented((images, labels), recipe.augment, seed=seed, then=states) if recipe.augment else (x, labels)
    shape, edm = tuple(x.shape[1:]), process.make(models.PROCESS)
    network = UNet(
        shape[0], recipe.width, recipe.levels, recipe.blocks, attention=recipe.attention, classes=len(data.classes),
        seed=seed,
    )  # fmt: skip
    sigma_data = round(float(x.std()), 3)
    if start is not None:
        _same_kind(start, network, recipe.patch, data.classes)
        network.load_state_dict(start.denoiser.network.state_dict())
        sigma_data = start.denoiser.sigma_data
    fresh = Denoiser(network.to(device), edm, sigma_data=sigma_data)

    def model_of(ema: Denoiser) -> models.ImageModel:
        return models.ImageModel(ema, shape, data.classes, encoder, recipe.patch)

    columns = min(len(data.classes), 16)

    @torch.no_grad()
    def picture(ema: Denoiser) -> Tensor:
        y = torch.arange(columns, device=device).repeat(4)
        x_T = noise.prior(edm, (len(y), *shape), seed=seed, device=device)
        return model_of(ema).images(sample(ema.of(y), edm, x_T, solver="dpmpp_2m", grid="karras", steps=20))

    run = _fit(
        fresh, drawn, recipe, folder, picture, columns, seed=seed, progress=progress,
        times=train.lognormal(edm, recipe.P_mean, recipe.P_std), ema=train.power_ema(recipe.ema), drop=recipe.drop,
    )  # fmt: skip
    figures = {"loss": float(run.losses[-max(1, recipe.steps // 10) :].mean())}
    _save(folder, model_of(run.ema), card(figures))
    return figures


def _same_kind(start: models.ImageModel, network: UNet, patch: int, classes: tuple[str, ...]) -> None:
    """``ValueError`` if a model's weights mean something else in the network that is to begin with them."""
    theirs = start.denoiser.network.settings | {"patch": start.patch, "classes": start.classes}  # type: ignore[operator]
    theirs["predicts"] = start.denoiser.predicts
    ours = network.settings | {"patch": patch, "classes": classes, "predicts": "edm"}
    differs = [f"{name} {theirs[name]} there, {value} here" for name, value in ours.items() if value != theirs[name]]
    if differs:
        raise ValueError(f"the training cannot begin with the weights of that model: {'; '.join(differs)}")


def classifier(
    data: Dataset, recipe: ClassifierRecipe, folder, *, held_out: Dataset, seed: int = 0, device="cpu", progress=None,
    about: Mapping[str, str] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train one; the figures are its accuracy on the images it was trained on, and on those ``held_out``, per font.

    The sheet shows the held-out images whose class it finds least likely. about: what the card says besides (data,
    command).
    """
    card = _card(recipe, folder, seed, device, about)
    images, labels = data.images.to(device), data.labels.to(device)
    held, told = held_out.images.to(device), held_out.labels.to(device)
    start = Classifier(images.shape[1], len(data.classes), recipe.width, recipe.blocks, seed=seed).to(device)

    def picture(model: Classifier) -> Tensor:
        log_p = model.leave(classify.features(model, held)).log_softmax(1).gather(1, told[:, None])[:, 0]
        return held[log_p.argsort()[:64]]

    drawn = (images, labels)
    drawn = train.augmented(drawn, recipe.augment, seed=seed) if recipe.augment else drawn
    run = _fit(
        start, drawn, recipe, folder, picture, 16, seed=seed, progress=progress, objective=classify.loss,
        times=latent.no_times, ema=recipe.ema, drop=0.0,
    )  # fmt: skip
    figures = {
        "accuracy_train": classify.accuracy(run.ema, images, labels),
        "accuracy": classify.accuracy(run.ema, held, told),
    }
    for number, font in enumerate(held_out.font_names):
        rows = (held_out.fonts == number).to(device)
        if rows.any():
            figures[f"accuracy {font}"] = classify.accuracy(run.ema, held[rows], told[rows])
    _save(folder, run.ema, card(figures) | {"classes": list(data.classes)})
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
        clip=1.0, bf16=recipe.bf16 and has_bfloat16(next(start.parameters()).device), compile=recipe.compile,
        checkpoint=folder / RUN, every=recipe.every, watch=watch, **settings,
    )  # fmt: skip


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor has units for bfloat16; if not, it says so in a line, for float32 is then faster."""
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported(including_emulation=False)
    elif platform.machine().lower() in ("x86_64", "amd64"):
        has = torch.cpu._is_avx512_bf16_supported()
    else:
        has = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not has and ranks.rank() == 0:
        print(f"{device.type}: no units for bfloat16, so float32 it is")
    return has


def _save(folder, model, about: dict[str, Any]) -> None:
    if ranks.rank() == 0:
        models.save(Path(folder) / MODEL, model, about)


def _card(recipe: Recipe, folder, seed: int, device, about: Mapping[str, str] | None) -> Callable[[dict], dict]:
    """The card of a training that begins now, as a function of the figures at its end.

    Its seconds are those of this call; ``resumed`` tells that the run had begun in another one.
    """
    begun, resumed = time.perf_counter(), (Path(folder) / RUN).exists()
    on_gpu = torch.device(device).type == "cuda"
    machine = torch.cuda.get_device_name(device) if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    machine = f"{ranks.count()} processes, each: {machine}" if ranks.count() > 1 else machine

    def card(figures: dict[str, float]) -> dict[str, Any]:
        return {
            **(about or {}), "seed": seed, "recipe": dataclasses.asdict(recipe), "resumed": resumed,
            "seconds": round(time.perf_counter() - begun, 1), "date": datetime.now(UTC).date().isoformat(),
            "machine": machine, "torch": torch.__version__, "figures": figures,
        }  # fmt: skip

    return card
