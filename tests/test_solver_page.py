"""The book's page of solvers: nothing of the table is missing, nothing is typed, nothing is left in English."""

import re
from functools import partial
from pathlib import Path

import onepage
import pytest
import yaml
from onepage import ROOT, alone
from sphinx.errors import ExtensionError

import sdelab as sd
from benchmarks import RESULTS, kept
from benchmarks.__main__ import SOLVERS
from book.extensions.bench import short

TABLE = {row.key: row for row in sd.solvers.table}
NAMES = ("diffusers ", "k-diffusion ", "torchsde ", "torchdiffeq ", "scipy ", "diffrax ")  # oracles that need no words
LANGUAGES = ("ja", "en")


source = partial(onepage.source, "solvers")


def built(root: Path, language: str, text: str, results: dict | None = None) -> tuple[str, str]:
    """(the page's HTML, Sphinx's complaints) of a page with our extensions; results in place of the committed ones."""
    if results is None:
        results = {name: (RESULTS / f"{name}.json").read_text("utf8") for name in (*SOLVERS, "latent")}
    files = {f"benchmarks/results/{name}.json": content for name, content in results.items()}
    files |= {"book/solver_notes.yml": (ROOT / "book" / "solver_notes.yml").read_text("utf8")}
    return onepage.built(root, language, text, files, "book.extensions.solvers", "book.extensions.bench")


@pytest.fixture(scope="module", params=LANGUAGES)
def page(request, tmp_path_factory):
    """(language, the HTML of the page)."""
    text = alone(source(request.param))
    html, complaints = built(tmp_path_factory.mktemp(request.param), request.param, text)
    assert not complaints
    return request.param, html


def test_every_solver_stands_once_on_the_page_with_what_was_measured(page):
    language, html = page
    rows = re.findall(r'<tr[^>]* id="solver-([^"]+)">(.*?)</tr>', html, re.S)
    assert sorted(key for key, _ in rows) == sorted(TABLE)
    measured = kept(RESULTS / "orders.json", {})
    for key, cells in rows:
        calls, claimed, stated, found, remarks = (
            re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", cells, re.S)
        )
        row = TABLE[key]
        assert calls == f"{row.nfe}" and f"{row.order:g}" in stated, key
        assert f"{row.order if row.claimed is None else row.claimed:g}" in claimed, key
        assert ("<strong>" in cells) == (row.claimed is not None), key
        values = [float(text) for text in re.findall(r"[\d.]+(?=,|$)", found.replace("−", "-"))]
        assert values == [pytest.approx(abs(value), abs=0.006) for value in measured[key].values()], key
        assert values or row.adaptive or row.note, f"{key} has no measured order and does not say why"
        assert bool(re.search("[\u3041-\u30ff\u4e00-\u9fff]", remarks)) == (language == "ja"), key


def test_links_to_rows_lead_to_rows(page):
    _, html = page
    leads = re.findall(r'href="#([^"]+)"', html)
    assert any(name.startswith("solver-") for name in leads)
    assert not [name for name in leads if f'id="{name}"' not in html]


def test_the_measured_orders_are_those_stated():
    """The committed file belongs to the table at hand: all rows, each within what the order tests allow."""
    measured = kept(RESULTS / "orders.json", {})
    assert list(measured) == list(TABLE), "run `python -m benchmarks orders`"
    for key, found in measured.items():
        for kind, value in found.items():
            stated = TABLE[key].strong if kind == "strong" else TABLE[key].order
            assert value == pytest.approx(stated, abs=0.15), f"{key}, {kind}: run `python -m benchmarks.orders {key}`"


def test_every_note_has_its_japanese():
    words = yaml.safe_load((ROOT / "book" / "solver_notes.yml").read_text("utf8"))
    needed = {row.note for row in TABLE.values() if row.note}
    needed |= {part for row in TABLE.values() for part in row.oracle.split("; ")
               if not part.startswith(NAMES) and part not in TABLE}  # fmt: skip
    missing = needed - set(words)
    assert not missing, f"put the Japanese into book/solver_notes.yml: {missing}"
    spare = set(words) - needed - {part for row in TABLE.values() for part in row.oracle.split("; ")}
    assert not spare, f"no row says this any more, take it out of book/solver_notes.yml: {spare}"
    assert all(re.search("[\u3041-\u30ff\u4e00-\u9fff]", text) for text in words.values())


def test_both_editions_show_the_same():
    """The same directives with the same arguments; the same figures and solvers wherever the text names them."""
    shown = {}
    for language in LANGUAGES:
        text = source(language)
        roles = re.findall(r"\{(measured|calls|solver|grid)\}`([^`]+)`", text)
        directives = re.findall(r"```\{(sdelab-[a-z-]+)\} ?(.*)\n(:.*)?", text)
        shown[language] = directives, sorted(roles), re.findall(r"^\((.*)\)=$", text, re.M)
    assert shown["ja"] == shown["en"]


def test_every_benchmark_is_on_the_page():
    used = {"orders", *re.findall(r"\{sdelab-(overhead|race|stochastic|adaptive|optimised)\b", source("ja"))}
    assert used == set(SOLVERS)


