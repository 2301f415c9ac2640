"""LatentPlayground: the sampler menu of an image tool; class, sampler, grid, guidance, steps and seed make an image."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from .. import draws, grids, noise, solvers
from .._checks import named
from ..guidance import classifier_free
from ..models import ImageModel
from ..reverse import Reverse
from ..solve import NFE, run
from .choices import labels, sized
from .packing import quantise
from .player import Player, bundle, dial, menu

STRONGEST = 8.0  # the greatest weight of guidance
SHADES = 127  # of an image as stored: its eighth bit would be the autoencoder's noise
SAMPLERS = {row.key: row for row in solvers.table if not row.adaptive}  # those that take the steps they are given
GRIDS = {
    "karras": {"ja": "Karras", "en": "Karras"},
    "uniform": {"ja": "t で等間隔", "en": "uniform in t"},
    "logsnr": {"ja": "λ で等間隔", "en": "uniform in λ"},
}
WORDS = {
    "image": {"ja": "選んだ画像", "en": "the chosen image"},
    "sheet": {"ja": "行: シード、列: ステップ数", "en": "rows: seeds; columns: numbers of steps"},
    "levels": {"ja": "ステップごとの出発点のノイズ σ/α", "en": "noise σ/α where each step begins"},
    "time": {"ja": "ステップ数", "en": "number of steps"},
    "steps": {"ja": "ステップ", "en": "steps"},
    "one": {"ja": "ステップ", "en": "step"},
    "seed": {"ja": "シード", "en": "seed"},
    "calls": {"ja": "ネットワークの呼び出し", "en": "network calls"},
    "gap": {"ja": "最多ステップの画像との差", "en": "difference from the most steps"},
    "spread": {"ja": "シード間のばらつき", "en": "spread between seeds"},
    "hint": {
        "ja": "表の画像を押すか、表を選んで矢印キーで選ぶ。ほかでは ← → でステップ数、スペースで再生",
        "en": "Press an image of the table, or focus the table and use arrows. Elsewhere ← → change steps, Space plays",
    },
}


class LatentPlayground(Player):
    """What the menus of an image tool do, on a model of images: a table of samples, seeds by numbers of steps.

    An image is ``sd.sample`` of D + w (D_c - D), where D_c is the denoiser of the class, from x_T and with the noise
    of its own seed; decoded where the model is one of latents. A choice is class, sampler, grid and guidance w.

    classes (default: four of the model's), samplers, grids, guidance: what a published page offers, the first of each
    shown first; a kernel samples any class of the model, any row of ``sd.solvers.table`` that does not choose its own
    steps, any grid of ``sd.grids.table`` and any w from 0 to 8. steps, seeds: of the table. seed, frame: the row and
    column shown first. precompute, lang: as in DensityExplorer. ``TypeError``: no ImageModel; ``ValueError``: a model
    without classes, and what is unknown, with the near names.

    >>> sd.widgets.LatentPlayground(sd.models.load("kana-latent"), classes="あきねん")
    """

    _esm = bundle("latent_playground.mjs")
    steps = traitlets.List(traitlets.Int()).tag(sync=True)  # columns of the table
    seeds = traitlets.List(traitlets.Int()).tag(sync=True)  # its rows
    seed = traitlets.Int(0).tag(sync=True)  # the chosen row

    def __init__(
        self,
        model: ImageModel,
        *,
        classes: Iterable[str] | None = None,
        samplers: Iterable[str] = ("dpmpp_2m", "edm_euler", "euler_ancestral"),
        grids: Iterable[str] = ("karras", "uniform"),
        guidance: Iterable[float] = (1.0, 2.0, 4.0),
        steps: Iterable[int] = (2, 3, 5, 8, 16),
        seeds: Iterable[int] = (0, 1, 2),
        seed: int | None = None,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        if not isinstance(model, ImageModel):
            raise TypeError(f"model must be an sd.models.ImageModel, as sd.models.load gives one, not {model!r}")
        classes = list(model.classes[:: -(-len(model.classes) // 4) or 1] if classes is None else classes)
        model.classes_of(classes)
        samplers, grids, guidance = list(samplers), list(grids), [float(w) for w in guidance]
        for name, given in (("classes", classes), ("samplers", samplers), ("grids", grids), ("guidance", guidance)):
            if not given:
                raise ValueError(f"{name} must have at least one entry")
        steps, seeds = _increasing("steps", steps, 1), _increasing("seeds", seeds, 0)
        self._model, self._sizes = model, (steps, seeds)
        self._made: dict[tuple, dict[str, Any]] = {}  # tables by choice
        controls = [
            menu("class", {"ja": "クラス", "en": "class"}, labels(model.classes, {})),
            menu("sampler", {"ja": "サンプラー", "en": "sampler"}, _samplers(samplers)),
            menu("grid", {"ja": "時刻の刻み", "en": "grid"}, _grids(grids)),
            dial("guidance", {"ja": "ガイダンス w", "en": "guidance w"}, 0, STRONGEST, 0.5),
            menu("seed", WORDS["seed"], {n: {"ja": str(n), "en": str(n)} for n in seeds}, local=True),
        ]
        if precompute == "menus":
            precompute = []
            for sampler, grid, w in itertools.product(samplers, grids, guidance):
                self._make(classes, sampler, grid, w)
                precompute += [{"class": c, "sampler": sampler, "grid": grid, "guidance": w} for c in classes]
        super().__init__(
            title={"ja": "画像生成のプレイグラウンド", "en": "Image sampling playground"},
            controls=controls,
            words=WORDS,
            choice={"class": classes[0], "sampler": samplers[0], "grid": grids[0], "guidance": guidance[0]},
            precompute=precompute,
            frame=len(steps) // 2 if frame is None else frame,
            lang=lang,
        )
        self.steps, self.seeds, self.seed = steps, seeds, seeds[0] if seed is None else seed

    @traitlets.validate("seed")
    def _valid_seed(self, proposal: Any) -> int:
        if proposal["value"] not in self._sizes[1]:
            raise ValueError(f"seed is one of {self._sizes[1]}, not {proposal['value']}")
        return proposal["value"]

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """The table of one choice, F numbers of steps by S seeds.

        t (F,): the numbers of steps; images (F, S, C, H, W) in [-1, 1]; levels (F, t[-1]): sigma/alpha where the steps
        begin, then zeros; calls (F,): of the network, for each image; gap (F, S): root mean square distance from the
        image with the most steps; spread (F,): root of the variance between seeds, averaged over the pixels.
        """
        choice = self._checked(choice or self.choice)
        wanted = choice["class"], choice["sampler"], choice["grid"], choice["guidance"]
        if wanted not in self._made:
            self._make([wanted[0]], *wanted[1:])
        return self._made[wanted]

    def _make(self, classes: list[str], sampler: str, grid: str, w: float) -> None:
        """Keep the tables of these classes, all of which are sampled together."""
        steps = self._sizes[0]
        made = [self._sample(classes, sampler, grid, w, n) for n in steps]
        images = torch.stack([images for images, _, _ in made], 1)  # (classes, F, S, C, H, W)
        levels = torch.nn.utils.rnn.pad_sequence([levels for _, levels, _ in made], batch_first=True)
        calls = torch.tensor([calls for _, _, calls in made])
        for name, each in zip(classes, images, strict=True):
            self._made[name, sampler, grid, w] = {
                "t": torch.tensor(steps),
                "images": quantise(each, -1, 1, SHADES),
                "levels": levels,
                "calls": calls,
                "gap": (each - each[-1]).square().mean((2, 3, 4)).sqrt(),
                "spread": each.var(1, correction=0).mean((1, 2, 3)).sqrt(),
            }

    @torch.no_grad()
    def _sample(self, classes, sampler, grid, w, steps) -> tuple[Tensor, Tensor, int]:
        """Images (classes, seeds, C, H, W), noise levels (steps,) and network calls of a run."""
        model, row, seeds = self._model, solvers.row(sampler), self._sizes[1]
        process, device = model.denoiser.process, next(model.denoiser.parameters()).device
        y = model.classes_of(classes).repeat_interleave(len(seeds)).to(device)
        x = torch.cat([noise.prior(process, (1, *model.shape), seed, device=device) for seed in seeds])
        x = x.repeat(len(classes), 1, 1, 1)
        counters = NFE(model.denoiser.of(y)), NFE(model.denoiser)
        equation = Reverse(process, classifier_free(*counters, w), row.eta)
        times = grids.make(grid, process, steps, zero=True)
        drawer = _own([draws.fresh(seed, 0, steps) for seed in seeds], len(classes))
        *_, (_, x) = run(equation, row.make(), x, times.tolist(), drawer, progress=False)
        images = model.images(x).cpu().unflatten(0, (len(classes), len(seeds)))
        levels = (-process.lam(times[:-1])).exp().clamp_max(1e4)  # infinite where a process ends in noise alone
        return images, levels, sum(counter.count for counter in counters)

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """The table."""
        images = np.moveaxis((frames["images"] + 1) / 2, 2, -1)  # (F, S, H, W, C)
        if images.shape[-1] == 1:
            images = np.repeat(1 - images, 3, -1)  # ink on paper
        tiles = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0.75)
        F, S, height, width, _ = tiles.shape
        axes = figure.subplots()
        axes.imshow(tiles.transpose(1, 2, 0, 3, 4).reshape(S * height, F * width, 3))
        axes.set_xticks((np.arange(F) + 0.5) * width - 0.5, map(str, self._sizes[0]))
        axes.set_yticks((np.arange(S) + 0.5) * height - 0.5, map(str, self._sizes[1]))
        axes.set(xlabel="steps", ylabel="seed")


def _own(sources, times: int):
    """Noise of a batch whose samples have a source each (see sdelab.draws), the row of them so many times over."""

    def drawer(n: int):
        own = [source(n) for source in sources]

        def draw(a, b, x: Tensor, std: float, area: bool = False) -> tuple[Tensor, float]:
            z = torch.cat([one(a, b, x[:1], std, area)[0] for one in own])
            return z.repeat(times, *(1,) * (x.ndim - 1)), std

        return draw

    return drawer


def _increasing(name: str, values: Iterable[int], least: int) -> list[int]:
    """Whole numbers of at least ``least``, each once and in their order."""
    values = list(values)
    for value in values:
        sized(**{name: (value, least)})
    if not values or sorted(set(values)) != values:
        raise ValueError(f"{name} must be increasing whole numbers, at least one, not {values}")
    return values


def _samplers(names: list[str]) -> dict[str, dict]:
    """Labels of all samplers, those named first."""
    for name in names:
        if solvers.row(name).adaptive:
            raise ValueError(f"{name} chooses its own steps, and here they are counted: take another sampler")
    return labels(dict.fromkeys([*names, *SAMPLERS]), {k: {"ja": r.name, "en": r.name} for k, r in SAMPLERS.items()})


def _grids(names: list[str]) -> dict[str, dict]:
    for name in names:
        named(grids.table, name, "grid")
    return labels(dict.fromkeys([*names, *grids.table]), GRIDS)
