"""How good generated images are: what a classifier makes of them, and how near they come to the training images.

Every figure depends on how many images it is made from, so :func:`report` gives it twice: for the samples, and for as
many real images that took no part in training, both against the same other real images.
"""

import torch
from torch import Tensor

from . import _checks, classify, metrics, noise
from .data.common import Dataset
from .nets import Classifier


def frechet(x: Tensor, y: Tensor) -> float:
    """|m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x^1/2 S_y S_x^1/2)^1/2), of the means and covariances of x (n, d), y (m, d).

    The squared Wasserstein distance of the two Gaussians, in float64; the trace of the root is the sum of the singular
    values of S_x^1/2 S_y^1/2. Biased upwards, by about as much as two samples of one law are apart: quote that, too.
    Heusel et al. (2017), "GANs trained by a two time-scale update rule", eq. 6.
    """
    x, y = metrics.pair(x.double(), y.double())
    if min(len(x), len(y)) < 2:
        raise ValueError(f"covariances need two points at least, not {len(x)} and {len(y)}")
    S_x, S_y = (v.T.cov().reshape(v.shape[1], -1) for v in (x, y))
    cross = torch.linalg.svdvals(_root(S_x) @ _root(S_y)).sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + S_x.trace() + S_y.trace() - 2 * cross)


def _root(S: Tensor) -> Tensor:
    """The symmetric square root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(S)
    return vectors * values.clamp_min(0).sqrt() @ vectors.T


def precision_recall(x: Tensor, real: Tensor, k: int = 3) -> tuple[float, float]:
    """(share of x within the real points' balls, share of the real points within the balls of x).

    A ball about each point reaches to its k-th nearest neighbour in its own sample. Low precision: samples that are
    like nothing real; low recall: real kinds that are never drawn. x (n, d), real (m, d).
    Kynkäänniemi et al. (2019), "Improved precision and recall metric for assessing generative models", eq. 2.
    """
    x, real = metrics.pair(x.double(), real.double())
    if not 1 <= k < min(len(x), len(real)):
        raise ValueError(f"k = {k} must be at least 1 and below the {min(len(x), len(real))} points of a sample")
    r_x, r_real = (torch.cdist(v, v).topk(k + 1, largest=False).values[:, k] for v in (x, real))  # itself is nearest
    apart = torch.cdist(x, real)
    return _share((apart <= r_real).any(1)), _share((apart <= r_x[:, None]).any(0))


def within_class_variance(x: Tensor, labels: Tensor) -> float:
    """sum |x_i - mean of its class|^2/(n - number of classes), for x (n, d) and classes (n,) of two points or more."""
    _, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    if counts.min() < 2:
        raise ValueError("the variance within a class needs two points of each")
    x = x.double()
    means = x.new_zeros(len(counts), x.shape[1]).index_add_(0, labels, x) / counts[:, None]
    return float((x - means[labels]).square().sum() / (len(x) - len(counts)))


def nearest(x: Tensor, train: Tensor, rows: int = 256) -> Tensor:
    """Distance (n,) of each image to the nearest training image, in pixels: sqrt of the sum of squared differences."""
    train = train.flatten(1)
    return torch.cat([torch.cdist(part, train).min(1).values for part in x.flatten(1).split(rows)])


def halves(labels: Tensor, per_class: int, seed: int = 0, key: int = 0) -> tuple[Tensor, Tensor]:
    """Row numbers of two disjoint random parts, each with ``per_class`` rows of every class, in the order of classes.

    ``ValueError``: a class of fewer than 2 ``per_class`` rows.
    """
    order = noise.uniform((len(labels),), seed, key, dtype=torch.float64).argsort().to(labels.device)
    own = [order[labels[order] == c] for c in labels.unique()]
    fewest = min(map(len, own))
    if not 1 <= per_class <= fewest // 2:
        raise ValueError(f"two parts of {per_class} images a class, but a class has {fewest}: take fewer of each")
    rows = torch.stack([rows[: 2 * per_class] for rows in own])
    return rows[:, :per_class].flatten(), rows[:, per_class:].flatten()


def report(
    classifier: Classifier,
    samples: Tensor,
    labels: Tensor,
    real: Dataset,
    train: Tensor | None = None,
    *,
    splits: int = 4,
    k: int = 3,
    q: float = 0.05,
    seed: int = 0,
) -> dict[str, float]:
    """Figures of ``samples`` (n, channels, H, W) drawn as classes ``labels`` (n,), equally many of each.

    accuracy: share that the classifier takes for what they were drawn as; frechet, precision, recall, variance (within
    classes, over that of real images): :func:`frechet`, … of the classifier's features, against as many real images of
    the same classes; with ``train``, the images that the model was trained on: nearest, the median distance to them in
    pixels, and copied, the share of samples nearer to them than the share ``q`` of ``real`` that is nearest.

    "real_accuracy", … are the same figures of as many other real images in place of the samples: "real_frechet" is the
    floor, and "real_copied" about q. Means over ``splits`` random choices of the real images, which must be twice as
    many of each class as the samples, and should not be those that the model was trained on.

    ``ValueError``: classes with unlike numbers of samples or too few real images, images that are not finite.
    """
    samples, labels = _checks.state(samples, "samples"), labels.to(samples.device)
    chosen, counts = labels.unique(return_counts=True)
    if len(labels) != len(samples) or len(counts.unique()) != 1:
        raise ValueError(f"{len(samples)} samples with {len(labels)} labels: draw equally many of each class")
    if splits < 1:
        raise ValueError(f"splits must be at least 1, not {splits}")
    rows = torch.isin(real.labels.to(labels), chosen)
    images, classes = real.images.to(samples)[rows], real.labels.to(labels)[rows]
    f, g = classify.features(classifier, samples), classify.features(classifier, images)
    right, right_real = (classifier.leave(v).argmax(1) == y for v, y in ((f, labels), (g, classes)))
    near = () if train is None else tuple(nearest(v, train.to(samples)) for v in (samples, images))
    found = []
    for split in range(splits):
        A, B = halves(classes, int(counts[0]), seed, split)
        own = {"accuracy": _share(right)} | _against(f, labels, g[A], classes[A], k)
        other = {"accuracy": _share(right_real[B])} | _against(g[B], classes[B], g[A], classes[A], k)
        if near:
            limit = near[1][A].quantile(q)
            for figures, distances in ((own, near[0]), (other, near[1][B])):
                figures.update(nearest=float(distances.median()), copied=_share(distances < limit))
        found.append(own | {f"real_{name}": value for name, value in other.items()})
    return {"n": len(samples)} | {name: sum(one[name] for one in found) / splits for name in found[0]}


def _against(f: Tensor, labels: Tensor, real: Tensor, classes: Tensor, k: int) -> dict[str, float]:
    """The figures that compare features with features of real images."""
    precision, recall = precision_recall(f, real, k)
    variance = within_class_variance(f, labels) / within_class_variance(real, classes)
    return {"frechet": frechet(f, real), "precision": precision, "recall": recall, "variance": variance}


def _share(which: Tensor) -> float:
    return float(which.double().mean())
