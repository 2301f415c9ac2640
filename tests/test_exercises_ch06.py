"""Every checker of chapter 6: right answers pass, each planted mutant gets its diagnosis, bad answers are told."""

from itertools import pairwise

import pytest
import torch
from answers import assert_diagnosed, assert_nonsense_is_told, assert_passes, printed
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import batch_norm, conv2d, pixel_unshuffle

import sdelab as sd


def kl(number=lambda m, v: m**2 + v.exp() - 1 - v, over=lambda k: k.flatten(1).mean(1), factor=0.5):
    return lambda mean, log_var: factor * over(number(mean, log_var))


def kl_by_torch(mean, log_var):
    law, normal = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(law, normal).mean((1, 2, 3))


def kl_reversed(mean, log_var):
    law, normal = Normal(mean, (log_var / 2).exp()), Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(normal, law).mean((1, 2, 3))


def moments(z, dims=(0, 2, 3), correction=1):
    return z.mean(dims, keepdim=True), z.std(dims, keepdim=True, correction=correction)


def scale(of=moments, there=lambda z, m, s: (z - m) / s, back=lambda u, m, s: u * s + m):
    def answer(z, u, decode):
        m, s = of(z)
        return there(z, m, s), decode(back(u, m, s))

    return answer


def scale_by_batch_norm(z, u, decode):
    channels = z.transpose(0, 1).flatten(1)
    back = [u[:, c] * row.std(correction=0) + row.mean() for c, row in enumerate(channels)]
    return batch_norm(z, None, None, training=True, eps=1e-12), decode(torch.stack(back, 1))


def scale_by_u(z, u, decode):
    (m, s), (m_u, s_u) = moments(z), moments(u)
    return (z - m) / s, decode(u * s_u + m_u)


