"""What chapters 5 to 7 ask of the latent model on five sets of starts: times made for it in every way beside every grid
made by hand; known solvers on known grids; the letters of few and of many calls of DDIM."""

import torch
from torch import Tensor

import sdelab as sd
from sdelab.models import ImageModel

from . import RESULTS, kept
from .by_grid import converged
from .latent_common import COMPARED, JUDGE, PROCESS, of_all_classes, reals, rms, twice

ROWS, BUDGETS, SETS = ("ddim", "dpmpp_2m", "exp_adams_3"), (5, 10, 20), range(5)
KNOWN = ("euler", "heun", "ddim", "plms", "dpmpp_2s", "dpmpp_2m", "unipc", "exp_adams_3", "dpm_solver_3")
GRIDS = ("uniform", "quadratic", "cosine", "karras", "logsnr", "kl_optimal", "beta", "flow_shift")
ASKED = {10: GRIDS, 20: GRIDS, 5: ("karras",), 35: ("karras",)}  # calls, and the grids that they run on
SHORT = 0.1  # where the last step to 0 may begin instead of at t_min: most of the noise levels below do not matter


def steps(model: ImageModel) -> dict:
    """Root mean square errors {row: {budget: {grid: of each set}}}; the last step of every grid goes to 0.

    ays, gits and equal_error are made on other starts, or training images, than they are measured on, down to t_min and
    down to SHORT; fitted are the times of the part "fitted", each row's own.
    """
    images = twice(sd.data.load_kana("train"), 2)  # four of every class
    data, y_0 = sd.latent.encode(model.autoencoder, images.images), images.labels
    y = torch.arange(len(model.classes))
    others = sd.noise.prior(PROCESS, (len(y), *model.shape), seed=12)
    of_data, of_starts = (torch.no_grad()(model.denoiser.of(classes)) for classes in (y_0, y))
    fitted = kept(RESULTS / "latent.json", {})["fitted"]["times"]
    D, x_T, truth = solved(model)
    ode = sd.Reverse(PROCESS, D, 0.0)
    errors: dict[str, dict] = {key: {} for key in ROWS}
    for budget in BUDGETS:
        grids = handmade(budget)
        for name, t_end in (("", PROCESS.t_min), (f", from {SHORT:g}", SHORT)):
            n = budget - 1
            grids |= {
                f"ays{name}": ended(sd.grids.ays(of_data, PROCESS, n, data, t_end=t_end)),
                f"gits{name}": ended(sd.grids.gits(of_starts, PROCESS, n, others, t_end=t_end)),
                f"equal_error{name}": ended(sd.grids.equal_error(of_starts, PROCESS, n, others, t_end=t_end)),
            }
        for key in ROWS:
            own = grids | {f"fitted, {k}": torch.tensor(t[str(budget)]) for k, t in fitted.items() if str(budget) in t}
            found = errors[key][str(budget)] = {}
            for name, times in own.items():
                x = sd.solve(ode, sd.solvers.row(key).make(), x_T, times, progress=False)
                found[name] = of_sets(x - truth)
            best = sorted(found, key=lambda name: sum(found[name]))
            print(key, budget, [(name, round(sum(found[name]) / len(SETS), 3)) for name in best[:8]], flush=True)
    return {"sets": len(SETS), "starts": len(y), "errors": errors}


def sets(model: ImageModel) -> dict:
    """errors: as of `steps`, of known solvers on known grids; letters: Fréchet distances of DDIM's, by calls."""
    D, x_T, truth = solved(model)
    errors: dict[str, dict] = {}
    for key in KNOWN:
        for budget, grids in ASKED.items():
            for grid in grids:
                try:
                    x = sd.sample(D, PROCESS, x_T, solver=key, grid=grid, nfe=budget, progress=False)
                except (ValueError, FloatingPointError):
                    continue
                errors.setdefault(key, {}).setdefault(str(budget), {})[grid] = of_sets(x - truth)
        print(key, {n: min(e, key=lambda g: sum(e[g])) for n, e in errors[key].items()}, flush=True)
    judge, real, letters = sd.models.load_classifier(JUDGE), reals(COMPARED), {}
    for budget in (10, 35):
        letters[str(budget)] = []
        for draw in SETS:
            y, start = of_all_classes(model, COMPARED, seed=100 + draw)
            x = sd.sample(
                model.denoiser.of(y), PROCESS, start, solver="ddim", grid="karras", nfe=budget, progress=False
            )
            letters[str(budget)].append(sd.quality.report(judge, model.images(x), y, real)["frechet"])
        print("letters", budget, letters[str(budget)], flush=True)
    return {"sets": len(SETS), "starts": len(x_T) // len(SETS), "errors": errors, "letters": letters}


def solved(model: ImageModel):
    """(denoiser of the classes, starts of all sets one after another, the ends of their ODE)."""
    starts = torch.cat([of_all_classes(model, 1, seed=11 + s)[1] for s in SETS])
    D = model.denoiser.of(torch.arange(len(model.classes)).repeat(len(SETS)))
    return D, starts, converged(D, PROCESS, starts, 240)


def of_sets(off: Tensor) -> list[float]:
    """The root mean square of each set."""
    return [round(rms(d), 5) for d in off.chunk(len(SETS))]


def handmade(steps: int) -> dict[str, Tensor]:
    """Every grid of the table that can have so many steps with its last one at 0, and the control."""
    found = {"karras, from 0.1": sd.grids.make("karras", PROCESS, steps, t_end=SHORT, zero=True)}
    for name in sd.grids.table:
        try:
            times = sd.grids.make(name, PROCESS, steps, zero=True)
        except ValueError:
            continue
        if len(times) == steps + 1:
            found[name] = times
    return found


def ended(times: Tensor) -> Tensor:
    """With one more step, to 0."""
    return torch.cat([times, times.new_zeros(1)])
