"""What a training run is, in plain numbers and text: two runs with the same answers here are the same run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoint
from ..process import Process


def run(
    denoiser: nn.Module,
    process_: Process | None,
    data_: Tensor | tuple[Tensor, Tensor] | Callable[..., Any],
    objective: Callable,
    steps: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The configuration of a run of training; how long it is counts only where the learning rate knows it."""
    at = {
        "lr": (0, 1, 10, 100, 1000, steps - 1),
        "ema": (1, 2, 10, 100, 1000),
        "times": (torch.linspace(0.05, 0.95, 7, dtype=torch.float64),),
    }
    return {
        "model": model(denoiser),
        "process": process(process_),
        "start": checkpoint.digest(dict(denoiser.named_parameters())),
        "data": data(data_, settings["batch"]),
        "objective": name(objective),
        **{key: value(v, at.get(key, ())) for key, v in settings.items()},
    }


def model(module: nn.Module) -> dict[str, str]:
    """Every layer with its settings, every parameter with its dtype and shape."""
    layers = {name or "itself": f"{type(m).__name__}({m.extra_repr()})" for name, m in module.named_modules()}
    return layers | {name: f"{str(p.dtype)[6:]} {tuple(p.shape)}" for name, p in module.named_parameters()}


def process(process: Process | None) -> str | None:
    """Its class with its parameters and its last time, "VP(beta_min=0.1, beta_max=20.0, T=1.0)"."""
    if process is None:
        return None
    fields = {f.name: value(getattr(process, f.name)) for f in dataclasses.fields(process)} | {"T": float(process.T)}
    return f"{type(process).__name__}({', '.join(f'{k}={v}' for k, v in fields.items())})"


def value(v: Any, questions: Sequence = ()) -> Any:
    """A setting: numbers and text are themselves, tensors their digest, functions their answers to ``questions`` or,
    without those, their names."""
    if v is None or isinstance(v, (bool, int, float, str)):
        return v
    if torch.is_tensor(v):
        return checkpoint.digest({"": v})
    if callable(v) and questions:
        return [torch.as_tensor(v(q), dtype=torch.float64).tolist() for q in questions]
    return name(v)


def name(function: Any) -> str:
    """A function's name, seen through functools.partial with its arguments."""
    inner = getattr(function, "func", None)
    if inner is not None:
        settings = [str(value(a)) for a in function.args] + [f"{k}={value(v)}" for k, v in function.keywords.items()]
        return f"{name(inner)}({', '.join(settings)})"
    return getattr(function, "__qualname__", type(function).__qualname__)


def data(given: Tensor | tuple[Tensor, Tensor] | Callable[..., Any], batch: int) -> str:
    """A digest of the data set with its classes, or of the first batch of a stream."""
    held = given(batch, first=0) if callable(given) else given
    return checkpoint.digest({"data": held} if torch.is_tensor(held) else {"data": held[0], "classes": held[1]})
