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
    assert "| DDIM |" in text and "–" in text and text.count("distance") == 2


def test_the_race_command(tmp_path, capsys):
    arguments = ["race", "--solvers", "ddim", "dpmpp_2m", "--grids", "karras", "--nfe", "5", "8", "--n", "32"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["race.json", "race.md", "race.png"]
    told = json.loads((tmp_path / "race.json").read_text())
    assert len(told["records"]) == 4 and "32 starts" in told["problem"]
    assert "| DPM++ 2M |" in capsys.readouterr().out
    assert main(["race", "--solvers", "dimm"]) == 1 and "did you mean 'ddim'" in capsys.readouterr().err
    assert main(["race", "--grids", "karas"]) == 1 and "'karras'" in capsys.readouterr().err


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
    own = tmp_path / "mine.py"
    own.write_text("def D(x, t):\n    return 0 * x + 0.25\n")
    out = tmp_path / "x.npz"
    assert main(["sample", "--denoiser", f"{own}:D", "--dim", "3", "--n", "4", "--steps", "3", "--out", str(out)]) == 0
    assert np.array_equal(np.load(out)["x"], np.full((4, 3), 0.25))
    for wrong in (str(own), f"{own}:E", "nowhere.py:D"):
        assert main(["sample", "--denoiser", wrong, "--out", str(out)]) == 1


def test_help_lists_every_solver_and_grid(capsys):
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    lines = capsys.readouterr().out.splitlines()
    for key in [r.key for r in sd.solvers.table] + list(sd.grids.table):
        found = [line for line in lines if line.split()[:1] == [key]]
        assert len(found) == 1 and len(found[0].split()) > 2, key
