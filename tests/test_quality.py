"""Figures of generated images by other routes, and planted faults: copies, lost kinds, wrong classes, noise."""

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

import sdelab as sd
from sdelab import classify, nets, quality
from sdelab.data import Dataset


def normal(shape, seed=0, dtype=torch.float64):
    return sd.noise.normal(shape, seed=seed, dtype=dtype)


def with_moments(n, mean, root, seed):
    """Points whose mean and covariance (n - 1) are exactly these: whitened first."""
    z = normal((n, len(mean)), seed)
    z = z - z.mean(0)
    return z @ torch.linalg.inv(torch.linalg.cholesky(z.T @ z / (n - 1))).T @ root.T + mean


def test_frechet_of_gaussians_in_closed_form():
    m, s = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([1.0, 0.3, 2.0]).double()
    x = with_moments(50, 0 * m, torch.diag(s), 1)
    y = with_moments(40, m, torch.diag(2 * s), 2)
    assert quality.frechet(x, y) == pytest.approx(float((m**2 + s**2).sum()), rel=1e-10)
    turned = with_moments(40, m, torch.linalg.qr(normal((3, 3), 7)).Q * 3, 3)  # covariance 9 I, by another root
    assert quality.frechet(x, turned) == pytest.approx(float((m**2 + (3 - s) ** 2).sum()), rel=1e-10)


def test_frechet_is_that_of_the_matrix_root():
    x, y = normal((60, 5), 1) @ normal((5, 5), 2), normal((70, 5), 3) @ normal((5, 5), 4) + 0.3
    S_x, S_y = np.cov(x.numpy().T), np.cov(y.numpy().T)
    root = np.real(scipy.linalg.sqrtm(S_x @ S_y))
    expected = ((x - y.mean(0)).mean(0) ** 2).sum() + np.trace(S_x + S_y - 2 * root)
    assert quality.frechet(x, y) == pytest.approx(float(expected), rel=1e-9)
    assert quality.frechet(y, x) == pytest.approx(float(expected), rel=1e-9)
    assert abs(quality.frechet(x, x)) < 1e-10 * float(np.trace(S_x))
    few = normal((4, 9), 5)  # covariances without full rank
    assert quality.frechet(few, few + 1) == pytest.approx(9, rel=1e-6)
    with pytest.raises(ValueError, match="two points at least"):
        quality.frechet(x[:1], y)


def test_precision_and_recall_by_counting():
    x, real, k = normal((30, 2), 1) * 1.4, normal((40, 2), 2), 2

    def share(inside, centres):
        held = 0
        for p in inside:
            radii = [sorted(np.linalg.norm(c - centres, axis=1))[k] for c in centres]
            held += any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True))
        return held / len(inside)

    expected = share(x.numpy(), real.numpy()), share(real.numpy(), x.numpy())
    assert quality.precision_recall(x, real, k) == expected and 0 < expected[0] < 1
    assert quality.precision_recall(real, x, k) == expected[::-1]
    with pytest.raises(ValueError, match="k = 30"):
        quality.precision_recall(x, real, 30)


def test_lost_kinds_cost_recall_and_strange_ones_precision():
    two = torch.cat([normal((200, 2), 1), normal((200, 2), 2) + 20])
    real = torch.cat([normal((200, 2), 3), normal((200, 2), 4) + 20])
    assert min(quality.precision_recall(two, real)) > 0.9
    precision, recall = quality.precision_recall(two[:200], real)
    assert precision > 0.9 and recall < 0.5
    precision, recall = quality.precision_recall(torch.cat([two, two[:100] - 30]), real)
    assert precision < 0.81 and recall > 0.9


def test_variance_within_classes():
    x, labels = normal((60, 3), 1), torch.arange(60) % 4
    x = x * (1 + labels[:, None]) + 100 * labels[:, None]
    expected = np.mean([np.var(x[labels == c].numpy(), axis=0, ddof=1).sum() for c in range(4)])
    assert quality.within_class_variance(x, labels + 5) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ValueError, match="two points of each"):
        quality.within_class_variance(x[:5], labels[:5])


def test_nearest():
    x, train = normal((7, 1, 4, 4), 1), normal((50, 1, 4, 4), 2)
    expected = cdist(x.flatten(1).numpy(), train.flatten(1).numpy()).min(1)
    np.testing.assert_allclose(quality.nearest(x, train, rows=3).numpy(), expected, rtol=1e-12)


