"""ScheduleDesigner: a schedule, a grid, a number of steps; where the steps fall in log-SNR, what x_t looks like."""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from .. import grids, noise
from .._checks import named
from ..process import Process
from .choices import PROCESSES, labels, process_labels, processes_of, sized
from .packing import quantise
from .player import Player, bundle, dial, menu

REACH = 9.0  # lam is drawn from -9 to 9; infinite ends stand there
BANDS = (-1.0, 1.0)  # of lam: below much noise, above little noise
CURVE = 161  # points of the curve of lam against t
DIALS = {"karras": ("rho", (2.0, 20.0)), "flow_shift": ("shift", (1.0, 6.0))}  # a grid's dial, other values stored
ZERO = {"zero_snr": {"ja": "VP (終端SNR 0)", "en": "VP, zero terminal SNR"}}
GRIDS = {
    "uniform": {"ja": "t で等間隔", "en": "uniform in t"},
    "quadratic": {"ja": "√t で等間隔", "en": "quadratic in t"},
    "cosine": {"ja": "コサイン", "en": "cosine"},
    "karras": {"ja": "Karras", "en": "Karras"},
    "logsnr": {"ja": "log SNR で等間隔", "en": "uniform in log-SNR"},
    "kl_optimal": {"ja": "角度で等間隔 (KL Optimal)", "en": "uniform angle (KL Optimal)"},
    "beta": {"ja": "ベータ分布", "en": "beta"},
    "flow_shift": {"ja": "シフト付きフロー", "en": "shifted flow"},
}
WORDS = {
    "state": {"ja": "状態 xₜ（大きさをそろえて描く）", "en": "state xₜ, drawn at unit size"},
    "clock": {"ja": "λ = log(α/σ)。点は刻み", "en": "λ = log(α/σ); dots: the steps"},
    "density": {"ja": "λ の幅1あたりの評価の回数", "en": "evaluations per unit of λ"},
    "step": {"ja": "歩", "en": "step"},
    "ratio": {"ja": "ノイズと信号の比 σ/α", "en": "noise to signal σ/α"},
    "snr": {"ja": "SNR α²/σ²", "en": "SNR α²/σ²"},
    "high": {"ja": "ノイズが多い (λ < −1)", "en": "much noise (λ < −1)"},
    "middle": {"ja": "中間", "en": "middle"},
    "low": {"ja": "ノイズが少ない (λ > 1)", "en": "little noise (λ > 1)"},
    "time": {"ja": "歩の番号", "en": "number of the step"},
}


