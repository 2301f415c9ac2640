"""The page "which sampler": everything on it follows from stored measurements, and every answer has its evidence."""

import copy
import json
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import onepage
import pytest
import torch
from onepage import ROOT, alone
from sphinx.errors import ExtensionError

import sdelab as sd
from benchmarks import by_grid, decision, decision_tables, kept

LANGUAGES = ("ja", "en")
MADE = decision.read()


source = partial(onepage.source, "which_sampler")


def stored() -> dict:
    return kept(decision.FILE, {})


def plain(content):
    return json.loads(json.dumps(content))


def built(root: Path, language: str, text: str, results: dict | None = None) -> tuple[str, str]:
    """(the page's HTML, Sphinx's complaints) of a page with our extensions; results in place of the committed ones."""
    content = decision.FILE.read_text("utf8") if results is None else json.dumps(results)
    files = {"benchmarks/results/decision.json": content}
    return onepage.built(root, language, text, files, "book.extensions.solvers", "book.extensions.decision")


@pytest.fixture(scope="module", params=LANGUAGES)
def page(request, tmp_path_factory):
    """(language, the HTML of the page)."""
    text = alone(source(request.param))
    html, complaints = built(tmp_path_factory.mktemp(request.param), request.param, text)
    assert not complaints
    return request.param, html


def test_the_decisions_are_those_of_the_stored_measurements():
    """After a change of any measurement: `python -m benchmarks decision`."""
    assert plain(decision.compute(MADE)) == stored()


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("exact", "end"),
        ("learned", "end"),
        ("latent", "end"),
        ("latent", "law"),
        ("latent", "latent grids"),
        ("optimised", "fitted"),
    ],
)
def test_a_changed_measurement_is_seen(file, part):
    made = copy.deepcopy(MADE)
    if file == "optimised":
        made[file][0]["times"]["error"] *= 3
    elif (file, part) == ("latent", "law"):
        for report in made[file]["samplers"]["edm_heun"]["10"]:
            report["frechet"] /= 10
    elif part == "latent grids":
        made[file]["steps"]["errors"]["ddim"]["10"]["beta"] = [1e-6] * 5
    elif file == "latent":
        made[file]["rows"]["rows"]["lms_1"]["beta"]["10"]["error"] = 1e-6
    else:
        rows = made[file]["ring8:VP"]["rows"]["lms_1"]["beta"]["10"]
        rows[0] = [1e-6] * len(rows[0])
    assert plain(decision.compute(made))[part] != stored()[part]


def test_the_choice_by_another_route():
    """End points, exact laws, 10 calls: geometric means in logarithms over a dense array."""
    import numpy as np

    problems = [told["rows"] for name, told in MADE["exact"].items() if name != "setup"]
    names = [(k, g) for k in problems[0] for g in by_grid.GRIDS if k not in decision_tables.DERIVATIVES]
    table = np.array(
        [[rows.get(k, {}).get(g, {}).get("10", [[None]])[0][0] for k, g in names] for rows in problems], float
    )
    table[~(table > 0)] = math.nan
    logs = np.log(table) - np.log(np.nanmin(table, 1, keepdims=True))
    means = logs.mean(0)  # a choice that lacks a problem has none
    best = int(np.nanargmin(means))
    told = stored()["end"]["exact"]["10"]
    assert list(names[best]) == told["choice"] and told["regret"] == pytest.approx(math.exp(means[best]), rel=6e-3)
    assert told["worst"] == pytest.approx(math.exp(logs[:, best].max()), rel=6e-3)
    assert told["median"] == pytest.approx(math.exp(np.nanmedian(means)), rel=6e-3)