def test_halves_are_disjoint_and_stratified():
    labels = torch.tensor([0, 3, 5] * 20 + [3] * 5)
    A, B = quality.halves(labels, 8, seed=1)
    assert len({*A.tolist()} | {*B.tolist()}) == 48
    assert all(torch.equal(labels[rows], torch.tensor([0, 3, 5]).repeat_interleave(8)) for rows in (A, B))
    assert torch.equal(A, quality.halves(labels, 8, seed=1)[0])
    assert not torch.equal(A, quality.halves(labels, 8, seed=2)[0])
    with pytest.raises(ValueError, match="two parts of 11 images a class, but a class has 20"):
        quality.halves(labels, 11)


def drawn(per_class, seed, spread=1.0):
    """Images (n, 1, 8, 8) of three classes: a bar at a place that varies, of a strength that varies, and noise."""
    labels = torch.arange(3).repeat(per_class)
    z = normal((len(labels), 66), seed, torch.float32)
    places = (torch.arange(8) - 1.5 - 2.5 * labels[:, None] - 0.7 * spread * z[:, :1]).square()
    bars = 1.6 * (-places[:, :, None]).exp() * (1 + 0.2 * spread * z[:, 1, None, None]) - 1
    return Dataset((bars.expand(-1, 8, 8) + 0.1 * z[:, 2:].view(-1, 8, 8))[:, None], labels, ("a", "b", "c"))


@pytest.fixture(scope="module")
def judge():
    data = drawn(100, 1)
    run = sd.train.fit(
        nets.Classifier(1, 3, 8, seed=1), data[:2], steps=40, batch=32, lr=5e-3, times=sd.latent.no_times, drop=0.0,
        objective=classify.loss, ema=0.9,
    )  # fmt: skip
    return run.ema


def test_a_report_of_good_samples_is_that_of_real_ones_and_made_of_its_parts(judge):
    train, real, good = drawn(200, 2), drawn(120, 3), drawn(50, 4)
    found = quality.report(judge, good.images, good.labels, real, train.images)
    assert found["n"] == 150 and min(found["accuracy"], found["real_accuracy"]) > 0.9
    assert found["frechet"] < 2 * found["real_frechet"]
    assert min(found[key] for key in ("precision", "recall", "real_precision", "real_recall")) > 0.8
    assert found["variance"] == pytest.approx(found["real_variance"], abs=0.25)
    assert found["nearest"] == pytest.approx(found["real_nearest"], rel=0.05)
    assert found["copied"] < 0.15 and found["real_copied"] < 0.15

    one = quality.report(judge, good.images, good.labels, real, train.images, splits=1, seed=5, k=2, q=0.3)
    A, B = quality.halves(real.labels, 50, 5)
    with torch.no_grad():
        f, g, h = (judge.features(v) for v in (good.images, real.images[A], real.images[B]))
        accuracy = (judge(good.images).argmax(1) == good.labels).double().mean()
    assert one["accuracy"] == pytest.approx(float(accuracy))
    assert one["frechet"] == pytest.approx(quality.frechet(f, g), rel=1e-6)
    assert one["real_frechet"] == pytest.approx(quality.frechet(h, g), rel=1e-6)
    assert (one["real_precision"], one["real_recall"]) == pytest.approx(quality.precision_recall(h, g, 2), abs=0.01)
    near = [quality.nearest(v, train.images) for v in (good.images, real.images[A])]
    assert one["nearest"] == pytest.approx(float(near[0].median()), rel=1e-6)
    assert one["copied"] == pytest.approx(float((near[0] < near[1].quantile(0.3)).double().mean()), abs=0.01)
    without = quality.report(judge, good.images, good.labels, real, splits=1, seed=5, k=2)
    assert "copied" not in without and without["frechet"] == one["frechet"]