class ScheduleDesigner(Player):
    """Where the steps of a sampler fall: the schedule's clock lam(t), the grid's times on it, the picture x_t there.

    process, grid, steps: the first choices. processes: names of ``sd.process.table``, or a dict name -> Process; grids:
    names of ``sd.grids.table``; counts: numbers of steps. rho, shift: parameters of the Karras grid and of the shifted
    flow, dials where a kernel answers. picture: a tensor (H, W) with values from -1 to 1, by default a letter of the
    kana data; seed: of the noise, the same for every choice. Every grid ends at t = 0. precompute, lang: as in
    DensityExplorer. Raises ValueError for unknown names, sizes that cannot be, a picture out of range.

    >>> sd.widgets.ScheduleDesigner(process="cosine", grid="logsnr", steps=20)
    """

    _esm = bundle("schedule_designer.mjs")

    def __init__(
        self,
        process: str = "vp",
        grid: str = "uniform",
        steps: int = 10,
        *,
        processes: Iterable[str] | Mapping[str, Process] = ("vp", "cosine", "flow", "edm", "zero_snr"),
        grids: Iterable[str] = tuple(GRIDS),
        counts: Iterable[int] = (5, 10, 20),
        rho: float = 7.0,
        shift: float = 3.0,
        picture: Tensor | None = None,
        seed: int = 0,
        precompute: Any = "menus",
        frame: int | None = None,
        lang: str = "auto",
    ) -> None:
        self._processes, names = processes_of(processes), tuple(grids)
        for name in names:
            named(_grids(), name, "grid")
        counts = tuple(sorted({*counts, steps}))
        for count in counts:
            sized(steps=(count, 2))
        self._glyph = _letter() if picture is None else _checked_picture(picture)
        self._noise = noise.normal(self._glyph.shape, seed=seed, dtype=torch.float64)
        if precompute == "menus":
            every = itertools.product(self._processes, names, counts)
            precompute = [{"process": a, "grid": b, "steps": c} for a, b, c in every]
            precompute += [
                {"process": a, "grid": g, "steps": steps, DIALS[g][0]: value}
                for a in self._processes for g in DIALS if g in names for value in DIALS[g][1]
            ]  # fmt: skip
        controls = [
            menu("process", {"ja": "スケジュール", "en": "schedule"},
                 process_labels(self._processes) | labels([n for n in self._processes if n in ZERO], PROCESSES | ZERO)),
            menu("grid", {"ja": "刻み", "en": "grid"}, labels(names, GRIDS)),
            menu("steps", {"ja": "歩数", "en": "steps"}, {c: {"ja": str(c), "en": str(c)} for c in counts}),
            dial("rho", {"ja": "ρ", "en": "ρ"}, 1, 20, 0.5, {"grid": ["karras"]}),
            dial("shift", {"ja": "シフト", "en": "shift"}, 0.2, 10, 0.2, {"grid": ["flow_shift"]}),
        ]  # fmt: skip
        super().__init__(
            title={"ja": "スケジュールと刻みの設計", "en": "Designing schedules and grids"},
            controls=controls,
            words=WORDS,
            choice={"process": process, "grid": grid, "steps": steps, "rho": rho, "shift": shift},
            precompute=precompute,
            frame=round(0.7 * steps) if frame is None else frame,
            lang=lang,
        )

    def times(self, choice: dict | None = None) -> Tensor:
        """The times of a choice, from T to 0, (steps + 1,) float64."""
        choice = self._checked(choice or self.choice)
        grid = choice["grid"]
        more = {DIALS[grid][0]: choice[DIALS[grid][0]]} if grid in DIALS else {}
        return grids.make(grid, self._processes[choice["process"]], choice["steps"], zero=True, **more)

    def shares(self, choice: dict | None = None) -> list[float]:
        """Shares of the evaluations (at all times but the last) at lam < -1, between, and lam > 1."""
        choice = self._checked(choice or self.choice)
        lam = self._processes[choice["process"]].lam(self.times(choice)[:-1])
        above = [float((lam > band).double().mean()) for band in BANDS]
        return [1 - above[0], above[0] - above[1], above[1]]

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """Frames of one choice, F = steps + 1 of them.

        t, lam (F,), lam held within ±9; signal, noise (F,): alpha and sigma over sqrt(alpha^2 + sigma^2); curve
        (161,): lam at times evenly from 0 to T; T (1,); shares (3,); picture and eps (H, W).
        """
        choice = self._checked(choice or self.choice)
        process, times = self._processes[choice["process"]], self.times(choice)
        alpha, sigma = process.alpha(times), process.sigma(times)
        size = torch.hypot(alpha, sigma)
        curve = process.T * torch.linspace(0, 1, CURVE, dtype=torch.float64)
        return {
            "t": times, "lam": process.lam(times).clamp(-REACH, REACH),
            "signal": alpha / size, "noise": sigma / size,
            "curve": quantise(process.lam(curve).clamp(-REACH, REACH), -REACH, REACH, 1023, delta=(0,)),
            "T": torch.tensor([process.T]), "shares": torch.tensor(self.shares(choice)),
            "picture": quantise(self._glyph, -1, 1, 63, delta=(1,)),
            "eps": quantise(self._noise, -3.5, 3.5, 31),
        }  # fmt: skip

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """Three states, and lam against t with the steps."""
        n = len(frames["t"]) - 1
        *panels, axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.6])
        for panel, k in zip(panels, (0, n // 2, n - 1), strict=True):
            x = float(frames["signal"][k]) * frames["picture"] + float(frames["noise"][k]) * frames["eps"]
            panel.imshow(x, cmap="gray_r", vmin=-1.5, vmax=1.5)
            panel.set(xticks=[], yticks=[], title=f"{k}: t = {float(frames['t'][k]):.3g}")
        T = float(frames["T"][0])
        axes.plot(torch.linspace(0, 1, CURVE), frames["curve"], color="#57606a", lw=1)
        axes.plot(frames["t"] / T, frames["lam"], "o", ms=4, color="#c25700")
        axes.set(xlabel="t/T", title="lam")


def _grids() -> dict:
    return grids.table


def _letter() -> Tensor:
    """A letter of the kana data, (32, 32) float64."""
    from ..data import load_kana

    return load_kana("train").images[6800, 0].double()


def _checked_picture(picture: Tensor) -> Tensor:
    x = torch.as_tensor(picture, dtype=torch.float64)
    if x.ndim != 2 or not x.isfinite().all() or float(x.abs().max()) > 1 or math.prod(x.shape) > 4096:
        raise ValueError(f"picture is a tensor (H, W) of at most 4096 values from -1 to 1; got shape {tuple(x.shape)}")
    return x
