"""The shipped models of images under every sampler: `python -m benchmarks latent [PART ...]`.

rows: the error of every deterministic row against the converged ODE, on standard grids.
fitted: the same on times that were found for the model.
steps: every way to make times, and every grid made by hand, for three solvers on five sets of starts; after "fitted".
sets: known solvers on known grids, and DDIM's letters, on five sets of starts.
cost: seconds and memory of a sample, of latents and of pixels.
samplers: quality of the samples of those samplers that readers know, per network call.
kana-latent, kana-pixel, …: quality of a model's samples, with guidance or without, as one classifier sees them, by
which the guidance may be chosen, and as another one does, by which it is told.

Fits are made on other starts than they are measured on. mnist-latent needs the data of MNIST.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch

import sdelab as sd

from . import RESULTS, keep, kept, latent_cost, latent_quality, latent_rows, latent_steps
from .latent_common import MODEL

FILE = RESULTS / "latent.json"
OTHERS = ("kana-latent-hour", "kana-latent-tiny", "kana-pixel", "kana-pixel-long")  # measured without guidance

PARTS: dict[str, Callable[[], dict]] = {
    MODEL: lambda: latent_quality.kana(MODEL, latent_quality.GUIDANCE),
    **{name: partial(latent_quality.kana, name) for name in OTHERS},
    "mnist-latent": latent_quality.mnist,
    "cost": latent_cost.cost,
    "samplers": lambda: latent_quality.samplers(sd.models.load(MODEL)),
    "rows": lambda: latent_rows.rows(sd.models.load(MODEL)),
    "fitted": lambda: latent_rows.fitted(sd.models.load(MODEL)),
    "steps": lambda: latent_steps.steps(sd.models.load(MODEL)),
    "sets": lambda: latent_steps.sets(sd.models.load(MODEL)),
}


def main(names: list[str]) -> None:
    """All parts, or those named; results go into benchmarks/results/latent.json part by part."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"no part is called {', '.join(unknown)}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    for name in names or PARTS:
        found = {name: PARTS[name]()}
        held = kept(FILE, {})
        keep(FILE, held | found | {"digests": held.get("digests", {}) | {name: digest(model_of(name))}})


def model_of(part: str) -> str:
    """The model that a part is about."""
    return part if part in (*OTHERS, "mnist-latent") else MODEL


def digest(name: str) -> str:
    """Of a model's numbers, so that a test can tell whether figures are of the model that is shipped."""
    return sd.checkpoint.digest(sd.checkpoint.load(sd.models.find(name))[0])


if __name__ == "__main__":
    main(sys.argv[1:])