def test_regrets_of_a_made_up_table():
    """Two problems, three choices: the means, the worst, the company and what is tied, on paper."""
    a, b, c = ("a", "g"), ("b", "g"), ("c", "g")
    table = {"p": {"10": {a: [1.0], b: [2.0], c: [1.05]}}, "q": {"10": {a: [4.0], b: [1.0], c: [4.0]}}}
    found = decision.regrets(table, "10")
    assert found == {a: {"p": 1, "q": 4}, b: {"p": 2, "q": 1}, c: {"p": 1.05, "q": 4}}
    of = {k: decision_tables.geometric(r.values()) for k, r in found.items()}
    told = decision.ranking(of, {k: max(r.values()) for k, r in found.items()}, [a], lambda x, y: y == c)
    assert (
        told["choice"] == ["b", "g"] and told["regret"] == 1.41 and told["worst"] == 2 and told["named"] == {"a g": 2.0}
    )
    assert told["within"] == [] and told["tied"] == 1
    seeds = {"p": {"10": {a: [1.0, 2.0, 3.0], b: [1.1, 2.1, 3.1], c: [1.4, 1.7, 3.2]}}}
    assert not decision.noisy_tie(seeds, "10", a, b) and decision.noisy_tie(seeds, "10", a, c)
    luck = {("a", "g"): [0.0, 9.0, 9.0], ("b", "g"): [5.0, 5.0, 5.0]}
    assert decision.fair(luck) == [5.0, 9.0, 9.0] or decision.fair(luck)[0] == 5.0


def test_shares_of_a_made_up_table():
    """Errors that are a product of the factors leave nothing to their combination."""
    keys, grids, budgets = ("a", "b", "c"), by_grid.GRIDS, ("10", "20", "35")
    solver, grid, budget = (dict(zip(names, (1, 2, 8), strict=True)) for names in (keys, grids, budgets))
    at = {b: {(k, g): [solver[k] * grid[g] ** 2 / budget[b]] for k in keys for g in grids} for b in budgets}
    told = decision.shares({"exact": {"p": at}})["exact"]
    assert told["together"] == 0 and told["solver"] == told["budget"] == pytest.approx(1 / 6, abs=0.01)


def test_the_distance_to_a_law():
    """Two points of a shifted law, and Gaussians: W_1 of projections in closed form; a planted shift is seen."""
    measure = by_grid.Law(sd.distributions.gaussian((0.0, 0.0), 1.0), 4000)
    quiet = sd.distributions.gaussian((0.0, 0.0), 1.0).sample(4000, seed=7, dtype=torch.float64)
    assert measure.distance(quiet) < 0.05
    shift = torch.tensor([3.0, 0.0], dtype=torch.float64)
    assert measure.distance(quiet + shift) == pytest.approx(3 * 2 / math.pi, abs=0.05)  # mean of |cos|
    assert measure.distance(2 * quiet) == pytest.approx(math.sqrt(2 / math.pi), abs=0.05)  # E|z|


def test_one_network_again():
    """The first network of learned.json from its seed: the loss of the file would show in any of its figures."""
    from benchmarks import learned

    if MADE["learned"]["setup"]["torch"] != torch.__version__.partition("+")[0]:
        pytest.skip("measured with another version of torch")
    denoise, process, law = learned.trained("ring8:VP", 0)
    x_T = sd.noise.prior(process, (by_grid.STARTS, 2), seed=11, dtype=torch.float64)
    with torch.no_grad():
        found = by_grid.Law(law).distance(learned.converged(denoise, process, x_T, learned.FINE))
    assert found == pytest.approx(MADE["learned"]["ring8:VP"]["converged"][0], rel=0.05)


def test_floors_and_fine_solutions():
    """What the figures stand on: the ODE had converged, and no exact sample is far from its law."""
    for name, told in MADE["learned"].items():
        if name != "setup":
            assert max(told["truth"]) < 2e-3 and max(told["floor"]) < 0.06
            assert all(c < 3 * f for c, f in zip(told["converged"], told["floor"], strict=True))


def test_both_editions_show_the_same():
    """The same directives, roles, anchors, evidence and headings' levels, in the same order."""
    shown = {}
    for language in LANGUAGES:
        text = source(language)
        roles = re.findall(r"\{(decided|calls|row|grid)\}`([^`]+)`", text)
        directives = re.findall(r"```\{(sdelab-[a-z-]+)\} ?(.*)\n", text)
        levels = [len(mark) for mark in re.findall(r"^(#+) ", text, re.M)]
        links = sorted(re.findall(r"\]\(([^)]*)\)", text.replace("/ja/", "/en/")))
        shown[language] = (
            directives,
            sorted(roles),
            re.findall(r"^\((.*)\)=$", text, re.M),
            levels,
            links,
            evidence(text),
        )
    assert shown["ja"] == shown["en"]


