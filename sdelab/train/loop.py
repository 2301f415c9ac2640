"""The training loop: every step is a pure function of the state before it, the seed and the step's number."""

import copy
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .. import _checks, noise
from .. import checkpoint as files
from . import identity, interrupt, ranks
from .ema import Decay, constant_ema
from .kernels import compiled
from .state import State, put
from .times import DROP, EPS, ROWS, draw_times
from .weighting import Weight, loss

Batch = Tensor | tuple[Tensor, Tensor]  # states, or states with their classes
Data = Batch | Callable[..., Batch]


@dataclass
class Run:
    """What :func:`fit` gives: ``denoiser`` with the last weights, ``ema`` with the averaged ones (frozen, for use), and
    ``losses`` (steps,), the mean loss of every step, float64 on the CPU."""

    denoiser: Any
    ema: Any
    losses: Tensor


def cosine(lr: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    """A learning rate that rises linearly over ``warmup`` steps and falls to 0 as half a cosine at ``steps``."""
    if not 0 <= warmup < steps:
        raise ValueError(f"warmup must be at least 0 and below steps = {steps}, not {warmup}")

    def rate(step: int) -> float:
        if step < warmup:
            return lr * (step + 1) / (warmup + 1)
        return lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return rate


def batch_of(data: Data, n: int, seed: int, step: int) -> tuple[Tensor, Tensor | None]:
    """(x_0, classes or None) of a step: of tensors, n rows at random with replacement; of a stream, the next n."""
    if callable(data):
        held = data(n, first=step * n)
        return (held, None) if torch.is_tensor(held) else held
    x, y = (data, None) if torch.is_tensor(data) else data
    u = noise.uniform((n,), seed, key=(noise.TRAIN, step, ROWS), dtype=torch.float64)
    rows = (u * len(x)).long().clamp_max(len(x) - 1).to(x.device)
    return x[rows], None if y is None else y[rows.to(y.device)]


def dropped(y: Tensor, share: float, seed: int, step: int) -> Tensor:
    """Classes of a step, each replaced by -1, no class, with probability ``share``. Ho and Salimans (2022), alg. 1."""
    u = noise.uniform((len(y),), seed, key=(noise.TRAIN, step, DROP), dtype=torch.float64)
    return torch.where(u.to(y.device) < share, -1, y)


def fit(
    denoiser: nn.Module,
    data: Data,
    *,
    steps: int,
    batch: int = 256,
    lr: float | Callable[[int], float] = 1e-3,
    seed: int = 0,
    weighting: str | Weight | None = None,
    times: str | Callable[[Tensor], Tensor] = "uniform",
    stratified: bool = True,
    ema: float | Decay = 0.999,
    drop: float = 0.1,
    clip: float | None = None,
    bf16: bool = False,
    compile: bool = False,
    objective: Callable[[Any, Tensor, Tensor, Tensor], Tensor] | None = None,
    checkpoint: str | Path | None = None,
    every: int = 500,
    watch: Callable[[Run], None] | None = None,
    progress: bool | None = None,
) -> Run:
    """Train a copy of ``denoiser`` by Adam for ``steps`` steps; ``denoiser`` itself, the start, is left as it is.

    data: a tensor (n, ...), of which each step takes ``batch`` random rows, or a function data(n, first=k) that gives
    rows k … k + n - 1 of an endless stream, such as ``functools.partial(law.sample, seed=1)``. Either may be a pair
    (states, classes), the classes whole numbers (n,): the model is then ``denoiser.of(classes)``, with every class
    dropped with probability ``drop``, so that it learns the data of no class, too, as guidance needs. lr: a number, or
    a function of the step 0, 1, … such as :func:`cosine`. weighting: see :func:`weight`; times, stratified: see
    :func:`draw_times`; ema: a decay, or :func:`power_ema`; clip: largest norm of the gradient. bf16: let
    matrix products and convolutions of the objective be computed in bfloat16 (``torch.autocast``), a gain where the
    processor has units for it; weights and averages stay as they are. compile: see
    :func:`sdelab.train.kernels.compiled`. objective: a function (denoiser, x0, t, eps) -> losses (n,) instead of
    :func:`loss`, for other models too (without ``.process``, ``times`` must be a function).

    checkpoint: a file, written every ``every`` steps and at the end. If it exists, the run goes on from there. A run
    that is killed at any moment and called again ends with the same bits as one that never was, on one machine's CPU
    with one number of threads. Ctrl-C waits for the end of a step, writes the checkpoint and then raises
    ``KeyboardInterrupt``. watch: a function that is shown the run so far as often as that, for logs and pictures; it
    cannot change it. progress: None shows a bar on a terminal only, when it takes a while.

    In a group of processes (:func:`sdelab.train.ranks.joined`) each calls this with the same arguments and works on its
    part of every batch: the same run up to rounding as that of one process, which can go on from its checkpoint, and
    the other way round. The first process alone writes and watches; Ctrl-C in one stops all after the same step.

    ``ValueError``: arguments that make no sense, a checkpoint that is damaged or belongs to another run (it says what
    differs; functions are known by their answers or names). ``FloatingPointError``: the loss diverged.
    """
    if min(steps, batch, every) < 1 or (clip is not None and not clip > 0):
        raise ValueError(f"steps = {steps}, batch = {batch}, every = {every} and clip = {clip} must be positive")
    if objective is not None and weighting is not None:
        raise ValueError(
            "give a weighting or an objective: the weighting belongs to the loss that an objective replaces"
        )
    if not 0 <= drop <= 1:
        raise ValueError(f"drop is the probability of forgetting a class: between 0 and 1, not {drop}")
    if not callable(data):
        x, *classes = [data] if torch.is_tensor(data) else data
        _checks.state(x, "data")
        if any(len(y) != len(x) or y.is_floating_point() for y in classes):
            raise ValueError(f"data of {len(x)} rows need {len(x)} classes, whole numbers")
    mine, size = ranks.part(batch), batch // ranks.count()
    decay = ema if callable(ema) else constant_ema(ema)
    rate = lr if callable(lr) else (lambda step: lr)
    objective = objective or partial(loss, weighting=weighting)
    process = getattr(denoiser, "process", None)
    state = State(copy.deepcopy(denoiser), decay, steps)
    settings = dict(
        batch=batch, seed=seed, lr=lr, ema=ema, times=times, stratified=stratified, drop=drop, clip=clip, bf16=bf16
    )
    config: dict[str, Any] = {}
    if checkpoint is not None:
        config = identity.run(denoiser, process, data, objective, steps, settings)
        if Path(checkpoint).exists():
            state.restore(files.load(checkpoint, config)[0], checkpoint)
    ranks.agree(state.step, "the number of steps done so far")
    if compile:
        compiled(state.model, state.device)
    losses, first = ranks.losses(state.model, objective), ranks.rank() == 0

    def one_step() -> None:
        step = state.step
        x0, y = batch_of(data, batch, seed, step)
        x0 = x0.to(device=state.device, dtype=state.dtype)
        t = draw_times(process, batch, times, seed=seed, step=step, stratified=stratified)
        eps = noise.normal(x0.shape, seed, key=(noise.TRAIN, step, EPS), dtype=x0.dtype, device=x0.device)
        y = None if y is None else dropped(y, drop, seed, step)[mine]
        x0, t, eps = x0[mine], t[mine], eps[mine]
        with torch.autocast(state.device.type, torch.bfloat16, enabled=bf16):
            value = losses(x0, t, eps, y)
        if value.shape != (size,):
            raise ValueError(f"the objective gives one loss per sample: shape ({size},), not {tuple(value.shape)}")
        state.advance(value.mean(), rate(step), clip)
        ranks.average(state.losses[step : step + 1])

    def so_far(last: nn.Module) -> Run:
        return Run(last, state.averaged(), state.losses[: state.step].double().cpu())

    def keep() -> None:
        state.check()
        if checkpoint is not None and first:
            files.save(checkpoint, state.tensors(), config)

    bar = None
    if progress is not False and first:
        disable = None if progress is None else False
        delay = 0.0 if progress else 2.0
        bar = tqdm(total=steps, initial=state.step, delay=delay, disable=disable, desc="fit", leave=False)
    holding = interrupt.held() if checkpoint is not None else nullcontext(lambda: False)
    with holding as asked, bar or nullcontext(), torch.enable_grad():
        while state.step < steps:
            one_step()
            due = state.step % every == 0 or state.step == steps
            if state.step % 100 == 0:
                state.check()
            if due:
                keep()
            if due and watch is not None and first:
                watch(so_far(copy.deepcopy(state.model)))
            if ranks.anyone(asked()):
                if not due:
                    keep()
                raise KeyboardInterrupt(f"stopped after step {state.step}; the same call goes on from {checkpoint}")
            if bar is not None:
                if state.step % 50 == 0 and not bar.disable:
                    bar.set_postfix_str(f"loss {state.losses[max(0, state.step - 100) : state.step].mean():.4g}", False)
                bar.update()
    return so_far(copy.deepcopy(state.model))


def load(path, denoiser: nn.Module, averaged: bool = True) -> nn.Module:
    """A copy of ``denoiser`` with the weights of a checkpoint of :func:`fit`, averaged or last ones, frozen for use.

    ``ValueError`` if the file is damaged, or was made for another model or process.
    """
    held, config = files.load(path)
    here = {"model": identity.model(denoiser), "process": identity.process(getattr(denoiser, "process", None))}
    files.agree(path, {key: config.get(key) for key in here}, here)
    out = copy.deepcopy(denoiser)
    put(out, held, "average" if averaged else "weights")
    return out.eval().requires_grad_(False)
