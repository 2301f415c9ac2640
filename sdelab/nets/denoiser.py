"""From a network to a denoiser D(x, t), for any process and any target."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import targets
from .._checks import named
from ..process import Process, Time, as_time, like

# Beyond these the signal or the noise is less than 6e-6 of the other, and no network could tell.
_FARTHEST = 12.0


def as_classes(y: Tensor | int | None) -> Tensor | None:
    """Classes as a tensor (1,) or (n,) of whole numbers; None stays None. ``TypeError`` for anything else."""
    if y is None:
        return None
    y = torch.as_tensor(y)
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise TypeError(f"classes are whole numbers, not {y.dtype}")
    return y.reshape(1) if y.ndim == 0 else y


class Denoiser(nn.Module):
    """D(x, t) = E[x_0 | x_t = x] from a network F(x, c) that sees states of unit size and a noise level.

    predicts="edm": D = c_skip x + c_out F(c_in x, c), see :class:`sdelab.targets.Preconditioning`. Otherwise
    F(c_in x, c) is what the name says ("x0", "eps", "v", "velocity" or "score") and :func:`sdelab.targets.convert`
    gives D. The noise level is c = log(sigma/alpha)/4, held within ±3. ``sigma_data``: the data's standard deviation,
    for c_in and "edm".

    A network that knows classes is told them by ``of(y)``: the denoiser of the data of class y.

    x has shape (n, ...); t is one time or one per sample. F is computed in the dtype of its parameters, the rest in
    x's, which is also the result's. ``ValueError``: an unknown target; a time at which the target does not determine
    x_0, such as eps where alpha = 0; a network that changes the shape.

    Preconditioning: Karras et al. (2022), eq. 7.
    """

    def __init__(self, network: nn.Module, process: Process, *, predicts: str = "edm", sigma_data: float = 1.0):
        super().__init__()
        if not isinstance(network, nn.Module):
            raise TypeError(f"network must be a torch.nn.Module with forward(x, c), not {type(network).__name__}")
        named(dict.fromkeys(("edm", *targets.NAMES)), predicts, "target")
        self.network, self.process, self.predicts, self.sigma_data = network, process, predicts, float(sigma_data)
        self.scales = targets.Preconditioning(
            process, sigma_data, lambda t: -0.25 * process.lam(t).clamp(-_FARTHEST, _FARTHEST)
        )

    def of(self, y: Tensor | int | None) -> "Of":
        """D(. | y) for classes y: one for all samples, one per sample (n,), -1 or None for none."""
        return Of(self, as_classes(y))

    def prediction(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        """F(c_in x, c), what ``predicts`` names, in x's dtype."""
        t = as_time(t)
        own = next(self.network.parameters(), x)
        given = () if y is None else (y,)
        F = self.network((like(self.scales.c_in(t), x) * x).to(own), self.scales.c_noise(t).to(own), *given)
        if F.shape != x.shape:
            raise ValueError(f"the network returned shape {tuple(F.shape)} for x of shape {tuple(x.shape)}")
        return F.to(x)

    def forward(self, x: Tensor, t: Time, y: Tensor | None = None) -> Tensor:
        t = as_time(t)
        F = self.prediction(x, t, y)
        if self.predicts == "edm":
            return like(self.scales.c_skip(t), x) * x + like(self.scales.c_out(t), x) * F
        return targets.convert(F, x, t, self.process, self.predicts, "x0")

    def score(self, x: Tensor, t: Time) -> Tensor:
        """grad log p_t(x) = (alpha D - x)/sigma^2 (Tweedie); infinite where sigma = 0."""
        t = as_time(t)
        return (like(self.process.alpha(t), x) * self(x, t) - x) / like(self.process.var(t), x)

    def extra_repr(self) -> str:
        return f"process={self.process.name!r}, predicts={self.predicts!r}, sigma_data={self.sigma_data}"


@dataclass(frozen=True)
class Of:
    """A denoiser of the data of given classes, D(x, t) = model(x, t, y); see :meth:`Denoiser.of`."""

    model: Denoiser
    y: Tensor | None

    @property
    def process(self) -> Process:
        return self.model.process

    @property
    def predicts(self) -> str:
        return self.model.predicts

    @property
    def sigma_data(self) -> float:
        return self.model.sigma_data

    def __call__(self, x: Tensor, t: Time) -> Tensor:
        return self.model(x, t, self.y)
