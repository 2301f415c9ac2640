"""Training a classifier of images: the likelihood of the class, on images warped afresh at every step.

loss = -log p(y | augment(x))
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, max_pool2d

from .nets import Classifier

_NUMBERS = 7 + 3 * 16  # of the noise of an image: six of the affine map, one of the pen, a 4 x 4 field of three


@torch.no_grad()
def augment(x: Tensor, eps: Tensor) -> Tensor:
    """Images (n, channels, H, W), paper -1 and ink +1, as another hand and another pen would have drawn them.

    A function of the normals ``eps``, of x's shape, of which numbers beyond two standard deviations count as two. The
    image is turned (6 degrees), sheared (.1), scaled (8 % an axis), shifted (2.5 % of the side) and bent by a smooth
    field (2.5 %); strokes become thicker or thinner, by up to half of what the largest or least value of 3 x 3 pixels
    would make of them; ink is lost and won in places; noise of .1 comes on top.
    """
    z = eps.flatten(1)[:, :_NUMBERS].clamp(-2, 2)
    turn, shear, up, across, right, down, weight = z[:, :7].unbind(1)
    cos, sin, shear = (0.1 * turn).cos(), (0.1 * turn).sin(), 0.1 * shear
    a, b = (0.08 * up).exp(), (0.08 * across).exp()
    rows = [a * cos, b * (shear * cos - sin), 0.05 * right, a * sin, b * (shear * sin + cos), 0.05 * down]
    grid = affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(x.shape), align_corners=False)
    fields = interpolate(z[:, 7:].reshape(-1, 3, 4, 4), tuple(x.shape[2:]), mode="bicubic", align_corners=False)
    bend, ink = fields[:, :2].movedim(1, 3), fields[:, 2:]
    y = grid_sample(x, grid + 0.05 * bend, padding_mode="border", align_corners=False)
    thick, thin = max_pool2d(y, 3, 1, 1), -max_pool2d(-y, 3, 1, 1)
    weight = 0.25 * weight.view(-1, 1, 1, 1)
    y = y + weight.relu() * (thick - y) + (-weight).relu() * (thin - y)
    return ((1 + y) * (0.4 * ink).exp() - 1).clamp_max(1) + 0.1 * eps


def loss(log_prob: Callable[[Tensor], Tensor], x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """-log p(y | augment(x0)): shape (n,); the objective of ``sd.train.fit`` for a :class:`sdelab.nets.Classifier`."""
    return -log_prob(augment(x0, eps))


@torch.no_grad()
def features(model: Classifier, images: Tensor, batch: int = 512) -> Tensor:
    """Features (n, 64) of many images, a part at a time; ``model.leave`` of them are the logits."""
    return torch.cat([model.features(x) for x in images.split(batch)])


def accuracy(model: Classifier, images: Tensor, labels: Tensor) -> float:
    """Share of the images whose likeliest class is their label."""
    return float((model.leave(features(model, images)).argmax(1) == labels).double().mean())
