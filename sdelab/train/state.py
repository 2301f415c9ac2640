"""Everything that a step of training changes, and how it is kept in a checkpoint."""

import copy

import torch
from torch import Tensor, nn

from .ema import EMA, Decay


class State:
    """Everything that a step changes."""

    def __init__(self, model: nn.Module, decay: Decay, steps: int):
        self.model, self.parameters = model, {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise ValueError("no parameter of the model requires a gradient: call model.requires_grad_() first")
        self.device, self.dtype = (getattr(next(iter(self.parameters.values())), a) for a in ("device", "dtype"))
        self.adam = torch.optim.Adam(self.parameters.values(), foreach=True)
        self.ema = EMA(self.parameters, decay)
        self.losses = torch.zeros(steps, dtype=self.dtype, device=self.device)
        self.step = 0

    def advance(self, mean: Tensor, lr: float, clip: float | None) -> None:
        """One step of Adam down the slope of the mean loss, and one of the average."""
        self.adam.zero_grad()
        mean.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(self.parameters.values(), clip)
        self.adam.param_groups[0]["lr"] = lr
        self.adam.step()
        self.losses[self.step] = mean.detach()
        self.step += 1
        self.ema.update(self.parameters, self.step)

    def tensors(self) -> dict[str, Tensor]:
        held = {f"weights/{name}": p for name, p in self.model.named_parameters()}
        held |= {f"buffers/{name}": b for name, b in self.model.named_buffers()}
        held |= {f"average/{name}": a for name, a in self.ema.averages.items()}
        for name, p in self.parameters.items():
            held |= {f"adam/{key}/{name}": v for key, v in self.adam.state[p].items()}
        return held | {"losses": self.losses[: self.step]}

    @torch.no_grad()
    def restore(self, held: dict[str, Tensor], path) -> None:
        self.step = len(held["losses"])
        if self.step > len(self.losses):
            raise ValueError(
                f"{path} has done {self.step} steps, more than the {len(self.losses)} asked for: raise steps, or use "
                "another path"
            )
        for name, p in self.parameters.items():
            self.adam.state[p] = {
                key: held[f"adam/{key}/{name}"].to(p.device if key != "step" else "cpu").clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        put(self.model, held, "weights")
        for name, average in self.ema.averages.items():
            average.copy_(held[f"average/{name}"])
        self.losses[: self.step] = held["losses"].to(self.losses)

    def averaged(self) -> nn.Module:
        out = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, average in self.ema.averages.items():
                out.get_parameter(name).copy_(average)
        return out.eval().requires_grad_(False)

    def check(self) -> None:
        """NaN does not heal, so looking now and then finds it; the losses tell where it began, the weights the rest."""
        bad = (~self.losses[: self.step].isfinite()).nonzero()
        if len(bad) or not all(p.isfinite().all() for p in self.parameters.values()):
            what, step = ("loss", int(bad[0]) + 1) if len(bad) else ("weights", self.step)
            raise FloatingPointError(
                f"the {what} became infinite or NaN in step {step}: lower lr, clip the gradient (clip=1.0), "
                "or keep the times from where the weighting diverges"
            )


@torch.no_grad()
def put(model: nn.Module, held: dict[str, Tensor], kind: str) -> None:
    """Copy the weights (or, where there is one, the average) and the buffers of a checkpoint into ``model``."""
    for name, p in model.named_parameters():
        p.copy_(held.get(f"{kind}/{name}", held[f"weights/{name}"]))
    for name, b in model.named_buffers():
        b.copy_(held[f"buffers/{name}"])
