"""What the benchmarks of the shipped models of images share."""

import torch
from torch import Tensor

import sdelab as sd
from sdelab.data.common import Dataset
from sdelab.models import ImageModel

MODEL, CHOOSER, JUDGE = "kana-latent", "kana-classifier", "kana-judge"
PROCESS = sd.process.make(sd.models.PROCESS)
BUDGETS = (5, 10, 20, 35)
COMPARED = 10  # samples of a class, where samplers are compared


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def of_all_classes(model: ImageModel, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """(classes, starts), ``each`` of every class."""
    y = torch.arange(len(model.classes)).repeat(each)
    return y, sd.noise.prior(PROCESS, (len(y), *model.shape), seed=seed)


def reals(each: int) -> Dataset:
    """Held-out images of the training fonts, twice ``each`` of every class."""
    return twice(sd.data.load_kana("test_images"), each)


def twice(held: Dataset, each: int) -> Dataset:
    """Twice ``each`` images of every class."""
    rows = torch.cat(sd.quality.halves(held.labels, each))
    fonts = None if held.fonts is None else held.fonts[rows]
    return held._replace(images=held.images[rows], labels=held.labels[rows], fonts=fonts)
