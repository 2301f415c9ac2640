"""The race and its commands: honest counts, errors against the converged solution, files written whole."""

import json

import numpy as np
import pytest
import torch

import sdelab as sd
from sdelab import race
from sdelab.__main__ import main

F64 = torch.float64
LAW, VP = sd.distributions.ring(), sd.process.VP()
DENOISE = LAW.denoiser(VP)


OWN = """import torch
def D(x, t):
    return 0 * x + 0.25
denoise = torch.nn.Linear(2, 2).double()
def flat(x, t):
    return x[:, 0]
def nothing(x, t): ...
def single(x):
    return x
def fails(x, t):
    raise KeyError("weights")
def network(x, t):
    return denoise(x)
"""


def test_the_converged_solution_by_another_route():
    """RK4 in log(sigma/alpha) against adaptive Dormand–Prince in t."""
    x_T = race.starts(VP, 40, 2, seed=3)
    ours = race.converged(DENOISE, VP, x_T, VP.t_min)
    solver = sd.Adaptive(rtol=1e-10, atol=1e-10)
    theirs = sd.solve(sd.Reverse(VP, DENOISE, 0.0), solver, x_T, [VP.T, VP.t_min])
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_records_count_calls_and_measure_errors():
    x_T = race.starts(VP, 200, 2, seed=3)
    rows = [sd.solvers.row(key) for key in ("heun", "ddim", "ddpm", "rk45", "rk4")]
    records = race.run(DENOISE, VP, x_T, law=LAW, rows=rows, grid_names=["exponential"], budgets=(3, 9))
    by = {(r["solver"], r["budget"]): r for r in records}
    assert len(records) == 8 and by["heun", 9]["nfe"] == 8 and by["ddpm", 9]["nfe"] == 9  # rk45 has no budget
    assert by["rk4", 3]["error"] is None and "too few" in by["rk4", 3]["why"]
    truth = race.converged(DENOISE, VP, x_T, VP.t_min)
    ddim = sd.solve(sd.Reverse(VP, DENOISE, 0.0), sd.ExpEuler(), x_T, sd.grids.logsnr(VP, 9))
    assert by["ddim", 9]["error"] == pytest.approx(float((ddim - truth).norm(dim=1).mean()))
    x = sd.sample(DENOISE, VP, x_T, solver="ddpm", grid="exponential", nfe=9, final="stop")
    exact = LAW.at(VP, VP.t_min).sample(200, seed=1, dtype=F64)
    assert by["ddpm", 9]["kind"] == "law"
    assert by["ddpm", 9]["error"] == pytest.approx(float(sd.metrics.sliced_wasserstein(x, exact)))
    assert race.floor(LAW, VP, 40_000) < 0.5 * race.floor(LAW, VP, 200)
    assert race.best(records, "ddim", 9) is by["ddim", 9] and race.best(records, "rk4", 3) is None
    text = race.markdown(records)
    assert "| DDIM | `ddim` |" in text and "–" in text and text.count("distance") == 2
    assert text.endswith("- –: 3 network calls are too few for RK4: it needs 4 for a step\n")
    told = race.text(records, "a problem", floor=0.125)
    assert max(map(len, told.splitlines())) <= 80 and "1.2e-01 apart" in told
    ranks = [line.split() for line in told.splitlines() if line.startswith(("heun", "ddim", "rk4"))]
    assert [line[0] for line in ranks] == sorted(["heun", "ddim", "rk4"], key=lambda key: by[key, 9]["error"])
    assert ["rk4", "–", f"{by['rk4', 9]['error']:.1e}"] in ranks


def test_the_picture(tmp_path, monkeypatch):
    """A curve a solver, told apart even where two agree; ticks are the budgets; the floor is drawn."""
    figures, subplots = [], race.plot.plt.subplots
    monkeypatch.setattr(race.plot.plt, "subplots", lambda *a, **k: figures.append(subplots(*a, **k)) or figures[-1])
    x_T = race.starts(VP, 50, 2, seed=3)
    rows = [sd.solvers.row(key) for key in ("ddim", "edm_euler", "ddpm", "euler_ancestral")]
    records = race.run(DENOISE, VP, x_T, law=LAW, rows=rows, grid_names=["exponential"], budgets=(4, 9))
    race.picture(records, tmp_path / "race.png", floor=0.125)
    ((_, axes),) = figures
    for ax in axes[0]:
        first, second = ax.lines[:2]
        assert first.get_ydata() == pytest.approx(second.get_ydata(), rel=1e-9)
        assert first.get_color() != second.get_color() and first.get_linestyle() != second.get_linestyle()
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["4", "9"] and not ax.get_xticks(minor=True).size
    assert [list(line.get_ydata()) for line in axes[0, 1].lines[2:]] == [[0.125, 0.125]] and len(axes[0, 0].lines) == 2


