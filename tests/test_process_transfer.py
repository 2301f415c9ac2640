"""sd.process.transfer: against exact denoisers of both processes, in all pairs, and at the ends."""

import itertools

import pytest
import torch

import sdelab as sd

F64 = torch.float64
PROCESSES = [
    sd.process.VP(), sd.process.VE(), sd.process.EDM(), sd.process.Cosine(), sd.process.RectifiedFlow(),
    sd.process.SubVP(),
]  # fmt: skip
LAW = sd.distributions.moons()


@pytest.mark.parametrize(("source", "target"), list(itertools.permutations(PROCESSES, 2)), ids=lambda p: p.name)
def test_is_the_exact_denoiser_of_the_other_process(source, target):
    moved = sd.process.transfer(LAW.denoiser(source), source, target)
    x0, eps = LAW.sample(50, seed=1, dtype=F64), sd.noise.normal((50, 2), seed=2, dtype=F64)
    low, high = max(source.lam(source.T), target.lam(target.T), -4.0), 3.0
    lam = torch.linspace(float(low), high, 50, dtype=F64)
    t = target.t_of_lam(lam)
    x = target.perturb(x0, t, eps)
    torch.testing.assert_close(moved(x, t), LAW.denoiser(target)(x, t), rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(moved(x, t[7]), LAW.denoiser(target)(x, t[7]), rtol=1e-7, atol=1e-8)
    wrong = LAW.denoiser(source)(x, source.t_of_lam(lam))  # the state not brought to the source's units
    if not torch.allclose(source.alpha(source.t_of_lam(lam)), target.alpha(t), atol=1e-6):
        assert (wrong - LAW.denoiser(target)(x, t)).abs().max() > 1e-3


def test_ends():
    flow, edm = sd.process.RectifiedFlow(), sd.process.EDM()
    moved = sd.process.transfer(LAW.denoiser(edm), edm, flow)
    x = sd.noise.normal((5, 2), seed=3, dtype=F64)
    torch.testing.assert_close(moved(x, 0.0), x)
    edm_T = LAW.denoiser(edm)(x * (1 + edm.T**2) ** 0.5, edm.T)  # alpha = 0: as the source's noisiest state
    torch.testing.assert_close(moved(x, 1.0), edm_T)
    back = sd.process.transfer(LAW.denoiser(flow), flow, edm)
    torch.testing.assert_close(back(x, 0.0), x)
