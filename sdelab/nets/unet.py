"""A small U-Net for images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from .base import Features, at_zero, blank, initialise, level


def norm(channels: int) -> nn.GroupNorm:
    """Group norm of eight groups, or as many as divide the channels."""
    return nn.GroupNorm(math.gcd(8, channels), channels)


class Block(nn.Module):
    """h + conv(silu(norm(conv(silu(norm(h))) (1 + s) + b))), where scale s and shift b tell the noise level."""

    def __init__(self, channels: int, out: int, told: int):
        super().__init__()
        self.norm1, self.conv1 = norm(channels), nn.Conv2d(channels, out, 3, padding=1)
        self.norm2, self.conv2 = norm(out), at_zero(nn.Conv2d(out, out, 3, padding=1))
        self.told = nn.Linear(told, 2 * out)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        s, b = self.told(told)[..., None, None].chunk(2, -3)
        y = self.norm2(self.conv1(silu(self.norm1(h)))) * (1 + s) + b
        return self.skip(h) + self.conv2(silu(y))


class Attention(nn.Module):
    """Every place looks at every other one: h + out(softmax(q k^T / sqrt(d)) v)."""

    def __init__(self, channels: int, heads: int = 4):
        super().__init__()
        self.heads = math.gcd(heads, channels)
        self.norm, self.qkv = norm(channels), nn.Conv2d(channels, 3 * channels, 1)
        self.out = at_zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        n, channels, *_ = h.shape
        q, k, v = self.qkv(self.norm(h)).view(n, 3, self.heads, channels // self.heads, -1).mT.unbind(1)
        looks = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)  # few places, so no fused kernel, which knows no jvp
        return h + self.out((looks @ v).mT.reshape(h.shape))


@dataclass
class Walk:
    """Where a walk through a U-Net stands: the features ``h`` (n, …), what blocks are ``told``, the skips ``kept``."""

    h: Tensor
    told: Tensor
    kept: list[Tensor] = field(default_factory=list)

    def part(self, rows: Tensor) -> "Walk":
        """Those samples for which ``rows`` (n,) is true, taken out of this walk, which goes on with the others."""
        leaving, staying = ((self.h[r], self._told_of(r), [skip[r] for skip in self.kept]) for r in (rows, ~rows))
        self.h, self.told, self.kept = staying
        return Walk(*leaving)

    def _told_of(self, rows: Tensor) -> Tensor:
        return self.told[rows] if len(self.told) > 1 else self.told


class UNet(nn.Module):
    """F(x, c) for images x (n, channels, H, W): down over ``levels`` resolutions, and up again with skips.

    The first level has ``width`` channels, those below, at H/2, H/4, …, twice as many; ``blocks`` residual blocks each
    way; ``attention`` at the lowest resolution. H and W must be multiples of 2^(levels - 1). c is a number, or one per
    sample. With ``classes`` > 0 the network is told the class, too: F(x, c, y) with whole numbers y (n,) from 0, and -1
    for no class, which is also what y=None means. The weights are a function of ``seed`` alone; the output layer starts
    at 0. ``ValueError``: shapes that do not fit, classes that are not there.

    Ronneberger et al. (2015); residual blocks, time and attention as in Ho et al. (2020), in small.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        levels: int = 3,
        blocks: int = 1,
        *,
        attention: bool = True,
        classes: int = 0,
        seed: int = 0,
    ):
        super().__init__()
        if min(channels, width, levels, blocks) < 1:
            raise ValueError("channels, width, levels and blocks must be at least 1")
        self.channels, self.width, self.count, self.classes = channels, width, levels, classes
        self.settings = {"channels": channels, "width": width, "levels": levels, "blocks": blocks}
        self.settings |= {"attention": attention, "classes": classes}
        widths, told = [width, *[2 * width] * (levels - 1)], 4 * width
        with blank():
            self.features = Features()
            self.told = nn.Sequential(nn.Linear(self.features.size, told), nn.SiLU(), nn.Linear(told, told))
            self.enter = nn.Conv2d(channels, width, 3, padding=1)
            self.down, self.up, kept, now = nn.ModuleList(), nn.ModuleList(), [], width
            for out in widths:
                self.down.append(nn.ModuleList(Block(now if n == 0 else out, out, told) for n in range(blocks)))
                kept, now = [*kept, *[out] * blocks], out
            self.middle = nn.ModuleList([Block(now, now, told), Block(now, now, told)])
            self.attention = Attention(now) if attention else nn.Identity()
            for out in reversed(widths):
                stage = nn.ModuleList()
                for _ in range(blocks):
                    stage.append(Block(now + kept.pop(), out, told))
                    now = out
                self.up.append(stage)
            self.norm, self.leave = norm(now), at_zero(nn.Conv2d(now, channels, 3, padding=1))
            if classes:
                self.label = nn.Embedding(classes + 1, told)  # the last row is no class
        initialise(self, seed)

    def _told(self, x: Tensor, c: Tensor, y: Tensor | None) -> Tensor:
        """What the blocks are told, shape (1 or n, told)."""
        told = self.told(self.features(level(c, x)))
        if y is None and not self.classes:
            return silu(told)
        y = torch.full((1,), -1) if y is None else y
        if not self.classes or y.ndim != 1 or len(y) not in (1, len(x)):
            known = f"a class below {self.classes}, or -1, per sample" if self.classes else "None: there are no classes"
            raise ValueError(f"y must be {known}, not of shape {tuple(y.shape)} for a batch of {len(x)}")
        if y.device.type == "cpu" and not ((y >= -1) & (y < self.classes)).all():  # elsewhere it would cost a wait
            raise ValueError(
                f"classes lie between 0 and {self.classes - 1} (-1: no class), not {int(y.min())} to {int(y.max())}"
            )
        y = y.to(x.device)
        return silu(told + self.label(y.masked_fill(y == -1, self.classes)))

    def stages(self, x: Tensor, c: Tensor, y: Tensor | None = None) -> Iterator[Walk]:
        """One walk through the network, shown after every block: it may stop there, or go on with some samples."""
        factor = 1 << (self.count - 1)
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(
                f"x must have shape (n, {self.channels}, H, W) with H and W multiples of {factor}, not "
                f"{tuple(x.shape)}: pad the images, or take fewer levels"
            )
        walk = Walk(self.enter(x), self._told(x, c, y))
        for k, stage in enumerate(self.down):
            if k:
                walk.h = nn.functional.avg_pool2d(walk.h, 2)
            for block in stage:  # type: ignore[attr-defined]
                walk.h = block(walk.h, walk.told)
                walk.kept.append(walk.h)
                yield walk
        walk.h = self.middle[0](walk.h, walk.told)
        yield walk
        walk.h = self.middle[1](self.attention(walk.h), walk.told)
        yield walk
        for k, stage in enumerate(self.up):
            if k:
                walk.h = interpolate(walk.h, scale_factor=2.0, mode="nearest")
            for block in stage:  # type: ignore[attr-defined]
                walk.h = block(torch.cat([walk.h, walk.kept.pop()], 1), walk.told)
                yield walk

    def end(self, h: Tensor) -> Tensor:
        """F of the features after the last block."""
        return self.leave(silu(self.norm(h)))

    def forward(self, x: Tensor, c: Tensor, y: Tensor | None = None) -> Tensor:
        *_, last = self.stages(x, c, y)
        return self.end(last.h)
