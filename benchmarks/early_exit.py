"""Early exits (AdaDiff) beside fewer steps of the whole network, at equal work: `python -m benchmarks.early_exit`.

Samples of the kana model from the same starts by DPM++ 2M: with exits at several tolerances, and whole with fewer
steps. For each: work, in passes through the whole network per sample; CPU time of the thread; error, the rms distance
of latents to the converged ODE of the whole network, over the rms of those; what a classifier makes of the images; and
who left where, by noise level. `--train` trains the heads that are shipped (a few minutes) and stops.
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

MODEL, HEADS, JUDGE = "kana-latent", "kana-latent-exits", "kana-judge"
STEPS, TAUS = (20, 16, 12, 10, 8, 6), (0.0, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
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


def draw(model: models.ImageModel, network, y: Tensor, steps: int, guidance: float, seed: int):
    """(latents of classes y, seconds, {noise level: who left at each exit}) with a network in place of the model's."""
    own = model.denoiser
    denoiser = nets.Denoiser(network, own.process, sigma_data=own.sigma_data)
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
            parts.append(sd.sample(watched, own.process, x_T, solver="dpmpp_2m", grid="karras", steps=steps))
    return torch.cat(parts), time.thread_time() - clock, left


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def measure(model, exits, judge, real, per_class: int, guidance: float, seed: int) -> dict:
    """All runs, as one record."""
    y = torch.arange(len(model.classes)).repeat(per_class)
    rows = torch.cat(quality.halves(real.labels, per_class))
    real = real._replace(images=real.images[rows], labels=real.labels[rows])
    some = y[: COMPARED * len(model.classes)]
    network = backbone(model)
    truth, *_ = draw(model, network, some, REFERENCE, guidance, seed)
    calls = 1 if guidance == 1 else 2

    def record(network, steps: int, tau: float | None) -> dict:
        if tau is not None:
            exits.tau = tau
            exits.reset()
        z, seconds, left = draw(model, network, y, steps, guidance, seed)
        share = 1.0 if tau is None else exits.spent
        told = quality.report(judge, model.images(z), y, real, splits=2)
        out = {"steps": steps, "tau": tau, "share": share, "work": share * steps * calls, "seconds": seconds}
        out |= {"error": rms(z[: len(some)] - truth) / rms(truth), **told}
        if tau is not None:
            out["left"] = {level: counts.tolist() for level, counts in left.items()}
        print(f"{steps:3} {tau if tau is not None else 'whole':>6} {out['work']:6.2f} {seconds:6.1f} s "
              f"{out['error']:.4f} {told['frechet']:.3f} {told['accuracy']:.4f}", flush=True)  # fmt: skip
        return out

    network(torch.zeros(1, *model.shape), torch.zeros(()))  # what is set up once is not timed
    whole = [record(network, steps, None) for steps in STEPS]
    early = [record(exits, STEPS[0], tau) for tau in TAUS]
    return {"guidance": guidance, "n": len(y), "seed": seed, "shares": exits.shares(model.shape).tolist(),
            "whole": whole, "early": early}  # fmt: skip


def table(record: dict) -> str:
    """Markdown: one line a run, by work."""
    lines = ["| steps | tau | work | seconds | error | Fréchet | accuracy |", "| --- " * 7 + "|"]
    for r in sorted([*record["whole"], *record["early"]], key=lambda r: -r["work"]):
        tau = "whole" if r["tau"] is None else f"{r['tau']:g}"
        lines.append(
            f"| {r['steps']} | {tau} | {r['work']:.2f} | {r['seconds']:.1f} | {r['error']:.4f} | {r['frechet']:.3f} | "
            f"{r['accuracy']:.4f} |"
        )
    return "\n".join(lines)


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
    judge, real = models.load_classifier(asked.judge), sd.data.load_kana("test_images")
    record = measure(model, exits, judge, real, asked.per_class, asked.guidance, asked.seed)
    keep(asked.json, record)
    print(table(record))


if __name__ == "__main__":
    main()