def test_the_race_command(tmp_path, capsys):
    arguments = ["race", "--solvers", "ddim", "dpmpp_2m", "--grids", "karras", "--nfe", "5", "8", "--n", "32"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["race.json", "race.md", "race.png"]
    told = json.loads((tmp_path / "race.json").read_text())
    assert len(told["records"]) == 4 and "32 starts" in told["problem"]
    assert "\ndpmpp_2m " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("race --solvers dimm", "did you mean 'ddim' (DDIM)"),
        ("race --grids karas", "'karras'"),
        ("race --solvers ddim rk45", "rk45 chooses its own number of calls"),
        ("race --solvers rk4 --nfe 2 --n 8", "too few for RK4"),
        ("race --solvers ddpm --denoiser {own}:D", "race it with --law"),
        ("race --nfe 0", "--nfe: must be a whole number above 0"),
        ("sample --solver dimm", "did you mean 'ddim' (DDIM)"),
        ("sample --solver DPM++2M", "did you mean 'dpmpp_2m' (DPM++ 2M)"),
        ("sample --solver zzzz", "sample --help"),
        ("sample --grid karas", "'karras'"),
        ("sample --law rnig", "invalid choice: 'rnig'"),
        ("sample --process pv", "invalid choice: 'pv'"),
        ("sample --steps", "--steps: expected one argument"),
        ("sample --steps 0", "--steps: must be a whole number above 0, not '0'"),
        ("sample --n -5", "--n: must be a whole number above 0"),
        ("sample --steps 5 --nfe 5", "either steps or nfe"),
        ("sample --solver picard", "give its steps"),
        ("sample --solver rk45 --nfe 9", "not nfe"),
        ("sample --eta 1", "eta"),
        ("sample --out x.txt", "--out must end in .npz or .png"),
        ("sample --denoiser model.pt", "takes FILE.py:NAME"),
        ("sample --denoiser {own}", "takes FILE.py:NAME"),
        ("sample --denoiser {folder}/mien.py:D", "did you mean mine.py"),
        ("sample --denoiser {own}:denoiser", "did you mean 'denoise'"),
        ("sample --denoiser {own}:flat", "not (2,)"),
        ("sample --denoiser {own}:nothing", "not NoneType"),
        ("sample --denoiser {own}:single", "takes 1 positional argument but 2 were given"),
        ("sample --denoiser {own}:fails", "KeyError: 'weights' ({own}, line 11)"),
        (
            "sample --denoiser {folder}/broken.py:D",
            "No module named 'nothing_of_that_name' ({folder}/broken.py, line 1)",
        ),
        ("sample --denoiser {folder}/unclosed.py:D", "SyntaxError"),
        ("smaple", "invalid choice: 'smaple'"),
        ("", "required: COMMAND"),
    ],
    ids=lambda value: value,
)
def test_mistakes_end_with_a_message(arguments, told, tmp_path, capsys, monkeypatch):
    """A status above 0, one message that names what was meant, no traceback, no file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "unclosed.py").write_text("def D(x, t:\n")
    before = {p.name for p in tmp_path.iterdir() if p.name != "__pycache__"}
    places = {"own": tmp_path / "mine.py", "folder": tmp_path}
    words = [word.format(**places) for word in arguments.split()]
    try:
        status = main(words)
    except SystemExit as stopped:
        status = stopped.code
    out, err = capsys.readouterr()
    assert status in (1, 2) and not out
    assert told.format(**places) in err and "error: " in err and "Traceback" not in err
    assert {p.name for p in tmp_path.iterdir() if p.name != "__pycache__"} == before


def test_the_sample_command(tmp_path, capsys):
    out = tmp_path / "x.npz"
    assert main(["sample", "--solver", "ddpm", "--nfe", "7", "--n", "50", "--seed", "4", "--out", str(out)]) == 0
    assert "7 network calls" in capsys.readouterr().out
    x_T = sd.noise.prior(VP, (50, 2), seed=4, dtype=F64)
    ours = sd.sample(DENOISE, VP, x_T, solver="ddpm", nfe=7, seed=4)
    assert np.array_equal(np.load(out)["x"], ours.numpy())
    assert main(["sample", "--n", "50", "--steps", "4", "--out", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    assert (
        main(["sample", "--n", "5", "--out", str(tmp_path / "x.txt")]) == 1 and "--out must" in capsys.readouterr().err
    )


def test_a_denoiser_of_ones_own(tmp_path, capsys):
    own, out = tmp_path / "mine.py", tmp_path / "made" / "x.npz"
    own.write_text(OWN)
    assert main(["sample", "--denoiser", f"{own}:D", "--dim", "3", "--n", "4", "--steps", "3", "--out", str(out)]) == 0
    assert np.array_equal(np.load(out)["x"], np.full((4, 3), 0.25))
    assert main(["sample", "--denoiser", f"{own}:network", "--n", "4", "--steps", "3", "--out", str(out)]) == 0
    race = ["race", "--denoiser", f"{own}:network", "--solvers", "ddim", "--nfe", "3", "--n", "4"]
    assert main([*race, "--out", str(tmp_path / "race")]) == 0 and "\nddim " in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
def test_help_lists_every_solver_and_grid(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert max(map(len, lines)) <= columns and ":func:" not in told
    for key in [r.key for r in sd.solvers.table] + list(sd.grids.table):
        found = [line for line in lines if line.split()[:1] == [key]]
        assert len(found) == 1 and len(found[0].split()) > 2, key
