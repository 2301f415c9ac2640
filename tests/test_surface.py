"""The public surface, the house rules that a machine can see, and the devices."""

import ast
import pathlib
import re

import pytest
import torch

import sdelab as sd
from sdelab import claims, exercises

ROOT = pathlib.Path(sd.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
FORBIDDEN = (
    r"\bmanual_seed\(|torch\.(randn|rand|randint|normal|randperm)\(|np\.random\.(seed|rand|randn|normal)\b"
    r"|import pickle|torch\.load\(|allow_pickle=True"
)


def test_every_public_name_is_there_and_documented():
    for name in sd.__all__:
        assert getattr(sd, name).__doc__, f"sd.{name} has no docstring"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        sd.nothing  # noqa: B018


def test_table_rows_say_everything():
    for row in sd.solvers.table:
        assert row.key and row.name and row.paper and row.make().nfe == row.nfe and row.make().order == row.order
        assert type(row.make()).__doc__ and row.oracle and row.eta >= 0
        assert row.stochastic or (row.strong is None and row.eta == 0)
        assert row.claimed in (None, row.order) or row.note, f"{row.key}: say why the order is not the one claimed"
    assert len({row.key for row in sd.solvers.table}) == len(sd.solvers.table)


@pytest.mark.parametrize(
    "name, told",
    [
        ("DPM++ 2M Karras", "'dpmpp_2m' and grid='karras'"),
        ("DPM++ 3M SDE Exponential", "'dpmpp_3m_sde' and grid='exponential'"),
        ("DPM2 a SGM Uniform", "'dpm_2_ancestral' and grid='sgm_uniform'"),
        ("DPM fast", "did you mean 'dpm_fast'\\?"),
        ("DPM adaptive", "did you mean 'dpm_adaptive'\\?"),
        ("Euler a", "did you mean 'euler_ancestral'\\?"),
        ("LMS Karras", "'lms' and grid='karras'"),
        ("UniPC", "did you mean 'unipc'"),
        ("dpmpp2m", "did you mean 'dpmpp_2m'"),
        ("xyzzy", "sd.solvers.table lists them all"),
    ],
)
def test_names_of_image_tools_lead_to_rows(name, told):
    with pytest.raises(ValueError, match=told):
        sd.solvers.row(name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_global_random_state_and_no_pickle(path):
    text = path.read_text("utf8")
    lines = [line for line in text.splitlines() if re.search(FORBIDDEN, line) and "generator=" not in line]
    assert not lines


LAYERS = [
    "_checks",
    "noise",
    "brownian",
    "levy",
    "draws",
    "sde",
    "process",
    "targets",
    "distributions",
    "reverse",
    "grids",
    "solvers",
    "solve",
    "fit",
    "encoding",
    "likelihood",
    "guidance",
    "checkpoint",
    "nets",
    "score_matching",
    "train",
    "latent",
    "classify",
    "models",
    "early_exit",
]


def test_imports_go_downwards():
    """A module of the core imports only what stands before it in the list."""
    for path in SOURCES:
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room not in LAYERS:
            continue
        depth = len(path.relative_to(ROOT).parts)
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                used = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
                for other in used:
                    assert LAYERS.index(other) < LAYERS.index(room), f"{path.name} imports {other}"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("row", sd.solvers.table, ids=lambda r: r.key)
def test_devices(row, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    process, law = sd.process.VP(), sd.distributions.ring()
    for dtype in (torch.float32, torch.float64):
        x = sd.noise.prior(process, (16, 2), seed=1, dtype=dtype, device=device)
        out = sd.sample(law.denoiser(process), process, x, solver=row.key, grid="logsnr", steps=12, seed=2)
        assert out.device.type == device and out.dtype == dtype
        reference = sd.sample(law.denoiser(process), process, x.cpu(), solver=row.key, grid="logsnr", steps=12, seed=2)
        if row.order < 5:
            tolerance = 1e-9 if dtype == torch.float64 else 5e-3
            torch.testing.assert_close(out.cpu(), reference, rtol=tolerance, atol=tolerance)


def test_verdicts_are_computed(capsys):
    assert claims.verdict("U1", {"rate": True, "limit": True}, slope=1.0041) == "holds"
    assert claims.verdict("U1", {"rate": True, "limit": False}) == "holds partly"
    assert claims.verdict("U1", {"rate": False}) == "does not hold"
    others = {"b": torch.tensor(0.12345), "c": torch.ones(()).numpy()}
    claims.verdict("U2", {"": True}, a=0.12345, **others, d=3, e="x")  # type: ignore[arg-type]
    told = capsys.readouterr().out
    assert "VERDICT U1: holds (slope = 1)" in told and "(a = 0.123, b = 0.123, c = 1, d = 3, e = x)" in told
    with pytest.raises(ValueError, match="at least one check"):
        claims.verdict("U1", {})


def test_exercise_framework(capsys):
    @exercises.exercise("test-double", hint={"en": "twice", "ja": "2倍"})
    def _(answer):
        if answer(2) == 2:
            return {"en": "that is the identity", "ja": "恒等写像になっている"}
        return None if answer(2) == 4 else {"en": "no", "ja": "違う"}

    try:
        assert exercises.check("test-double", lambda x: 2 * x)
        assert not exercises.check("test-double", lambda x: x)
        assert not exercises.check("test-double", lambda x: x / 0)
        exercises.hint("test-double")
        told = capsys.readouterr().out
        assert (
            "PASS test-double: 正解。" in told and "恒等写像" in told and "ZeroDivisionError" in told and "HINT" in told
        )
        with pytest.raises(ValueError, match="did you mean 'test-double'"):
            exercises.check("test-duble", None)
        with pytest.raises(ValueError, match="registered twice"):
            exercises.exercise("test-double", hint={})(lambda answer: None)
    finally:
        del exercises.table["test-double"]
