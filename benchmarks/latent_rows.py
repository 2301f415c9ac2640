"""Errors of the deterministic rows on the latent model: on grids made by hand, and on times found for the model."""

import time
from functools import cache

import torch
from torch import Tensor

import sdelab as sd
from sdelab.models import ImageModel

from .by_grid import converged
from .latent_common import BUDGETS, COMPARED, JUDGE, PROCESS, of_all_classes, reals, rms

GRIDS = ("karras", "logsnr", "beta")
FITTED = {"ddim": (5, 10), "dpmpp_2m": (5, 10, 20), "exp_adams_3": (5, 10)}  # times fitted for it, at these budgets


def rows(model: ImageModel) -> dict:
    """Root mean square error of every deterministic row by grid and budget; latents have a mean square of 1."""
    y, x_T = of_all_classes(model, 1, seed=11)
    D = model.denoiser.of(y)
    truth = converged(D, PROCESS, x_T, 240)
    found: dict[str, dict] = {}
    for row in (row for row in sd.solvers.table if not row.stochastic):
        errors = found.setdefault(row.key, {})
        for grid in GRIDS[:1] if row.adaptive else GRIDS:
            for budget in (None,) if row.adaptive else BUDGETS:
                try:
                    x, calls = end(model, row, y, x_T, grid, budget)
                except (ValueError, FloatingPointError) as error:
                    told: dict = {"error": None, "why": str(error)}
                else:
                    told = {"error": rms(x - truth), "calls": calls}
                errors.setdefault(grid, {})[str(budget or "own")] = told
        print(row.key, *(e["error"] for v in errors.values() for e in v.values()), flush=True)
    apart = rms(truth - converged(D, PROCESS, x_T, 160))
    return {"starts": len(x_T), "truth": apart, "mean": rms(truth), "rows": found}


def end(model: ImageModel, row, y: Tensor, x_T: Tensor, grid: str, budget: int | None) -> tuple[Tensor, int | None]:
    """(what a row makes of the starts, its network calls); a row that asks for all its steps in one batch takes 20 of
    them, and one class at a time, as the batch is no longer one of samples."""
    settings = {"solver": row.key, "grid": grid, "progress": False}
    if getattr(row.make(), "needs_grid", False):
        starts = zip(y.tolist(), x_T.split(1), strict=True)
        return torch.cat([sd.sample(model.denoiser.of(c), PROCESS, x, steps=20, **settings) for c, x in starts]), None
    counter = sd.NFE(model.denoiser.of(y))
    return sd.sample(counter, PROCESS, x_T, nfe=budget, **settings), counter.count


def fitted(model: ImageModel) -> dict:
    """The same on times found for this model with other starts of half as many letters.

    equal_error: equal local errors of second order, which knows no solver; NAME: the least end-point error of NAME
    (sd.grids.optimise), for every row of one call a step. short is the control: Karras's grid, with its last step to 0
    from a level of 0.1 instead of 0.002.
    """
    y, x_T = of_all_classes(model, 1, seed=11)
    D, truth = model.denoiser.of(y), converged(model.denoiser.of(y), PROCESS, x_T, 240)
    half, others = y[::2], sd.noise.prior(PROCESS, (len(y[::2]), *model.shape), seed=12)
    asked = torch.no_grad()(model.denoiser.of(half))

    @cache
    def equal_error(steps: int) -> Tensor:
        times = sd.grids.equal_error(asked, PROCESS, steps, others)
        return torch.cat([times, times.new_zeros(1)])

    @cache
    def optimised(key: str, steps: int) -> Tensor:
        clock = time.perf_counter()
        solver = sd.solvers.row(key).make()
        times = sd.grids.optimise(asked, PROCESS, solver, steps + 1, others, t_end=0.0, progress=False)
        print("fitted", key, steps, f"{time.perf_counter() - clock:.0f} s", flush=True)
        return times

    found: dict[str, dict] = {}
    for row in (row for row in sd.solvers.table if not (row.stochastic or row.adaptive)):
        for budget in BUDGETS:
            made, steps = row.fit(budget - 1)
            if steps < 2:
                continue
            short = sd.grids.make("karras", PROCESS, steps + 1, t_end=0.1, zero=True)
            grids = {"short": short, "equal_error": equal_error(steps)}
            if steps == budget - 1:
                keys = [key for key, budgets in FITTED.items() if budget in budgets]
                grids |= {key: optimised(key, steps) for key in keys}
            for name, times in grids.items():
                try:
                    x = sd.solve(sd.Reverse(PROCESS, D, 0.0), made, x_T, times, progress=False)
                except (ValueError, FloatingPointError) as error:
                    told: dict = {"error": None, "why": str(error)}
                else:
                    told = {"error": rms(x - truth)}
                found.setdefault(row.key, {}).setdefault(name, {})[str(budget)] = told
        print(row.key, *(e["error"] for v in found.get(row.key, {}).values() for e in v.values()), flush=True)
    times = {key: {str(n): optimised(key, n - 1) for n in ns} for key, ns in FITTED.items()}
    seen = {key: {n: seen_by_judge(model, key, at) for n, at in by_calls.items()} for key, by_calls in times.items()}
    told = {key: {n: at.tolist() for n, at in by_calls.items()} for key, by_calls in times.items()}
    return {"starts": len(others), "times": told, "rows": found, "quality": seen}


def seen_by_judge(model: ImageModel, key: str, times: Tensor) -> dict:
    """Quality of a solver's samples on times fitted for it, and on Karras's grid of as many, without guidance."""
    y, x_T = of_all_classes(model, COMPARED, seed=100)
    judge, real, out = sd.models.load_classifier(JUDGE), reals(COMPARED), {}
    grids = {"karras": sd.grids.make("karras", PROCESS, len(times) - 1, zero=True), "fitted": times}
    for name, at in grids.items():
        ode, solver = sd.Reverse(PROCESS, model.denoiser.of(y), 0.0), sd.solvers.row(key).make()
        x = sd.solve(ode, solver, x_T, at, progress=False)
        out[name] = sd.quality.report(judge, model.images(x), y, real)
        print(key, len(times) - 1, name, {k: round(v, 3) for k, v in out[name].items()}, flush=True)
    return out
