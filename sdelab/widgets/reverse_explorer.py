"""ReverseExplorer: score field and reverse paths in the plane, from the probability-flow ODE to the SDE and beyond."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..distributions import GaussianMixture
from ..process import Process
from ..reverse import Reverse
from ..solve import trajectory
from ..solvers import ExpAdams
from .choices import LawAndProcess, components, fine_times, frame_times, laws_of, processes_of, sized, window
from .packing import quantise
from .player import bundle, dial, menu

REACH = 1.5  # particles are stored as far out as this many half widths
BINS = 24  # bars of the histogram of x_1 across the window
STEP = 0.2  # of the solver in lam, at most
WORDS = {
    "plane": {
        "ja": "密度 pₜ、スコアの矢印、逆向きに進む粒子",
        "en": "Density pₜ, arrows of the score, and particles running backwards",
    },
    "density": {"ja": "密度 pₜ(x)", "en": "density pₜ(x)"},
    "histogram": {"ja": "x₁ の分布: 粒子（棒）と厳密な pₜ（線）", "en": "law of x₁: particles (bars), exact pₜ (line)"},
    "paths": {"ja": "印を付けた粒子の x₁", "en": "x₁ of the marked particles"},
    "distance": {"ja": "厳密な分布との全変動距離", "en": "total variation from the exact law"},
    "chance": {"ja": "偶然だけなら", "en": "chance alone"},
    "corr": {"ja": "出発点 x_T との相関", "en": "correlation with the start x_T"},
    "window": {"ja": "t = 0 の窓", "en": "window of t = 0"},
    "arrows": {"ja": "矢印: ∇log pₜ の向き", "en": "arrows: direction of ∇log pₜ"},
}


class ReverseExplorer(LawAndProcess):
    """The family dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dw from noise to data, with its score field.

    law, process, eta: the first choices. laws: names of ``sd.distributions.table``, or a dict name -> two-dimensional
    GaussianMixture. processes: names of ``sd.process.table`` ("ve" with sigma_max = 5), or a dict name -> Process.
    etas: values of the noise dial that are stored ("menus"); a kernel computes any other from 0 to 2.
    particles drawn, crowd of particles counted in the histogram, steps (frames less one): sizes. seed: of the
    particles; every eta has the same starts and the same normals. precompute, lang: as in DensityExplorer.
    Raises ValueError for unknown names and sizes that cannot be.

    >>> sd.widgets.ReverseExplorer(law="ring", eta=0.0)
    """

    _esm = bundle("mixture.mjs", "plane.mjs", "reverse_explorer.mjs")

    def __init__(
        self,
        law: str = "moons",
        process: str = "vp",
        eta: float = 1.0,
        *,
        laws: Iterable[str] | Mapping[str, GaussianMixture] = ("moons", "ring"),
        processes: Iterable[str] | Mapping[str, Process] = ("vp", "ve", "flow"),
        etas: Iterable[float] = (0.0, 0.5, 1.0, 2.0),
        particles: int = 100,
        crowd: int = 400,
        steps: int = 36,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        sized(particles=(particles, 1), crowd=(crowd, particles), steps=(steps, 2))
        self._laws, self._processes = laws_of(laws), processes_of(processes)
        self._sizes = (particles, crowd, steps, seed)
        if precompute == "menus":
            every = itertools.product(self._laws, self._processes, sorted({*map(float, etas), float(eta)}))
            precompute = [{"law": a, "process": b, "eta": c} for a, b, c in every]
        controls = [
            *self._menus(),
            dial("eta", {"ja": "ノイズ η", "en": "noise η"}, 0, 2, 0.05),
            menu("show", {"ja": "表示", "en": "show"}, {
                "all": {"ja": "すべて", "en": "everything"},
                "score": {"ja": "スコアと密度", "en": "score and density"},
                "particles": {"ja": "粒子と密度", "en": "particles and density"},
            }, local=True),
        ]  # fmt: skip
        super().__init__(
            title={"ja": "逆拡散過程: ODEからSDEまで", "en": "Running backwards: from the ODE to the SDE"},
            controls=controls,
            words=WORDS,
            choice={"law": law, "process": process, "eta": eta},
            precompute=precompute,
            frame=round(0.75 * steps) if frame is None else frame,
            lang=lang,
        )

    def paths(self, choice: dict | None = None) -> tuple[Tensor, Tensor]:
        """Times (F,) from T to 0 and states (F, crowd, 2), from exact draws of p_T by exponential Adams of order 2."""
        choice = self._checked(choice or self.choice)
        law, process = self._laws[choice["law"]], self._processes[choice["process"]]
        _, crowd, steps, seed = self._sizes
        times = frame_times(process, steps)
        x = law.at(process, process.T).sample(crowd, seed=seed, dtype=torch.float32)
        equation = Reverse(process, law.denoiser(process), choice["eta"])
        path = trajectory(equation, ExpAdams(2), x, fine_times(process, times, STEP), seed, progress=False)
        wanted = set(times.tolist())
        return times, torch.stack([x for t, x in path if t in wanted]).double()

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F = steps + 1 of them, from t = T to t = 0.

        t, alpha, sigma (F,); half (F,): half the width of the picture; particles (F, particles, 2): x_t in units of
        half; counts (F, 24): how many of the crowd (1,) have x_1 in each of 24 equal parts of the width; tv (F,): total
        variation of their shares from the exact ones; chance (F,): the expected one of as many exact draws;
        corr (F,): correlation of x_1 with its value at T; weights, means, covs: the law (see mixture.mjs).
        """
        law, process = self.law(choice), self.process(choice)
        particles, crowd, *_ = self._sizes
        times, x = self.paths(choice)
        alpha, sigma = process.alpha(times), process.sigma(times)
        half = window(alpha, sigma)
        y = x / half[:, None, None]
        counts = torch.stack([torch.histc(row, BINS, -1, 1) for row in y[..., 0]])
        exact = torch.stack([_shares(law, *each) for each in zip(alpha, sigma, half, strict=True)])
        z = (x[..., 0] - x[..., 0].mean(1, keepdim=True)) / x[..., 0].std(1, correction=0, keepdim=True)
        return {
            "t": times, "alpha": alpha, "sigma": sigma, "half": half,
            "particles": quantise(y[:, :particles], -REACH, REACH, 1023, delta=(0,)),
            "counts": quantise(counts, 0, 65535),
            "tv": (counts / crowd - exact).abs().sum(1) / 2,
            # the mean of |count/n - P| is near sqrt(2 P (1 - P) / (pi n))
            "chance": torch.sqrt(2 * exact * (1 - exact) / (math.pi * crowd)).sum(1) / 2,
            "corr": z @ z[0] / crowd,
            "crowd": torch.tensor([crowd]),
            **components(law),
        }  # fmt: skip

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """Four frames from noise to data, some paths drawn as far as they have come lately."""
        last = len(frames["t"]) - 1
        x = frames["half"][:, None, None] * torch.as_tensor(frames["particles"])
        for axes, k in zip(figure.subplots(1, 4), (0, last // 2, 3 * last // 4, last), strict=True):
            half = float(frames["half"][k])
            axes.scatter(*x[k].T, s=2.5, color="#0072b2", linewidths=0)
            for path in x[max(0, k - 8) : k + 1, :4].unbind(1):
                axes.plot(*path.T, color="#c25700", lw=0.7)
            axes.scatter(*x[k, :4].T, s=9, color="#c25700", edgecolors="black", linewidths=0.3, zorder=3)
            axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", title=f"t = {float(frames['t'][k]):.2f}")
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=8)


def _shares(law: GaussianMixture, alpha: Tensor, sigma: Tensor, half: Tensor) -> Tensor:
    """Exact probabilities of x_1 in equal parts of the window."""
    edges = half * torch.linspace(-1, 1, BINS + 1, dtype=torch.float64)
    scale = torch.sqrt(alpha**2 * law.covs[:, 0, 0] + sigma**2)
    return (torch.special.ndtr((edges[:, None] - alpha * law.means[:, 0]) / scale) @ law.weights).diff()
