"""Compiled kernels and bfloat16: where they are asked for and there, and nowhere else."""

import dataclasses
import functools
import platform

import pytest
import torch

import sdelab as sd
from sdelab import nets, recipes, studio, train
from sdelab.data import Dataset
from sdelab.train.kernels import compiled

STREAM = functools.partial(sd.distributions.ring().sample, seed=1)


def small():
    return nets.Denoiser(nets.MLP(2, width=8, depth=1), sd.process.VP())


@pytest.fixture
def asked(monkeypatch):
    """What torch.compile is asked for; it then traces without making kernels, which would take half a minute."""
    seen, real = [], torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: (seen.append(how), real(f, backend="eager"))[1])
    monkeypatch.setenv("CXX", "true")
    return seen


def test_the_network_is_compiled_in_the_copy_that_learns(asked):
    start = small()
    run = train.fit(start, STREAM, steps=3, batch=8, compile=True)
    assert asked == [{"mode": None}]
    plain = train.fit(start, STREAM, steps=3, batch=8)
    assert len(asked) == 1
    torch.testing.assert_close(run.losses, plain.losses, rtol=1e-5, atol=0)
    for model in (start, run.denoiser, run.ema):
        assert model.network._compiled_call_impl is None


def test_on_a_gpu_as_cuda_graphs_and_part_by_part(asked):
    compiled(nets.Autoencoder(1, 2, 8), torch.device("cuda"))
    assert asked == 2 * [{"mode": "reduce-overhead"}]  # encoder and decoder


def test_without_a_compiler_it_is_told(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"needs the compiler no-such-compiler.*install it, or leave it out"):
        train.fit(small(), STREAM, steps=1, compile=True)


def test_compiled_training_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    data = sd.noise.normal((64, 1, 8, 8), 0)
    for bf16, rtol in ((False, 1e-3), (True, 5e-2)):
        start = nets.Denoiser(nets.UNet(1, 16, 2), sd.process.EDM()).cuda()
        runs = [train.fit(start, data, steps=20, batch=32, bf16=bf16, compile=c) for c in (False, True)]
        torch.testing.assert_close(runs[1].losses, runs[0].losses, rtol=rtol, atol=rtol)


def test_bfloat16_only_where_there_are_units_for_it(monkeypatch, tmp_path, capsys):
    cpu = torch.device("cpu")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert studio.has_bfloat16(cpu) is has
        assert ("cpu: no units for bfloat16" in capsys.readouterr().out) is not has
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has: has)
        assert studio.has_bfloat16(torch.device("cuda")) is has
    capsys.readouterr()
    images = sd.noise.normal((8, 1, 8, 8), 0).clamp(-1, 1)
    recipe = recipes.AutoencoderRecipe(steps=1, batch=4, every=1, warmup=0, width=8)
    for wanted, says in ((True, "float32"), (False, "")):
        folder = tmp_path / str(wanted)
        data = Dataset(images, torch.zeros(8).long(), ("a",))
        studio.autoencoder(data, dataclasses.replace(recipe, bf16=wanted), folder, held_out=images)
        assert sd.checkpoint.load(folder / studio.RUN)[1]["bf16"] is False
        assert says in capsys.readouterr().out
