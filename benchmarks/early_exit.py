"""Early exits (AdaDiff) beside fewer steps of the whole network, at equal work: `python -m benchmarks.early_exit`.

Samples of the kana model from the same starts by DPM++ 2M on Karras's grid:
whole   the network as it is, with fewer and fewer steps;
short   the same, on a grid whose last step to 0 starts at a larger noise;
F, D    with early exits, where what the network says, or what the denoiser says, may be off by tau.
For each: work, in passes through the whole network per sample; CPU time of the thread; error, the rms distance of
latents to the converged ODE of the whole network, over their rms; what a classifier makes of the images; who left
where, by noise level. `--train` trains the heads that are shipped (a few minutes) and stops.
"""

import argparse
import datetime
import time
from pathlib import Path

import torch
from torch import Tensor

import sdelab as sd
from sdelab import early_exit, latent, models, nets, quality, train

from . import RESULTS, keep
from .latent import digest
from .latent_common import JUDGE, MODEL, reals, rms

HEADS = "kana-latent-exits"
STEPS, END = range(20, 7, -1), 0.05  # and where the short grid's last step begins
TAUS = {"F": (0.0, 0.15, 0.2, 0.25, 0.3, 0.4), "D": (0.01, 0.02, 0.04, 0.08, 0.12, 0.16)}
REFERENCE, COMPARED = 100, 2  # steps of the converged solution, and samples of a class that are compared with it
PART = 230
LR, EMA = 5e-3, 0.98  # of the heads


def backbone(model: models.ImageModel) -> nets.UNet:
    network = model.denoiser.network
    assert isinstance(network, nets.UNet)
    return network


def heads(model: models.ImageModel, path: Path, steps: int, batch: int = 64, seed: int = 0) -> None:
    """Train heads for a model of kana latents, and write them."""
    own, data = model.denoiser, sd.data.load_kana("train")
    assert model.autoencoder is not None
    start = nets.Denoiser(early_exit.EarlyExit(backbone(model)), own.process, sigma_data=own.sigma_data)
    clock = time.thread_time()
    run = train.fit(
        start, (latent.encode(model.autoencoder, data.images), data.labels), steps=steps, batch=batch,
        lr=train.cosine(LR, steps, 20), times=train.lognormal(own.process, -0.4, 1.2), ema=EMA, seed=seed,
        objective=early_exit.loss,
    )  # fmt: skip
    figures = {"loss": float(run.losses[-steps // 10 :].mean())}
    about = {
        "data": "kana, split train, as latents",
        "command": f"python -m benchmarks.early_exit --train --steps {steps}",
        "seed": seed,
        "recipe": {"steps": steps, "batch": batch, "lr": LR, "ema": EMA},
        "seconds": time.thread_time() - clock,
        "date": datetime.date.today().isoformat(),
        "machine": f"CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "figures": figures,
    }
    early_exit.save(path, run.ema.network, about)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {about['seconds']:.0f} s, loss {figures['loss']:.4f}")


def draw(model: models.ImageModel, network, y: Tensor, times: Tensor, guidance: float, seed: int):
    """(latents of classes y, seconds, {noise level: who left at each exit}) with a network in place of the model's."""
    own = model.denoiser
    denoiser, solver = nets.Denoiser(network, own.process, sigma_data=own.sigma_data), sd.solvers.row("dpmpp_2m").make()
    left: dict[str, Tensor] = {}
    parts, clock = [], time.thread_time()
    for first in range(0, len(y), PART):
        rows = y[first : first + PART]
        guided = sd.guidance.classifier_free(denoiser.of(rows), denoiser.of(None), guidance)

        def watched(x: Tensor, t, guided=guided) -> Tensor:
            before = getattr(network, "taken", torch.zeros(1, dtype=torch.int64)).clone()
            D = guided(x, t)
            level = f"{float(t):.3g}"
            left[level] = left.get(level, 0) + getattr(network, "taken", before) - before
            return D

        x_T = sd.noise.prior(own.process, (len(rows), *model.shape), seed=seed, first=first)
        with torch.no_grad():
            parts.append(sd.solve(sd.Reverse(own.process, watched, 0.0), solver, x_T, times, progress=False))
    return torch.cat(parts), time.thread_time() - clock, left


def measure(model, exits, judge, per_class: int, guidance: float, seed: int) -> dict:
    """All runs, as one record."""
    network, process = backbone(model), model.denoiser.process
    y = torch.arange(len(model.classes)).repeat(per_class)
    real = reals(per_class)
    calls = 1 if guidance == 1 else 2

    def grid(steps: int, end: float | None = None) -> Tensor:
        return sd.grids.make("karras", process, steps, t_end=end, zero=True)

    truth, *_ = draw(model, network, y[: COMPARED * len(model.classes)], grid(REFERENCE), guidance, seed)

    def record(kind: str, steps: int, tau: float | None = None) -> dict:
        early = tau is not None
        if early:
            exits.tau = tau if kind == "F" else early_exit.of_denoiser(model.denoiser, tau)
            exits.reset()
        times = grid(steps, END if kind == "short" else None)
        z, seconds, left = draw(model, exits if early else network, y, times, guidance, seed)
        out = {"kind": kind, "steps": steps, "tau": tau, "share": exits.spent if early else 1.0, "seconds": seconds}
        out |= {"work": out["share"] * steps * calls, "error": rms(z[: len(truth)] - truth) / rms(truth)}
        out |= quality.report(judge, model.images(z), y, real, splits=2)
        print(line(out), flush=True)
        return out | ({"left": {level: counts.tolist() for level, counts in left.items()}} if early else {})

    exits(torch.zeros(1, *model.shape), torch.zeros(()))  # what is set up once is not timed
    print(HEADER)
    runs = [record(kind, steps) for kind in ("whole", "short") for steps in STEPS]
    runs += [record(kind, STEPS[0], tau) for kind, taus in TAUS.items() for tau in taus]
    shares = exits.shares(model.shape).tolist()
    return {"guidance": guidance, "n": len(y), "seed": seed, "end": END, "shares": shares, "runs": runs}


HEADER = "| kind | steps | tau | work | seconds | error | Fréchet | accuracy |\n" + "| --- " * 8 + "|"


def line(r: dict) -> str:
    """A run as a row of a Markdown table."""
    tau = "" if r["tau"] is None else f"{r['tau']:g}"
    told = f"{r['work']:.2f} | {r['seconds']:.1f} | {r['error']:.4f} | {r['frechet']:.3f} | {r['accuracy']:.4f}"
    return f"| {r['kind']} | {r['steps']} | {tau} | {told} |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Early exits beside fewer steps of the whole network.")
    parser.add_argument("--model", default=MODEL, help="name or file")
    parser.add_argument("--heads", default=HEADS, help="name or file; with --train, the file to write")
    parser.add_argument("--judge", default=JUDGE, help="name or file of the classifier that judges")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULTS / "early_exit.json", help="where the figures go")
    parser.add_argument("--train", action="store_true", help="train the heads instead")
    parser.add_argument("--steps", type=int, default=1000, help="of the training")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = models.load(asked.model)
    if asked.train:
        given = Path(asked.heads)
        path = given if given.suffix else models.FOLDER / f"{asked.heads}.safetensors"
        return heads(model, path, asked.steps, seed=asked.seed)
    exits = early_exit.load(asked.heads, backbone(model))
    judge = models.load_classifier(asked.judge)
    found = measure(model, exits, judge, asked.per_class, asked.guidance, asked.seed)
    keep(asked.json, {"digest": digest(asked.model)} | found)


if __name__ == "__main__":
    main()
