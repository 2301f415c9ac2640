"""The shipped latent model of kana under every sampler: `python -m benchmarks latent`.

rows: the error of every deterministic row against the converged ODE, on standard grids, and on fitted times.
samplers: quality of the samples of those samplers that readers know, per network call.
guidance: quality against the weight of guidance; chosen by one classifier, told by another.
twin: the same of the pixel model that costs as much.

Fits are made on other starts than they are measured on.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor

import sdelab as sd
from sdelab.data.common import Dataset
from sdelab.models import ImageModel

from . import RESULTS, keep, kept

FILE = RESULTS / "latent.json"
MODEL, TWIN = "kana-latent", "kana-pixel"
CHOOSER, JUDGE = "kana-classifier", "kana-judge"
BUDGETS, GRIDS = (5, 10, 20, 35), ("karras", "logsnr", "beta")
FITTED = ("ddim", "edm_heun", "dpmpp_2m", "deis_3", "unipc_3_bh2", "exp_adams_2c", "exp_adams_3")
KNOWN = (
    "ddim", "plms", "deis_3", "dpmpp_2m", "unipc_3_bh2", "exp_adams_2c", "edm_heun",
    "ddpm", "euler_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "seeds_2", "er_sde_3",
    "edm_heun_churn", "restart",
)  # fmt: skip
WEIGHTS = (1.0, 1.25, 1.5, 2.0, 3.0)
COMPARED, JUDGED = 10, 45  # samples of a class: where samplers are compared, and where a weight is judged


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def of_all_classes(model: ImageModel, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """(classes, starts), ``each`` of every class."""
    y = torch.arange(len(model.classes)).repeat(each)
    return y, sd.noise.prior(model.denoiser.process, (len(y), *model.shape), seed=seed)


def converged(D, process, x_T: Tensor, steps: int) -> Tensor:
    """The end of the ODE, with the last step to t = 0 that all samplers share."""
    times = sd.grids.make("karras", process, steps, zero=True)
    return sd.solve(sd.Reverse(process, D, 0.0), sd.ExpAdams(3, corrector=True), x_T, times, progress=False)


def rows(model: ImageModel) -> dict:
    """Root mean square error of every deterministic row by grid and budget; latents have a mean square of 1."""
    process = model.denoiser.process
    y, x_T = of_all_classes(model, 1, seed=11)
    D = model.denoiser.of(y)
    truth = converged(D, process, x_T, 240)
    found: dict[str, dict] = {}
    for row in (row for row in sd.solvers.table if not row.stochastic):
        errors = found.setdefault(row.key, {})
        for grid in GRIDS[:1] if row.adaptive else GRIDS:
            for budget in (None,) if row.adaptive else BUDGETS:
                counter = sd.NFE(D)
                try:
                    x = sd.sample(counter, process, x_T, solver=row.key, grid=grid, nfe=budget, progress=False)
                except (ValueError, FloatingPointError) as error:
                    told: dict = {"error": None, "why": str(error)}
                else:
                    told = {"error": rms(x - truth), "calls": counter.count}
                errors.setdefault(grid, {})[str(budget or "own")] = told
        print(row.key, *(e["error"] for v in errors.values() for e in v.values()), flush=True)
    apart = rms(truth - converged(D, process, x_T, 160))
    return {"starts": len(x_T), "truth": apart, "rows": found, "fitted": fitted(model, D, x_T, truth)}


def fitted(model: ImageModel, D: Callable, x_T: Tensor, truth: Tensor) -> dict:
    """The error on times fitted to other starts (sd.grids.optimise)."""
    process, out = model.denoiser.process, {}
    _, others = of_all_classes(model, 1, seed=12)
    for key in FITTED:
        for budget in BUDGETS[:3]:
            made, steps = sd.solvers.row(key).fit(budget - 1)
            if steps < 2:
                continue
            times = sd.grids.optimise(D, process, made, steps, others, progress=False)
            times = torch.cat([times, times.new_zeros(1)])
            x = sd.solve(sd.Reverse(process, D, 0.0), made, x_T, times, progress=False)
            out.setdefault(key, {})[str(budget)] = {"error": rms(x - truth), "times": times.tolist()}
            print("fitted", key, budget, out[key][str(budget)]["error"], flush=True)
    return out


def reals(each: int) -> Dataset:
    """Held-out images of the training fonts, twice ``each`` of every class."""
    held = sd.data.load_kana("test_images")
    a, b = sd.quality.halves(held.labels, each)
    rows = torch.cat([a, b])
    return held._replace(images=held.images[rows], labels=held.labels[rows], fonts=held.fonts[rows])


def samplers(model: ImageModel) -> dict:
    """Quality per network call of the samplers that readers know, without guidance."""
    y, x_T = of_all_classes(model, COMPARED, seed=13)
    D, judge, real = model.denoiser.of(y), sd.models.load_classifier(JUDGE), reals(COMPARED)
    out: dict[str, dict] = {}
    for key in KNOWN:
        for budget in BUDGETS[1:]:
            x = sd.sample(
                D, model.denoiser.process, x_T, solver=key, grid="karras", nfe=budget, seed=14, progress=False
            )
            out.setdefault(key, {})[str(budget)] = sd.quality.report(judge, model.images(x), y, real)
            print(key, budget, {k: round(v, 3) for k, v in out[key][str(budget)].items()}, flush=True)
    return out


def guidance(model: ImageModel) -> dict:
    """Quality of 20 steps of DPM++ 2M against the weight of guidance, as two classifiers see it."""
    y, x_T = of_all_classes(model, JUDGED, seed=15)
    process, real, train = model.denoiser.process, reals(JUDGED), sd.data.load_kana("train").images
    judges = {name: sd.models.load_classifier(name) for name in (CHOOSER, JUDGE)}
    out: dict[str, dict] = {}
    for w in WEIGHTS if model.autoencoder else WEIGHTS[:1]:
        D = sd.guidance.classifier_free(model.denoiser.of(y), model.denoiser.of(None), w)
        x = model.images(sd.sample(D, process, x_T, solver="dpmpp_2m", grid="karras", steps=20, progress=False))
        out[str(w)] = {
            name: sd.quality.report(judge, x, y, real, train if name == JUDGE else None)
            for name, judge in judges.items()
        }
        print(w, {n: {k: round(v, 3) for k, v in r.items()} for n, r in out[str(w)].items()}, flush=True)
    return out


PARTS = {
    "guidance": lambda: guidance(sd.models.load(MODEL)),
    "twin": lambda: guidance(sd.models.load(TWIN)),
    "samplers": lambda: samplers(sd.models.load(MODEL)),
    "rows": lambda: rows(sd.models.load(MODEL)),
}


def main(names: list[str]) -> None:
    """All parts, or those named; results go into benchmarks/results/latent.json part by part."""
    torch.set_num_threads(1)
    for name in names or PARTS:
        keep(FILE, kept(FILE, {}) | {name: PARTS[name]()})


if __name__ == "__main__":
    main(sys.argv[1:])
