"""Early exits: a denoising network that stops where a guess at its answer seems good enough, step by step, sample by
sample.

    u_k = predicted rms of F_k - F,        leave at the first exit k with u_k < tau,        else F

F is what the whole U-Net says, F_k what a small head reads off the features after its k-th block. After AdaDiff (Tang
et al., 2023, "AdaDiff: Accelerating diffusion models through step-wise adaptive computation"), which adapts how much of
the network runs at a step, and not, as its name may suggest, the size of the step. What differs here:

- Their backbone, U-ViT, is trained together with its exits, each layer's |F_k - noise|^2 weighted by 1 - u_k. Here a
  U-Net is trained already and frozen; its heads alone learn, from its own answers, all with the same weight.
- Their u_k is to be tanh |F_k - noise|, which is not small for the whole network either where noise cannot be told
  from data; here it is what the exit itself costs, in F's units.
- Their exits follow the layers of a transformer, which have all patches at one resolution; here exits of the lower
  levels have coarse features, so that heads make channels into pixels (PixelShuffle) and see the first block's, too.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus
from torch.utils.flop_counter import FlopCounterMode

from . import checkpoint, models
from .nets import UNet
from .nets.base import at_zero, blank, initialise, level
from .nets.denoiser import Denoiser, Of
from .nets.unet import Walk, norm
from .process import like

KIND = "exits"
WIDTH = 32  # channels of a head

Tolerance = float | Callable[[Tensor], Tensor]


class Head(nn.Module):
    """What one exit says after its block, of the walk's features h (n, features, H/up, W/up): F_k and u_k.

    F_k (n, channels, H, W) = conv(silu(norm(z) (1 + s) + b)), z = shuffle(conv(silu(norm(h)))) + conv(silu(norm(h_1)))
    with the features h_1 after the first block, which still know fine detail; s and b are told the noise level. u_k
    (n,) = softplus(w . (mean over places of silu(norm(h)), told) + w_0) >= 0: as in AdaDiff, one linear map that is
    told the noise level.
    """

    def __init__(self, features: int, first: int, channels: int, up: int, told: int):
        super().__init__()
        self.norm, self.inner = norm(features), nn.Conv2d(features, WIDTH * up**2, 1)
        self.shuffle = nn.PixelShuffle(up)
        self.norm_first, self.first = norm(first), nn.Conv2d(first, WIDTH, 1)
        self.norm_out, self.told = norm(WIDTH), at_zero(nn.Linear(told, 2 * WIDTH))
        self.leave = at_zero(nn.Conv2d(WIDTH, channels, 3, padding=1))
        self.size = at_zero(nn.Linear(features + told, 1))

    def guess(self, walk: Walk) -> Tensor:
        """F_k."""
        z = self.shuffle(self.inner(silu(self.norm(walk.h)))) + self.first(silu(self.norm_first(walk.kept[0])))
        s, b = self.told(walk.told)[..., None, None].chunk(2, -3)
        return self.leave(silu(self.norm_out(z) * (1 + s) + b))

    def uncertainty(self, walk: Walk) -> Tensor:
        """u_k."""
        seen = silu(self.norm(walk.h)).mean((2, 3))
        return softplus(self.size(torch.cat([seen, walk.told.expand(len(seen), -1)], 1)))[:, 0]


class EarlyExit(nn.Module):
    """F(x, c, y) of a trained U-Net, cut short where u_k < tau; a network like any other for :class:`nets.Denoiser`.

    Holds a frozen copy of ``network`` and one head after each of its blocks but the last, to be trained with
    :func:`loss`. Every sample leaves at its own exit, and the rest of the batch goes on alone. With tau = 0 the answer
    is the network's, bit for bit; otherwise tau is in units of F, of which "edm" makes the standard deviation 1, or a
    function of c that says how much to allow at a noise level, such as :func:`of_denoiser`.

    taken (exits + 1,): how many samples left at each exit so far, and, last, how many at none; spent: the mean share of
    the network's multiplications that a sample has cost, heads included; ``reset()`` starts both anew.
    ``ValueError``: a tau that is negative or NaN.
    """

    def __init__(self, network: UNet, tau: Tolerance = 0.0, *, seed: int = 0):
        super().__init__()
        if not callable(tau) and not tau >= 0:
            raise ValueError(f"tau must be at least 0, not {tau}")
        self.network, self.tau = copy.deepcopy(network).requires_grad_(False), tau
        side = 2 << (network.count - 1)  # two places each way at the lowest level
        own = next(network.parameters())
        with torch.no_grad():
            x = own.new_zeros(1, network.channels, side, side)
            shapes = [tuple(walk.h.shape) for walk in network.stages(x, x.new_zeros(()))]
        with blank():
            self.heads = nn.ModuleList(
                Head(features, shapes[0][1], network.channels, side // height, 4 * network.width)
                for _, features, height, _ in shapes[:-1]
            )
        initialise(self.heads, seed)
        self.heads.to(own)
        self._shares: dict[tuple[int, ...], Tensor] = {}
        self.reset()

    def _head(self, k: int) -> Head:
        return self.heads[k]  # type: ignore[return-value]

    def reset(self) -> None:
        """Forget what was taken and spent."""
        self.taken, self._work = torch.zeros(len(self.heads) + 1, dtype=torch.int64), 0.0

    @property
    def spent(self) -> float:
        """Mean share of the network's multiplications, since the last ``reset()``; NaN where nothing was asked."""
        return self._work / int(self.taken.sum()) if self.taken.any() else float("nan")

    @torch.no_grad()
    def shares(self, shape: tuple[int, ...]) -> Tensor:
        """What a sample of this shape costs that leaves at each exit, and, last, at none: (exits + 1,), float64.

        In multiplications of convolutions and matrix products, over those of the network without exits. Who leaves
        at exit k has paid for the blocks up to there, for u_1, …, u_k and for F_k.
        """
        if shape not in self._shares:
            x = next(self.network.parameters()).new_zeros(1, *shape)
            costs, guesses = [], 0  # guesses: what only those pay who leave there
            with FlopCounterMode(display=False) as counter:
                for k, walk in enumerate(self.network.stages(x, x.new_zeros(()))):
                    if k == len(self.heads):
                        self.network.end(walk.h)
                        costs.append(counter.get_total_flops() - guesses)
                        break
                    self._head(k).uncertainty(walk)
                    before = counter.get_total_flops()
                    self._head(k).guess(walk)
                    costs.append(counter.get_total_flops() - guesses)
                    guesses += counter.get_total_flops() - before
            with FlopCounterMode(display=False) as counter:
                self.network(x, x.new_zeros(()))
            self._shares[shape] = torch.tensor(costs, dtype=torch.float64) / counter.get_total_flops()
        return self._shares[shape]

    def exits(self, x: Tensor, c: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """(F_k of all exits (exits, n, channels, H, W), u_k (exits, n), F): what the heads learn from."""
        guesses, u = [], []
        for k, walk in enumerate(self.network.stages(x, c, y)):
            if k == len(self.heads):
                return torch.stack(guesses), torch.stack(u), self.network.end(walk.h)
            guesses.append(self._head(k).guess(walk))
            u.append(self._head(k).uncertainty(walk))
        raise AssertionError("a walk ends after the last block")

    def forward(self, x: Tensor, c: Tensor, y: Tensor | None = None) -> Tensor:
        allowed = self.tau(level(c, x)) if callable(self.tau) else x.new_tensor(self.tau)
        allowed = allowed.to(x).expand(len(x))
        out, rows, taken = torch.empty_like(x), torch.arange(len(x), device=x.device), torch.zeros_like(self.taken)
        for k, walk in enumerate(self.network.stages(x, c, y)):
            if k == len(self.heads):
                out[rows], taken[k] = self.network.end(walk.h).to(out), len(rows)
                break
            leave = self._head(k).uncertainty(walk) < allowed[rows]
            if not leave.any():
                continue
            out[rows[leave]] = self._head(k).guess(walk.part(leave)).to(out)
            rows, taken[k] = rows[~leave], leave.sum()
            if not len(rows):
                break
        self.taken += taken
        self._work += float(taken.double() @ self.shares(tuple(x.shape[1:])))
        return out


def loss(denoiser, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """mean over exits of |F_k - F|^2/d + (u_k - rms of F_k - F)^2, at x_t = alpha x_0 + sigma eps: shape (n,).

    The objective of ``sd.train.fit`` for the denoiser of an :class:`EarlyExit`, alone or of classes. Only the heads
    learn: F is the frozen network's own answer, and in the second term F_k is held fixed, so that no guess is
    made worse for being easier to judge.
    """
    model, y = (denoiser.model, denoiser.y) if isinstance(denoiser, Of) else (denoiser, None)
    x = model.process.perturb(x0, t, eps)
    guesses, u, F = model.network.exits(  # type: ignore[operator]
        like(model.scales.c_in(t), x) * x, model.scales.c_noise(t).to(x), y
    )
    squared = (guesses - F).square().flatten(2).mean(2)
    return (squared + (u - squared.detach().sqrt()).square()).mean(0)


def of_denoiser(denoiser: Denoiser, tau: float) -> Tolerance:
    """c -> tau/c_out: what F may be off by at a noise level where D = c_skip x + c_out F may be off by tau.

    A sampler sees D, and at little noise c_out is small, so that guesses of F that are poor do no harm.
    """
    return lambda c: tau / denoiser.scales.c_out(denoiser.process.t_of_lam(-4 * c.double()))


def save(path, model: EarlyExit, about: dict[str, Any] | None = None) -> None:
    """Write the heads, whole or not at all (see :func:`sdelab.checkpoint.save`), with a digest of their network."""
    page = {"kind": KIND, "backbone": _digest(model.network), "about": about or {}}
    checkpoint.save(path, model.heads.state_dict(), page)


def load(name, network: UNet, tau: Tolerance = 0.0) -> EarlyExit:
    """The network with the heads of a name in ``data/models`` or of a path, frozen for use.

    ``ValueError``: a file that is damaged, holds something else, or the heads of another network;
    ``FileNotFoundError``: no such file.
    """
    tensors, page = checkpoint.load(models.find(name))
    if page.get("kind") != KIND:
        raise ValueError(f"{name} holds no early exits but: {models.kind_of(page)}")
    if page["backbone"] != _digest(network):
        raise ValueError(
            f"{name} holds the exits of a network with other weights: give the one that they were trained on, or train "
            "new ones with sd.early_exit.loss"
        )
    model = EarlyExit(network, tau)
    try:
        model.heads.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{name} holds heads of another make than this version's: {error}") from error
    return model.eval().requires_grad_(False)


def _digest(network: UNet) -> str:
    return checkpoint.digest(dict(network.named_parameters()))