@pytest.mark.parametrize(
    ("text", "results", "told"),
    [
        ("```{sdelab-solvers} flow\n```", {}, "python -m benchmarks orders"),
        ("```{sdelab-solvers} flow\n```", {"orders": "{}"}, "benchmarks.orders flow_euler"),
        ("```{sdelab-solvers} flwo\n```", {"orders": "{}"}, "no solver is of the families"),
        ("{measured}`ddim weak`", {"orders": '{"ddim": {"vp": 1.0}}'}, "measured of ddim"),
        ("{grid}`karas`", {}, "no grid"),
        ("{calls}`dimm 20`", {}, "did you mean 'ddim'"),
        ("```{sdelab-race} ring8:VP\n```", {"race": "{}"}, "python -m benchmarks race"),
        ("```{sdelab-latent} 10\n```", {"latent": '{"rows": {}}'}, "python -m benchmarks latent rows fitted"),
    ],
    ids=[
        "no file",
        "a row not measured",
        "a family misspelt",
        "a kind not measured",
        "a grid misspelt",
        "a solver misspelt",
        "no problem",
        "a part not measured",
    ],
)
def test_what_is_missing_stops_the_build(text, results, told, tmp_path):
    with pytest.raises((ExtensionError, ValueError), match=told):
        built(tmp_path, "en", f"# Page\n\n{text}\n", results)


def test_a_range_of_measured_orders(tmp_path):
    results = {"orders": '{"ddim": {"vp": 0.996, "edm": 1.04, "flow": -0.001}, "ddpm": {"weak": 1.0, "strong": 1.0}}'}
    html, _ = built(tmp_path, "en", "# Page\n\n{measured}`ddim`, {measured}`ddim edm`, {measured}`ddpm`\n", results)
    assert re.findall(r'class="measured">([^<]*)<', html) == ["0.00–1.04", "1.04", "1.00"]


def test_calls_of_a_run(tmp_path):
    html, _ = built(tmp_path, "en", "# Page\n\n{calls}`ddim 20`, {calls}`edm_heun 20`, {calls}`restart 20`\n", {})
    restart = sd.solvers.row("restart").calls(19) + 1
    assert re.findall(r'class="measured">([^<]*)<', html) == ["20", "39", f"{restart}"]


def test_every_named_row_in_a_benchmark_leads_to_the_table(page):
    _, html = page
    race = re.search(r'<table[^>]*"[^"]*figures.*?</table>', html, re.S)
    assert race and len(re.findall(r'href="#solver-', race[0])) == sum(
        len(made["best"]) for made in kept(RESULTS / "race.json", {}).values()
    )


def test_the_latent_model_has_every_row_that_its_calls_suffice_for(page):
    """Each error as it stands in the file, and the rows by their best."""
    _, html = page
    made = kept(RESULTS / "latent.json", {})
    for calls, part in zip(("10", "20"), re.findall(r"<th[^>]*><p>karras</p>.*?</table>", html, re.S), strict=True):
        rows = re.findall(r'href="#solver-(\w+)"(.*?)</tr>', part, re.S)
        found = {key: re.findall(r"<p>([^<]*)</p>", cells)[-6:] for key, cells in rows}
        ran = {
            key for key, on in made["rows"]["rows"].items() if any(e.get(calls, {}).get("error") for e in on.values())
        }
        assert found.keys() == ran and len(rows) == len(ran) > 90
        for key, cells in found.items():
            on = made["rows"]["rows"][key] | made["fitted"]["rows"].get(key, {})
            grids = ("karras", "logsnr", "beta", "short", "equal_error", "dpmpp_2m")
            assert cells == [short(on.get(grid, {}).get(calls, {}).get("error")) for grid in grids]


def test_what_the_tables_come_to(page):
    """The sentences under the tables, by another route: from the files."""
    _, html = page
    text = re.sub("<[^>]+>", "", html)
    sides = [b for made in kept(RESULTS / "race.json", {}).values() for b in made["best"].values()]
    ratios = [b["ours"]["error"] / b["peer"]["error"] for b in sides]
    assert re.search(rf"(between|比は) ?{min(ratios):.2f} ?(and|から) ?{max(ratios):.2f}", text)
    assert ("never behind" in text or "劣ることはない" in text) == (max(ratios) < 1.005)
    gains = {r["nfe"]: [] for r in kept(RESULTS / "optimised.json", [])}
    for r in kept(RESULTS / "optimised.json", []):
        gains[r["nfe"]].append(r["peer"]["error"] / r["tuned"]["error"])
    few, more = min(gains[5]), min(min(gains[n]) for n in gains if 8 <= n <= 35)
    assert re.search(rf"{few:.1f}(倍| at).*{more:.1f}(倍| from)", text)


def test_figures_have_two_digits():
    figures = (1.04, 0.5, 44.2, 0.0999, 0.1, 120.0, 1.234e-3, None, float("inf"))
    assert [short(f) for f in figures] == ["1.0", "0.50", "44", "1.0e-1", "0.10", "1.2e2", "1.2e-3", "–", "–"]