def cost(weights=9, first=lambda c, width, r: c * r**2 * width, inner=lambda width, depth: depth * width**2,
         last=None, places=lambda H, W, r: H // r * (W // r), factor=1):  # fmt: skip
    def answer(c, H, W, width, depth, r):
        ends = first(c, width, r) + (last or first)(c, width, r)
        return factor * weights * places(H, W, r) * (ends + inner(width, depth))

    return answer


def cost_by_counting(c, H, W, width, depth, r):
    """Ones added up by PyTorch's convolution at one place, times places and channels, layer by layer."""
    h = pixel_unshuffle(torch.ones(1, c, H, W), r)
    sizes, total = [h.shape[1], *[width] * (depth + 1), h.shape[1]], 0.0
    for a, b in pairwise(sizes):
        inside = conv2d(torch.ones(1, a, 3, 3), torch.ones(1, a, 3, 3))  # one output channel, one place
        total += inside.item() * b * h[0, 0].numel()
    return total


def within(low, sigma, high):
    return low < sigma <= high


def guidance(rule=lambda c, u, w: u + w * (c - u), acts=within, outside=lambda c, u, w: c):
    return lambda c, u, sigma, w, low, high: (rule if acts(low, sigma, high) else outside)(c, u, w)


def guidance_by_the_library(c, u, sigma, w, low, high):
    edm = sd.process.make("edm")
    guided = sd.guidance.classifier_free(
        lambda x, t: c, lambda x, t: u, w, interval=(low, high), process=edm
    )  # sigma/alpha = t
    return guided(0 * c, torch.tensor(sigma, dtype=c.dtype))


def per_image(v, q):
    return v.flatten(1).quantile(q, 1)[:, None, None, None]


def size(D, q):
    return per_image(D.abs(), q).clamp_min(1)


def threshold(s=size, hold=lambda D, s: D.clamp(-s, s) / s):
    return lambda D, q: hold(D, s(D, q))


def threshold_one_by_one(D, q):
    out = []
    for one in D:
        s = max(1.0, one.abs().quantile(q).item())
        out.append((one / s).clamp(-1, 1))
    return torch.stack(out)


def threshold_by_the_library(D, q):
    return sd.guidance.dynamic_threshold(lambda x, t: x, q)(D, 0.5)


def two_sided(D, q):
    return D.clamp(per_image(D, 1 - q), per_image(D, q))


def root(S):
    values, vectors = torch.linalg.eigh(S)
    return vectors @ torch.diag(values.sqrt()) @ vectors.T


def trace_of_root(A, B):
    return torch.linalg.eigvals(A @ B).sqrt().sum().real


def frechet(cross=trace_of_root, means=lambda d: d.square().sum(), factor=2.0, traces=1.0):
    return lambda m1, A, m2, B: means(m1 - m2) + traces * (A + B).trace() - factor * cross(A, B)


def frechet_symmetric(m1, A, m2, B):
    return (m1 - m2) @ (m1 - m2) + (A + B - 2 * root(root(A) @ B @ root(A))).trace()


def frechet_complex(m1, A, m2, B):
    values, V = torch.linalg.eig(A @ B)
    return ((m1 - m2) ** 2).sum() + (A + B - 2 * V @ values.sqrt().diag() @ torch.linalg.inv(V)).trace()


RIGHT = {
    "ch06-kl": [kl(), kl_by_torch],
    "ch06-scale": [scale(), scale(lambda z: moments(z, correction=0)), scale_by_batch_norm],
    "ch06-cost": [cost(), cost_by_counting],
    "ch06-guidance": [guidance(), guidance(lambda c, u, w: (1 - w) * u + w * c), guidance_by_the_library],
    "ch06-threshold": [threshold(), threshold_one_by_one, threshold_by_the_library],
    "ch06-frechet": [frechet(), frechet_symmetric, frechet_complex],
}

MUTANTS = [
    ("ch06-kl", kl(factor=1), "1/2 missing"),
    ("ch06-kl", kl(over=lambda k: k.flatten(1).sum(1)), "summed over the numbers"),
    ("ch06-kl", kl(over=lambda k: k.mean()), "keep them apart"),
    ("ch06-kl", kl(factor=-0.5), "sign of the whole"),
    ("ch06-kl", kl(lambda m, v: m**2 + v.exp() - 1 + v), "sign of log var"),
    ("ch06-kl", kl(lambda m, v: m**2 + (2 * v).exp() - 1 - 2 * v), "taken for the log of the standard deviation"),
    ("ch06-kl", kl(lambda m, v: m**2 + (v / 2).exp() - 1 - v), "stands where the variance belongs"),
    ("ch06-kl", kl_reversed, "the other way round"),
    ("ch06-kl", kl(lambda m, v: m + v.exp() - 1 - v), "mean is not squared"),
    ("ch06-kl", kl(lambda m, v: v.exp() - 1 - v), "mean does not enter"),
    ("ch06-kl", kl(lambda m, v: m**2 + v.exp() - v), "-1 is missing"),
    ("ch06-scale", scale(lambda z: (z.mean(), z.std())), "for all channels"),
    ("ch06-scale", scale(lambda z: (0.0, z.std())), "0.18215"),
    ("ch06-scale", scale(lambda z: moments(z, 0)), "average over rows"),
    ("ch06-scale", scale(lambda z: moments(z, (1, 2, 3))), "each image has its own"),
    ("ch06-scale", scale(lambda z: moments(z, (2, 3))), "each image has its own"),
    ("ch06-scale", scale(lambda z: (0.0, moments(z)[1])), "the shift is missing"),
    ("ch06-scale", scale(lambda z: (moments(z)[0], 1.0)), "the scale is missing"),
    ("ch06-scale", scale(lambda z: (moments(z)[0], moments(z)[1] ** 2)), "divided by the variance"),
    ("ch06-scale", scale(there=lambda z, m, s: (z - m) * s), "multiplied by the standard deviation"),
    ("ch06-scale", scale(there=lambda z, m, s: z / s - m), "the shift comes first"),
    ("ch06-scale", scale(back=lambda u, m, s: u), "decoded as it is"),
    ("ch06-scale", scale(back=lambda u, m, s: (u - m) / s), "encoded once more"),
    ("ch06-scale", scale(back=lambda u, m, s: (u + m) * s), "wrong order"),
    ("ch06-scale", scale(back=lambda u, m, s: u / s + m), "divided by scale again"),
    ("ch06-scale", scale(back=lambda u, m, s: u * s), "the shift is not"),
    ("ch06-scale", scale(back=lambda u, m, s: u + m), "the scale is not"),
    ("ch06-scale", scale_by_u, "those of u"),
    ("ch06-cost", cost(places=lambda H, W, r: 1), "number of weights"),
    ("ch06-cost", cost(factor=2), "counted apart"),
    ("ch06-cost", cost(weights=1), "3 x 3 = 9 is missing"),
    ("ch06-cost", cost(weights=3), "not 3"),
    ("ch06-cost", cost(places=lambda H, W, r: H * W), "leaves only"),
    ("ch06-cost", cost(places=lambda H, W, r: H * W // r), "rows and columns"),
    ("ch06-cost", cost(first=lambda c, width, r: c * width), "makes c into"),
    ("ch06-cost", cost(first=lambda c, width, r: c * r * width), "not c r"),
    ("ch06-cost", lambda c, H, W, width, depth, r: cost()(c, H, W, width, depth, 1), "r does not enter"),
    (
        "ch06-cost",
        cost(
            first=lambda c, width, r: width, inner=lambda width, depth: depth * width, last=lambda c, width, r: c * r**2
        ),
        "channels that come in",
    ),
    ("ch06-cost", cost(first=lambda c, width, r: width), "c r^2 at both ends are missing"),
    ("ch06-cost", cost(last=lambda c, width, r: 0), "one of the two"),
    ("ch06-cost", cost(first=lambda c, width, r: 0), "convolutions at the ends are missing"),
    ("ch06-cost", cost(inner=lambda width, depth: width**2), "depth does not enter"),
    ("ch06-cost", cost(places=lambda H, W, r: (H // r - 2) * (W // r - 2)), "no border is lost"),
    ("ch06-guidance", guidance(acts=lambda low, sigma, high: True), "every sigma"),
    ("ch06-guidance", guidance(acts=lambda low, sigma, high: not low < sigma <= high), "inside out"),
    ("ch06-guidance", guidance(acts=lambda low, sigma, high: sigma <= high), "below the interval"),
    ("ch06-guidance", guidance(acts=lambda low, sigma, high: low < sigma), "above the interval"),
    ("ch06-guidance", guidance(outside=lambda c, u, w: u), "this is D_u"),
    ("ch06-guidance", guidance(outside=lambda c, u, w: 0 * c), "nothing is left"),
    ("ch06-guidance", guidance(outside=lambda c, u, w: w * c), "there w has no say"),
    ("ch06-guidance", guidance(lambda c, u, w: (1 + w) * c - w * u), "Ho and Salimans"),
    ("ch06-guidance", guidance(lambda c, u, w: c + w * (u - c)), "swapped"),
    ("ch06-guidance", guidance(lambda c, u, w: u - w * (c - u)), "sign is wrong"),
    ("ch06-guidance", guidance(lambda c, u, w: w * c), "w D_c alone"),
    ("ch06-guidance", guidance(lambda c, u, w: u + w * c), "the difference"),
    ("ch06-guidance", guidance(lambda c, u, w: w * (c - u)), "add D_u"),
    ("ch06-guidance", guidance(lambda c, u, w: w * c - u), "must add up to 1"),
    ("ch06-guidance", guidance(lambda c, u, w: c), "no guidance: this is D_c"),
    ("ch06-threshold", threshold(lambda D, q: D.abs().quantile(q).clamp_min(1)), "of the whole batch"),
    ("ch06-threshold", threshold(lambda D, q: per_image(D.abs(), q)), "s must be at least 1"),
    ("ch06-threshold", threshold(lambda D, q: per_image(D.abs(), q).clamp_max(1)), "s is at most 1"),
    ("ch06-threshold", threshold(hold=lambda D, s: D.clamp(-s, s)), "not divided by s"),
    ("ch06-threshold", threshold(hold=lambda D, s: D.clamp(-1, 1)), "static thresholding"),
    ("ch06-threshold", threshold(hold=lambda D, s: (D / s).clamp(-s, s)), "divided by s first"),
    ("ch06-threshold", threshold(hold=lambda D, s: D / s), "not clipped"),
    ("ch06-threshold", threshold(lambda D, q: per_image(D, q).clamp_min(1)), "that of |D|"),
    ("ch06-threshold", two_sided, "two quantiles of D"),
    ("ch06-threshold", threshold(lambda D, q: size(D, 1.0)), "the largest value"),
    (
        "ch06-threshold",
        threshold(lambda D, q: D.abs().flatten(2).quantile(q, 2)[:, :, None, None].clamp_min(1)),
        "each channel has its own",
    ),
    ("ch06-frechet", lambda *a: frechet()(*a).sqrt(), "leave it squared"),
    ("ch06-frechet", frechet(means=lambda d: d.norm()), "is not squared"),
    ("ch06-frechet", frechet(means=lambda d: d.square().mean()), "averaged"),
    ("ch06-frechet", frechet(means=lambda d: 0.0), "the means are missing"),
    ("ch06-frechet", frechet(factor=1), "the 2 of the last term"),
    ("ch06-frechet", frechet(factor=-2), "sign of the last term"),
    ("ch06-frechet", frechet(factor=0), "with the root of C1 C2, is missing"),
    ("ch06-frechet", frechet(traces=0), "traces of C1 and C2"),
    ("ch06-frechet", frechet(lambda A, B: (A @ B).trace()), "the root of C1 C2 is missing"),
    ("ch06-frechet", frechet(lambda A, B: (A @ B).trace().sqrt()), "trace of the root"),
    ("ch06-frechet", frechet(lambda A, B: (A @ B).sqrt().trace()), "the root of each entry"),
    ("ch06-frechet", frechet(lambda A, B: (A * B).abs().sqrt().trace()), "taken for independent"),
    ("ch06-frechet", frechet(lambda A, B: (root(A) @ root(B)).trace()), "product of the roots"),
    (
        "ch06-frechet",
        frechet(lambda A, B: torch.linalg.eigvalsh(A @ B).clamp_min(0).sqrt().sum()),
        "eigvalsh takes C1 C2",
    ),
    ("ch06-frechet", frechet(lambda A, B: torch.linalg.svdvals(A @ B).sqrt().sum()), "singular values"),
]


@pytest.mark.parametrize("key, answer", [(key, answer) for key, answers in RIGHT.items() for answer in answers])
def test_the_right_answer_passes(key, answer, capsys):
    assert_passes(key, answer, capsys)


@pytest.mark.parametrize("key, mutant, says", MUTANTS, ids=[f"{k}: {s} {n}" for n, (k, _, s) in enumerate(MUTANTS)])
def test_each_mutant_is_diagnosed_in_both_languages(key, mutant, says, capsys):
    assert_diagnosed(key, mutant, says, capsys)


@pytest.mark.parametrize("key", RIGHT)
def test_answers_that_return_nonsense_or_raise_are_told(key, capsys):
    shape = "return the pair" if key == "ch06-scale" else "3, 5, 7)"
    assert_nonsense_is_told(key, RIGHT[key][0], capsys, shape=shape)


def test_pixels_in_squares_cost_what_latents_cost():
    """The moral of the exercise: 16 channels in place of 4 at both ends, against sixteen times the places."""
    latents, squares, pixels = cost()(4, 8, 8, 64, 16, 1), cost()(1, 32, 32, 64, 16, 4), cost()(1, 32, 32, 64, 16, 1)
    assert 1 < squares / latents < 1.03 and 15 < pixels / latents < 16


NAMES = {
    "kl": "my_kl", "scale": "my_scale", "cost": "my_cost",
    "guidance": "my_guidance_within", "threshold": "my_threshold", "frechet": "my_frechet",
}  # fmt: skip


@pytest.mark.parametrize("edition", ["ja", "en"])
def test_the_printed_solutions_pass(edition, capsys):
    space = printed(edition, "06_latent_diffusion", {"torch": torch, "sd": sd})
    for key, name in NAMES.items():
        assert_passes(f"ch06-{key}", space[name], capsys)