def test_planted_faults_are_caught(judge):
    train, real, good = drawn(200, 2), drawn(120, 3), drawn(50, 4)

    def report(images, labels=good.labels):
        return quality.report(judge, images, labels, real, train.images)

    copies = report(train.images[:150] + 0.005 * normal((150, 1, 8, 8), 9, torch.float32), train.labels[:150])
    assert copies["copied"] > 0.99 and copies["recall"] > 0.8  # the features alone do not tell
    narrow = report(drawn(50, 4, spread=0.1).images)
    assert narrow["precision"] > 0.8 and narrow["recall"] < 0.6 and narrow["variance"] < 0.5
    wrong = report(good.images, (good.labels + (torch.arange(150) < 30)) % 3)
    assert wrong["accuracy"] < wrong["real_accuracy"] - 0.15
    noisy = report(good.images + 0.5 * normal(good.images.shape, 9, torch.float32))
    assert noisy["frechet"] > 2 * noisy["real_frechet"] and noisy["nearest"] > 3 * noisy["real_nearest"]
    assert noisy["precision"] < 0.7 and noisy["variance"] > 1.3 * noisy["real_variance"]


def test_some_classes_only_and_errors(judge):
    real, good = drawn(20, 3), drawn(10, 4)
    some = good.labels != 1
    found = quality.report(judge, good.images[some], good.labels[some], real)
    assert found["n"] == 20 and found["real_accuracy"] > 0.9
    with pytest.raises(ValueError, match="equally many of each class"):
        quality.report(judge, good.images[:-1], good.labels[:-1], real)
    with pytest.raises(ValueError, match="take fewer of each"):
        quality.report(judge, good.images, good.labels, drawn(19, 3))
    with pytest.raises(ValueError, match="NaN or infinite"):
        quality.report(judge, good.images / 0, good.labels, real)


def numbers(shape, **at):
    """Noise of 0 in which only some numbers are not."""
    eps = torch.zeros(shape)
    for place, value in at.items():
        eps.flatten(1)[:, int(place[1:])] = value
    return eps


def pictures():
    """Six smooth images (6, 1, 32, 32) between paper and ink."""
    coarse = normal((6, 1, 8, 8), 2, torch.float32)
    return torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear").clamp(-1, 1)


def test_augmentation_by_the_warps_of_scipy():
    x = pictures()

    def augmented(**at):
        eps = numbers(x.shape, **at)
        return (classify.augment(x, eps) - 0.1 * eps)[:, 0].numpy()

    def scipys(matrix, shift=(0, 0)):
        """Images at matrix (x, y) + shift, about the middle."""
        own = np.array(matrix)[::-1, ::-1]  # scipy counts rows first
        offset = 15.5 - own @ [15.5, 15.5] + np.array(shift)[::-1]
        return [
            ndimage.affine_transform(p, own, tuple(offset), order=1, mode="nearest")  # type: ignore[arg-type]
            for p in x[:, 0].numpy()
        ]

    c, s = np.cos(0.1), np.sin(0.1)
    for at, matrix, shift in (
        ({}, np.eye(2), (0, 0)),
        ({"_0": 1}, [[c, -s], [s, c]], (0, 0)),
        ({"_1": 1}, [[1, 0.1], [0, 1]], (0, 0)),
        ({"_2": 1, "_3": -1}, np.diag(np.exp([0.08, -0.08])), (0, 0)),
        ({"_4": 1, "_5": -3}, np.eye(2), (0.8, -1.6)),  # beyond two counts as two
    ):
        np.testing.assert_allclose(augmented(**at), scipys(matrix, shift), atol=1e-4, err_msg=str(at))


def test_augmentation_is_a_function_of_its_noise_row_by_row_and_leaves_paper_alone():
    x, eps = pictures(), normal((6, 1, 32, 32), 3, torch.float32)
    y = classify.augment(x, eps)
    torch.testing.assert_close(torch.cat([classify.augment(x[[i]], eps[[i]]) for i in range(6)]), y, rtol=0, atol=1e-5)
    assert float((y - 0.1 * eps).max()) <= 1 + 1e-6 and float((y - x).abs().mean()) > 0.1
    torch.testing.assert_close(classify.augment(-torch.ones_like(x), eps), -1 + 0.1 * eps)
    for sign in (1.0, -1.0):  # a thicker pen, a thinner one
        y = classify.augment(x, numbers(x.shape, _6=sign)) - 0.1 * numbers(x.shape, _6=sign)
        assert bool((sign * (y - x) >= -1e-4).all()) and float((y - x).abs().mean()) > 0.02
