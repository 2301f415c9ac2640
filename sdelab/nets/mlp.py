"""A multilayer perceptron for points."""

from torch import Tensor, nn
from torch.nn.functional import silu

from .base import Features, at_zero, blank, initialise, level


class MLP(nn.Module):
    """F(x, c) for points x (n, dim): ``depth`` residual layers of ``width``, each of which is told the noise level c.

        h = A x + a(c),      h <- h + B_k silu(h + a_k(c)),      F = C silu(h)

    a, a_k: linear in Fourier features of c. c is a number, or one per sample. The weights are a function of ``seed``
    alone; C starts at 0, so F does. ``ValueError``: shapes that do not fit.
    """

    def __init__(self, dim: int, width: int = 128, depth: int = 3, *, seed: int = 0):
        super().__init__()
        if min(dim, width, depth) < 1:
            raise ValueError(f"dim, width and depth must be at least 1, not {dim}, {width} and {depth}")
        self.dim, self.width, self.depth = dim, width, depth
        with blank():
            self.features = Features()
            self.enter = nn.Linear(dim, width)
            self.told = nn.Linear(self.features.size, width * (depth + 1))
            self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
            self.leave = at_zero(nn.Linear(width, dim))
        initialise(self, seed)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ValueError(f"x must have shape (n, {self.dim}), not {tuple(x.shape)}")
        a, *a_k = self.told(self.features(level(c, x))).chunk(self.depth + 1, -1)
        h = self.enter(x) + a
        for layer, told in zip(self.layers, a_k, strict=True):
            h = h + layer(silu(h + told))
        return self.leave(silu(h))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, width={self.width}, depth={self.depth}"
