"""What a schedule does to training, and where fitted times may be lent: `python -m benchmarks schedules`.

kana: one small U-Net, one number of steps, five seeds, letters あいうえお at 8x8, 16x16 and 32x32 pixels; only the
law of the training times differs. Judged on held-out images by the error of the predicted noise at common lam, and by
samples of one solver on one grid in lam: Fréchet distance of their averages at 8x8, energy distance of the pixels.

points: one small MLP on a law in the plane, with what it predicts and how its loss is weighed exchanged.

lent: times fitted by ``sd.grids.optimise`` for one exact law, solver and budget, used for others.
"""

import argparse
import copy
import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

import sdelab as sd

from . import RESULTS, keep, kept
from .laws import aniso5, lowrank64

FILE = RESULTS / "schedules.json"
SEEDS = range(5)
LEVELS = torch.linspace(-4, 4, 17, dtype=torch.float64)  # lam at which networks are compared

# -- kana ------------------------------------------------------------------------------------------------------------

LINEAR, COSINE = sd.process.VP(), sd.process.Cosine()
STEPS, BATCH, SAMPLES = 800, 32, 300


def lam_of(process) -> Callable[[Tensor], Tensor]:
    """Times of LINEAR whose lam is distributed as that of ``process`` at uniform t."""
    low, high = process.t_min, process.T
    return lambda u: LINEAR.t_of_lam(process.lam(low + u * (high - low)))


LAWS: dict[str, str | Callable[[Tensor], Tensor]] = {  # of the training times on the linear process
    "linear": "uniform",
    "cosine": lam_of(COSINE),
    "uniform lam": "logsnr",
    "log-normal": "lognormal",
}
SIDES: dict[int, tuple[str, ...]] = {8: tuple(LAWS), 16: ("linear", "cosine"), 32: ("linear", "cosine")}