def evidence(text: str) -> list[str]:
    return re.findall(r"`(test_\w+::test_\w+)`", text)


def test_every_answer_names_tests_that_there_are():
    for language in LANGUAGES:
        text = source(language).partition("(decision-questions)=")[2]
        answers = re.findall(r"^\*\*.+$", text, re.M)
        assert len(answers) >= 19
        assert all(evidence(answer) for answer in answers)
        for name in evidence(text):
            file, test = name.split("::")
            assert f"def {test}(" in (ROOT / "tests" / f"{file}.py").read_text("utf8"), name


def test_messages_that_the_page_quotes():
    """Each in the very words; "…" leaves something out."""
    flow, x = sd.process.RectifiedFlow(), torch.ones(2, 2)
    ode = sd.Reverse(flow, lambda x, t: x, 0.0)
    quoted = {
        "a 'eps' prediction does not determine x_0 at t = 1.0 … use another target there, e.g. 'v' or 'x0'": lambda: (
            sd.targets.convert(x, x, 1.0, flow, "eps", "x0")
        ),
        "a reverse equation runs from noise to data: times must decrease (data at 0, noise at T)": lambda: sd.solve(
            ode, sd.Euler(), x, [0.1, 0.9]
        ),
        "the Brownian path covers [0.0, 1.0] and was asked for t = 1.1": lambda: sd.Brownian((3,), 0.0, 1.0, seed=0)(
            0.3, 1.1
        ),
    }
    for text, call in quoted.items():
        with pytest.raises(ValueError) as caught:
            call()
        assert all(part.strip() in str(caught.value) for part in text.split("…"))
        assert all(text in source(language) for language in LANGUAGES)


def test_the_first_table_can_be_run(page):
    """Every call that the page recommends, on a law."""
    _, html = page
    process = sd.process.VP()
    names = {"sd": sd, "process": process, "D": sd.distributions.ring().denoiser(process)}
    names |= {"x_T": sd.noise.prior(process, (8, 2), seed=0), "x": sd.noise.prior(process, (8, 2), seed=1)}
    first = re.search(r"<table.*?</table>", html, re.S)
    assert first
    calls = [re.sub("<[^>]+>", "", c) for c in re.findall(r"<code[^>]*>(.*?)</code>", first[0], re.S)]
    calls = [c.replace("&quot;", '"') for c in calls]
    run = [c for c in calls if c.startswith("solver=")]
    assert len(run) == len(stored()["end"]["all"]) + len(stored()["law"]["all"]) + 1
    for arguments in run:
        assert eval(f"sd.sample(D, process, x_T, {arguments})", names).shape == (8, 2)
    names["solver"] = sd.solvers.row("dpmpp_2m").make()
    (fit,) = (c for c in calls if c.startswith("sd.grids.optimise"))
    times = eval(fit, names)
    assert times[-1] == 0 and sd.solve(sd.Reverse(process, names["D"], 0.0), names["solver"], names["x_T"], times).shape


def test_links_lead_to_the_page_of_solvers(page):
    _, html = page
    keys = re.findall(r'href="solvers\.html#solver-([^"]+)"', html)
    assert len(keys) > 50 and not [key for key in keys if key not in {row.key for row in sd.solvers.table}]


