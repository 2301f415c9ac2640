"""DensityExplorer: the density p_t and particles of the forward SDE in the plane, over law x process x t."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from matplotlib.figure import Figure

from .. import distributions, noise
from .._checks import named
from ..distributions import GaussianMixture
from ..process import Process
from ..process import table as process_table
from .choices import LAWS, PROCESSES, labels, window
from .packing import quantise
from .player import Player, bundle, dial, menu

REACH = 2.0  # particles are stored as far out as this many half widths
WORDS = {
    "density": {"ja": "密度 pₜ(x)", "en": "density pₜ(x)"},
    "signal": {"ja": "信号", "en": "signal"},
    "noise": {"ja": "ノイズ", "en": "noise"},
    "share": {"ja": "信号の割合 α²/(α²+σ²)", "en": "share of the signal, α²/(α²+σ²)"},
    "paths": {"ja": "印を付けた粒子の x₁", "en": "x₁ of the marked particles"},
    "window": {"ja": "t = 0 の窓", "en": "window of t = 0"},
    "highest": {"ja": "pₜ の最大値", "en": "highest pₜ"},
    "width": {"ja": "窓の半幅", "en": "half width"},
    "describe": {"ja": "密度 pₜ の濃淡図と粒子", "en": "Heat map of the density pₜ with particles"},
}


class DensityExplorer(Player):
    """The density p_t (heat map) and particles under the forward SDE dx = f(t) x dt + g(t) dw.

    law, process: names, the first choice of the menus. laws: names of ``sd.distributions.table``, or a dict name ->
    two-dimensional GaussianMixture of variance near 1. processes: names of ``sd.process.table``. particles, cells
    (of the heat map, a side), steps (frames less one): sizes. seed: of the particles.
    precompute: "menus" (every law with every process, at the default noise), a list of choices such as
    ``[{"law": "moons", "process": "ve"}]``, or () for none; a published page shows what is precomputed, a kernel
    computes the rest. Raises ValueError for unknown names, listing the near ones.

    >>> sd.widgets.DensityExplorer(law="moons", process="ve")
    """

    _esm = bundle("plane.mjs", "density_explorer.mjs")

    def __init__(
        self,
        law: str = "ring",
        process: str = "vp",
        *,
        laws: Iterable[str] | Mapping[str, GaussianMixture] = ("ring", "moons", "spiral", "checkerboard"),
        processes: Iterable[str] = ("vp", "subvp", "ve", "cosine", "flow"),
        particles: int = 300,
        cells: int = 56,
        steps: int = 32,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        self._laws = dict(laws) if isinstance(laws, Mapping) else {name: _law(name) for name in laws}
        made = {name: named(process_table, name, "process") for name in processes}
        self._sizes = (particles, cells, steps, seed)
        controls = [
            menu("law", {"ja": "データの分布", "en": "data law"}, labels(self._laws, LAWS)),
            menu("process", {"ja": "過程", "en": "process"}, labels(made, PROCESSES)),
            dial("beta_max", {"ja": "β_max", "en": "β_max"}, 1, 40, 1, when={"process": ["vp", "subvp"]}),
            dial("sigma_max", {"ja": "σ_max", "en": "σ_max"}, 2, 100, 1, when={"process": ["ve", "edm"]}),
            menu("show", {"ja": "表示", "en": "show"}, {
                "both": {"ja": "密度と粒子", "en": "density and particles"},
                "density": {"ja": "密度だけ", "en": "density only"},
                "particles": {"ja": "粒子だけ", "en": "particles only"},
            }, local=True),
        ]  # fmt: skip
        super().__init__(
            title={"ja": "拡散過程の密度と粒子", "en": "Density and particles of the forward SDE"},
            controls=controls,
            words=WORDS,
            choice={"law": law, "process": process, "beta_max": 20.0, "sigma_max": 50.0},
            precompute=precompute,
            frame=steps // 4 if frame is None else frame,
            lang=lang,
        )

    def process(self, choice: dict | None = None) -> Process:
        """The process of a choice (the current one if none is given)."""
        choice = self._checked(choice or self.choice)
        make: Any = process_table[choice["process"]]
        return make(**{each.name: choice[each.name] for each in fields(make) if each.name in choice})

    def law(self, choice: dict | None = None) -> GaussianMixture:
        """The law of the data of a choice."""
        return self._laws[self._checked(choice or self.choice)["law"]]

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F = steps + 1 of them.

        t, alpha, sigma (F,); half (F,): half the width of the picture; peak (F,): highest density among the cells;
        heat (F, cells, cells): p_t / peak at the centres of the cells, rows are x_2 upwards; particles
        (F, particles, 2): x_t in units of half, one path of the SDE each, drawn by its exact transitions.
        """
        law, process = self.law(choice), self.process(choice)
        n, cells, steps, seed = self._sizes
        # EDM's time is the noise level itself: cubed, so that the frames are not all noise
        times = process.T * torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** (1 if process.T <= 1 else 3)
        alpha, sigma = process.alpha(times), process.sigma(times)
        half = window(alpha, sigma)

        centres = (torch.arange(cells) + 0.5) / cells * 2 - 1
        points = torch.cartesian_prod(centres, centres).flip(1)  # x_1 runs fastest
        x = law.sample(n, seed=seed, dtype=torch.float64)
        heat, peak, paths = [], [], []
        for k, t in enumerate(times.tolist()):
            density = law.at(process, t).log_prob(float(half[k]) * points).exp()
            peak.append(density.max())
            heat.append((density / peak[-1]).reshape(cells, cells))
            if k:
                a, std = process.transition(times[k - 1], t)
                x = a * x + std * noise.normal(x.shape, seed, key=(noise.STEP, k), dtype=torch.float64)
            paths.append(x / half[k])
        return {
            "t": times, "alpha": alpha, "sigma": sigma, "half": half, "peak": torch.stack(peak),
            "heat": quantise(torch.stack(heat), 0, 1, 255, delta=(1, 2)),
            "particles": quantise(torch.stack(paths), -REACH, REACH, 2047, delta=(0,)),
        }  # fmt: skip

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """Four frames in a row."""
        last = len(frames["t"]) - 1
        for axes, k in zip(figure.subplots(1, 4), (0, last // 8, last // 4, last), strict=True):
            half = float(frames["half"][k])
            axes.imshow(
                frames["heat"][k], origin="lower", extent=(-half, half) * 2, cmap="viridis", interpolation="bilinear"
            )
            axes.scatter(*(half * frames["particles"][k]).T, s=2.5, color="white", edgecolors="black", linewidths=0.2)
            axes.set(xlim=(-half, half), ylim=(-half, half), title=f"t = {float(frames['t'][k]):.2f}")
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=8)


def _law(name: str) -> GaussianMixture:
    return named(distributions.table, name, "law")()