def letters(side: int) -> tuple[Tensor, Tensor]:
    """Training images and others of the same five letters, averaged down to side x side."""
    splits = (sd.data.load_kana(split) for split in ("train", "test_images"))
    train, held = (avg_pool2d(d.images[d.labels < 5], 32 // side) for d in splits)
    return train, held


def errors(model, side: int, x0: Tensor, small: Tensor, seed: int = 7) -> tuple[list[float], list[float]]:
    """At LEVELS: E |eps_hat - eps|^2 a number, which is (alpha/sigma)^2 times the error of D; and E |D - x_0|^2 of the
    averages down to 8x8, against those of the images, ``small``."""
    eps, low = [], []
    for k, lam in enumerate(LEVELS.tolist()):
        t = float(LINEAR.t_of_lam(lam))
        x = LINEAR.perturb(x0, t, sd.noise.normal(x0.shape, seed=seed, key=k, dtype=x0.dtype))
        with torch.no_grad():
            D = model(x, t)
        eps.append(math.exp(2 * lam) * float((D - x0).square().mean()))
        low.append(float((avg_pool2d(D, side // 8) - small).square().mean()))
    return eps, low


def kana(side: int, law: str, seed: int) -> dict:
    train, held = letters(side)
    network = sd.nets.UNet(1, 16, 2, 1, attention=False, seed=seed)
    start = sd.nets.Denoiser(network, LINEAR, predicts="eps", sigma_data=1.0)
    rate = sd.train.cosine(2e-3, STEPS, 50)
    run = sd.train.fit(
        start, train, steps=STEPS, batch=BATCH, lr=rate, seed=seed, times=LAWS[law], ema=0.99, progress=False
    )
    model, small = run.ema, letters(8)[1]
    grid = sd.grids.make("logsnr", LINEAR, 20, zero=True)
    x_T = sd.noise.prior(LINEAR, (SAMPLES, 1, side, side), seed=100 + seed)
    with torch.no_grad():
        made = sd.solve(sd.Reverse(LINEAR, model, 0.0), sd.DPMpp2M(), x_T, grid, progress=False).clamp(-1, 1)
    order = sd.noise.uniform((len(held),), seed, dtype=torch.float64).argsort()
    a, b = order[:SAMPLES], order[-SAMPLES:]  # 600 images are held out
    flat = lambda v: v.flatten(1).double()  # noqa: E731
    coarse = flat(avg_pool2d(made, side // 8))
    eps, low = errors(model, side, held[::4], small[::4])
    return {
        "side": side, "law": law, "seed": seed, "eps": eps, "low": low,
        "frechet": sd.quality.frechet(coarse, flat(small[a])),
        "floor": sd.quality.frechet(flat(small[b]), flat(small[a])),
        "energy": float(sd.metrics.energy_distance(flat(made), flat(held))),
        "picture": (made[:6, 0] * 127).round().int().flatten(1).tolist() if seed == 0 else None,
    }  # fmt: skip


# -- points ----------------------------------------------------------------------------------------------------------

EDM, POINT_STEPS, POINT_BATCH = sd.process.EDM(), 1000, 256
DEVIATION = 1.2


class Plain(sd.nets.Denoiser):
    """A denoiser whose network sees x as it is, c_in = 1."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.scales.c_in = lambda t: torch.ones_like(sd.process.as_time(t))  # type: ignore[method-assign]


WAYS = {  # what the network predicts, the weighting of the loss on D, whether it sees c_in x
    "edm, edm": ("edm", "edm", True),
    "edm, x0": ("edm", "x0", True),
    "edm, eps": ("edm", "eps", True),
    "x0, x0": ("x0", "x0", True),
    "x0, edm": ("x0", "edm", True),
    "eps, eps": ("eps", "eps", True),
    "eps, edm": ("eps", "edm", True),
    "edm, edm, no c_in": ("edm", "edm", False),
}


def gradient(model, x0: Tensor, t: Tensor, eps: Tensor, weighting: str) -> float:
    """Norm of the gradient of the mean loss; it is left in .grad."""
    model.zero_grad()
    sd.train.loss(model, x0, t, eps, weighting).mean().backward()
    return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())


def points(way: str, seed: int) -> dict:
    law = sd.distributions.checkerboard()
    predicts, weighting, scaled = WAYS[way]
    network = sd.nets.MLP(2, 64, 3, seed=seed)
    make = sd.nets.Denoiser if scaled else Plain
    model = make(network, EDM, predicts=predicts, sigma_data=DEVIATION)
    rate = sd.train.cosine(2e-3, POINT_STEPS, 50)
    times = sd.train.lognormal(EDM, math.log(DEVIATION) - 0.5, 1.4)
    adam = torch.optim.Adam(model.parameters())
    average = copy.deepcopy(model)
    norms = []
    for step in range(POINT_STEPS):
        x0 = law.sample(POINT_BATCH, seed=seed, first=step * POINT_BATCH, dtype=torch.float32)
        t = sd.train.draw_times(EDM, POINT_BATCH, times, seed=seed, step=step)
        eps = sd.noise.normal(x0.shape, seed=1000 + seed, key=step, dtype=x0.dtype)
        norms.append(gradient(model, x0, t, eps, weighting))
        adam.param_groups[0]["lr"] = rate(step)
        adam.step()
        with torch.no_grad():
            for own, new in zip(average.parameters(), model.parameters(), strict=True):
                own.lerp_(new, 0.01)
    exact, errors, by_level = law.denoiser(EDM), [], []
    x0 = law.sample(2000, seed=50, dtype=torch.float32)
    for k, lam in enumerate(LEVELS.tolist()):
        t = torch.full((2000,), math.exp(-lam), dtype=torch.float64)
        eps = sd.noise.normal(x0.shape, seed=51, key=k, dtype=x0.dtype)
        x = EDM.perturb(x0, t, eps)
        with torch.no_grad():
            errors.append(float((average(x, t) - exact(x, t)).square().sum(1).mean().sqrt()))
        by_level.append(gradient(model, x0, t, eps, weighting))
    x_T = sd.noise.prior(EDM, (2000, 2), seed=60 + seed, dtype=torch.float32)
    with torch.no_grad():
        grid = sd.grids.make("karras", EDM, 30, zero=True)
        made = sd.solve(sd.Reverse(EDM, average, 0.0), sd.DPMpp2M(), x_T, grid, progress=False)
    real, other = (law.sample(2000, seed=s + seed, dtype=torch.float32) for s in (70, 80))
    late = torch.tensor(norms[POINT_STEPS // 2 :], dtype=torch.float64)
    energy = lambda a: float(sd.metrics.energy_distance(a.double(), real.double()))  # noqa: E731
    return {
        "way": way, "seed": seed, "error": errors, "gradient": by_level, "spread": float(late.std() / late.mean()),
        "energy": energy(made), "floor": energy(other),
    }  # fmt: skip


# -- lent ------------------------------------------------------------------------------------------------------------

PROBLEMS = {"ring": sd.distributions.ring, "moons": sd.distributions.moons, "aniso5": aniso5, "lowrank64": lowrank64}
SOLVERS, BUDGETS = ("ddim", "dpmpp_2m"), (5, 10)
VP = sd.process.VP()


def stretched(times: Tensor, steps: int) -> Tensor:
    """Times of another number of steps, by linear interpolation of lam."""
    lam = VP.lam(times)
    at = torch.linspace(0, len(times) - 1, steps + 1, dtype=torch.float64)
    left = at.floor().long().clamp_max(len(times) - 2)
    out = VP.t_of_lam(torch.lerp(lam[left], lam[left + 1], at - left))
    out[0], out[-1] = times[0], times[-1]
    return out


def problem(name: str) -> tuple[Tensor, sd.Reverse]:
    """Starts to fit on, and the probability-flow ODE."""
    law = PROBLEMS[name]()
    return sd.noise.prior(VP, (128, law.dim), seed=5, dtype=torch.float64), sd.Reverse(VP, law.denoiser(VP), 0.0)


def fits() -> dict[str, list[float]]:
    """Fitted times by "law, solver, calls"."""
    found = {}
    for name in PROBLEMS:
        starts, ode = problem(name)
        for key, n in product(SOLVERS, BUDGETS):
            solver = sd.solvers.row(key).make()
            times = sd.grids.optimise(ode.denoise, VP, solver, n, starts, progress=False)
            found[f"{name}, {key}, {n}"] = times.tolist()
    return found


def lent(fitted: dict[str, list[float]]) -> dict[str, dict[str, list[float] | None]]:
    """By "law, solver, calls" and grid, fitted or made by hand: the errors from five fresh sets of 256 starts."""
    errors: dict[str, dict[str, list[float] | None]] = {}
    for name in PROBLEMS:
        (_, dim), ode = problem(name)[0].shape, problem(name)[1]
        sets = [sd.noise.prior(VP, (256, dim), seed=11 + seed, dtype=torch.float64) for seed in SEEDS]
        x = torch.cat(sets)
        truth = sd.fit.reference(ode, x, VP.T, VP.t_min)

        def error(key: str, times: Tensor, ode=ode, x=x, truth=truth) -> list[float] | None:
            try:
                end = sd.solve(ode, sd.solvers.row(key).make(), x, times, progress=False)
            except (ValueError, FloatingPointError):
                return None
            return (end - truth).norm(dim=1).view(len(SEEDS), 256).mean(1).tolist()

        for key, n in product(SOLVERS, BUDGETS):
            own = {f"fitted: {other}": error(key, stretched(torch.tensor(times, dtype=torch.float64), n))
                   for other, times in fitted.items()}  # fmt: skip
            for grid in sd.grids.table:
                try:
                    own[grid] = error(key, sd.grids.make(grid, VP, n))
                except ValueError:
                    continue
            errors[f"{name}, {key}, {n}"] = own
    return errors


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Training under other laws of times; fitted times, lent.")
    parts = ["kana", "points", "fits", "lent"]
    parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
    parser.add_argument("--sides", nargs="+", type=int, default=list(SIDES), help="of the kana, in pixels")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    told = kept(FILE, {})
    told["settings"] = {
        "levels": LEVELS.tolist(), "steps": STEPS, "batch": BATCH, "samples": SAMPLES, "seeds": len(SEEDS),
        "points_steps": POINT_STEPS, "points_batch": POINT_BATCH, "deviation": DEVIATION,
    }  # fmt: skip
    if "kana" in asked.parts:
        told["kana"] = [r for r in told.get("kana", []) if r["side"] not in asked.sides]
        for side in asked.sides:
            for law, seed in product(SIDES[side], SEEDS):
                told["kana"].append(kana(side, law, seed))
                keep(FILE, told)
    if "points" in asked.parts:
        told["points"] = [points(way, seed) for way, seed in product(WAYS, SEEDS)]
        keep(FILE, told)
    if "fits" in asked.parts:
        told["lent"] = {"times": fits()}
        keep(FILE, told)
    if "lent" in asked.parts:
        told["lent"] = {"times": told["lent"]["times"], "errors": lent(told["lent"]["times"])}
        keep(FILE, told)


if __name__ == "__main__":
    main()