def test_what_the_prose_says():
    """The sentences that no figure in them proves."""
    made = stored()
    end, law, one_call = made["end"], made["law"], {row.key for row in sd.solvers.table if row.nfe == 1}
    for kind in decision.KINDS:
        assert all(told["choice"][0] in one_call for told in end[kind].values())
        share = made["shares"][kind]
        assert share["grid"] < share["solver"] < share["budget"] and 0.2 < share["solver"] < 0.37
    assert all(end[k][b]["choice"][1] == "exponential" for k in ("exact", "learned") for b in ("10", "20", "35"))
    assert end["learned"]["10"]["median"] < end["exact"]["10"]["median"]
    assert all(told["choice"][1] == "karras" for told in end["latent"].values())
    first, best = end["learned"]["20"]["first"], end["learned"]["20"]["choice"]
    assert len({tuple(c) for name, c in first.items() if "ring8" in name}) == 1 and best not in first.values()
    assert first["ring8:VP 0"] != first["moons:EDM 0"]
    assert all(r["converged"] < r["floors"][1] for r in made["noise"] if r["kind"] == "learned")
    assert law["all"]["10"]["named"]["dpmpp_3m_sde karras"] > 5 and max(law["all"]["35"]["named"].values()) < 2
    assert all(end["latent"][b]["choice"][0] in ("deis_3", "deis_4", "unipc_3_noise") for b in ("10", "20", "35"))
    assert law["latent"]["10"]["choice"] == ["ddim", "karras"]
    assert end["all"]["10"]["named"]["deis_3 karras"] < 0.6 * end["all"]["10"]["named"]["dpmpp_2m karras"]
    cross = made["cross"]["10"]
    assert cross["least"]["beta"] > cross["most"]["exponential"]  # the grid matters more than the name
    spread = cross["most"]["beta"] / cross["least"]["beta"]
    assert spread < 1.25
    for key in ("unipc_3_bh2", "dpmpp_3m"):
        assert cross["rows"][key]["karras"] > 2 * cross["rows"][key]["exponential"]
    better = {(r["kind"], r["problem"], r["calls"]): r["better"] for r in made["noise"]}
    assert {word for (kind, _, calls), word in better.items() if kind == "exact" and calls >= 8} == {"same"}
    few, many = (
        {word for (k, _, n), word in better.items() if k == "learned" and n in at} for at in ((5, 8), (20, 35))
    )
    assert "no noise" in few and "noise" not in few and many == {"same"}
    assert [better["latent", "latent", n] for n in (10, 20, 35)] == ["same", "noise", "same"]
    assert next(r["sde"][0] for r in made["noise"] if (r["kind"], r["calls"]) == ("latent", 20)) == "dpmpp_sde"
    gains = {kind: [r for r in made["fitted"] if r["kind"] == kind] for kind in decision.KINDS}
    assert all(r["optimised"] > 1 for part in gains.values() for r in part)
    exact = {r["calls"]: r["optimised"] for r in gains["exact"]}
    assert exact[5] < exact[10] < exact[20] < exact[35] and all(r["equal_error"] > 1 for r in gains["exact"])
    on_latents = made["fitted latent"]
    assert 1 < on_latents["5"] < on_latents["10"] < on_latents["20"] and all(
        r["equal_error"] < 1 for r in gains["latent"]
    )
    assert {made["latent grids"][key][n]["grid"] for key in made["latent grids"] for n in ("5", "10")} == {"flow_shift"}


@pytest.mark.parametrize("text", ["{decided}`shares/latent/sovler`", "{row}`dmi`", "{decided}`end/exact/7/choice`"])
def test_what_is_missing_stops_the_build(text, tmp_path):
    with pytest.raises((ExtensionError, ValueError)):
        built(tmp_path, "en", f"# Page\n\n{text}\n", plain(stored()))


def test_dpm_adaptive_beside_a_fixed_grid_as_chapter_5b_says():
    """Calls over those of the fixed grid for the same error, by interpolation: above 1 if loose, below if tight."""
    for records in sd.claims.measured("adaptive").values():
        fixed = sorted((r["nfe"], r["error"]) for r in records if r["what"] == "exp_adams_2c, exponential grid")
        calls, errors = (np.log([pair[k] for pair in fixed]) for k in (0, 1))
        order = np.polyfit(calls[-2:], errors[-2:], 1)[0]  # beyond the last budget: its slope goes on
        far = np.append(calls, calls[-1] + 3), np.append(errors, errors[-1] + 3 * order)
        mine = {r["tol"]: r for r in records if r["what"] == "dpm_adaptive"}
        ratio = {tol: r["nfe"] / math.exp(np.interp(-math.log(r["error"]), -far[1], far[0])) for tol, r in mine.items()}
        assert ratio[1e-1] > 1 and ratio[1e-2] > 1 and mine[1e-2]["error"] < 1e-3
        assert ratio[1e-5] < 0.8 and mine[1e-4]["error"] < 5e-5 and ratio[1e-4] < 1
