"""Times made for the latent model in every way, beside every grid made by hand, on five sets of starts."""

import torch
from torch import Tensor

import sdelab as sd
from sdelab.models import ImageModel

from . import RESULTS, kept
from .latent_common import PROCESS, of_all_classes, rms, twice
from .latent_rows import converged

ROWS, BUDGETS, SETS = ("ddim", "dpmpp_2m", "exp_adams_3"), (5, 10, 20), range(5)
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
    starts = [of_all_classes(model, 1, seed=11 + s)[1] for s in SETS]
    D, x_T = model.denoiser.of(y.repeat(len(SETS))), torch.cat(starts)
    ode, truth = sd.Reverse(PROCESS, D, 0.0), converged(D, x_T, 240)
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
                found[name] = [round(rms(d), 5) for d in (x - truth).chunk(len(SETS))]
            best = sorted(found, key=lambda name: sum(found[name]))
            print(key, budget, [(name, round(sum(found[name]) / len(SETS), 3)) for name in best[:8]], flush=True)
    return {"sets": len(SETS), "starts": len(y), "errors": errors}


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
