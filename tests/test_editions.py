"""The checks on the two editions: a clean pair passes, and each planted fault is named."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book import editions, faults, notebooks

ROOT = Path(__file__).resolve().parents[1]
NAME = "01_tiny.ipynb"
CODE = [
    "import matplotlib.pyplot as plt\nprint('VERDICT U0: holds')",
    "fig, ax = plt.subplots()\nax.plot([0, 1]);",
    "from IPython.display import display\n"
    "view = {'application/vnd.jupyter.widget-view+json': {'model_id': str(id(fig))}, 'text/plain': 'Toy()'}\n"
    "display(view, raw=True)",
]
PROSE = {
    "ja": ["# 小さな章\n\n$$ x = y $$ (ch01-eq-tiny)\n\n{cite:p}`song2021` による。", "図を描く。", "部品を示す。"],
    "en": ["# A tiny chapter\n\n$$ x = y $$ (ch01-eq-tiny)\n\nAfter {cite:p}`song2021`.", "Draw.", "Show the widget."],
}
ALT = {"ja": "右上がりの直線", "en": "A rising line"}
HOUSE = faults.House(citations={"song2021"}, avoid={"ja": {"拡散工程": "拡散過程"}, "en": {"diffusive": "diffusion"}})


def tiny(edition: str):
    """A chapter with a printed line, a figure and a widget."""
    nb = new_notebook()
    for unit, prose, code in zip(("start", "draw", "show"), PROSE[edition], CODE, strict=True):
        nb.cells += [new_markdown_cell(prose, metadata={"sdelab": {"unit": unit}}), new_code_cell(code)]
    nb.cells[3].metadata["mystnb"] = {
        "image": {"alt": ALT[edition]},
        "figure": {"caption": ALT[edition], "name": "ch01-fig-tiny"},
    }
    nb.cells[5].metadata["sdelab"] = {"alt": ALT[edition]}
    return nb


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The tiny pair after execute, sync and stamp."""
    chapters = tmp_path_factory.mktemp("executed")
    for edition in faults.EDITIONS:
        (chapters / edition).mkdir()
        notebooks.write(tiny(edition), chapters / edition / NAME)
    for action in ("execute", "sync", "stamp"):
        assert editions.main([action, "--chapters", str(chapters)]) == 0
    return chapters


@pytest.fixture
def chapters(executed, tmp_path):
    return Path(shutil.copytree(executed, tmp_path / "chapters"))


def change(chapters: Path, edition: str, mutate) -> None:
    path = chapters / edition / NAME
    nb = notebooks.read(path)
    mutate(nb)
    nbformat.write(nb, path)


def test_clean_pair_passes_and_stores_text_only(chapters):
    assert faults.of_pair(NAME, chapters, HOUSE) == []
    nb = notebooks.read(chapters / "ja" / NAME)
    nbformat.validate(nb)
    assert [output.get("text") or output.data for cell in notebooks.cells(nb, "code") for output in cell.outputs] == [
        "VERDICT U0: holds\n",
        {"text/plain": "<Figure size 640x480 with 1 Axes>"},
        {"text/plain": "Toy()"},
    ]
    assert [cell.id for cell in nb.cells] == ["start", "code-01", "draw", "code-02", "show", "code-03"]


def test_running_and_normalising_again_changes_no_byte(chapters):
    before = {edition: (chapters / edition / NAME).read_bytes() for edition in faults.EDITIONS}
    for action in ("normalise", "execute", "sync", "stamp"):
        assert editions.main([action, "--chapters", str(chapters)]) == 0
    assert {edition: (chapters / edition / NAME).read_bytes() for edition in faults.EDITIONS} == before


def cell_source(number, text):
    return lambda nb: nb.cells[number].__setitem__("source", text)


def both(mutate):
    """The same change in both editions."""
    return {"ja": mutate, "en": mutate}


def add_output(number, *args, **kwargs):
    return lambda nb: nb.cells[number].outputs.append(new_output(*args, **kwargs))


def without_outputs(nb):
    for cell in notebooks.cells(nb, "code"):
        cell.outputs, cell.execution_count = [], None


def many_cells(nb):
    nb.cells += [new_code_cell("1", execution_count=4 + n) for n in range(23)]


def test_a_cell_that_no_page_shows_is_not_counted(chapters):
    for edition in faults.EDITIONS:
        path = chapters / edition / NAME
        nb = notebooks.read(path)
        many_cells(nb)
        nb.cells[-1].metadata["tags"] = ["remove-cell"]
        notebooks.write(nb, path)
    assert [fault for fault in faults.of_pair(NAME, chapters, HOUSE) if "more than" in fault] == []


PLANTED = {
    "code in one edition": ({"en": cell_source(1, CODE[0] + "  # changed")}, "code cell 1: code differs"),
    "one comment": ({"ja": cell_source(1, "# why\n" + CODE[0])}, "code cell 1: code differs"),
    "output in one edition": ({"en": lambda nb: nb.cells[1].outputs.clear()}, "code cell 1: outputs differ"),
    "stale translation": ({"ja": cell_source(2, "図を二つ描く。")}, "unit draw: translation older than its source"),
    "code edited after the run": (both(cell_source(1, "print('x')")), "stored outputs are from other code"),
    "no outputs": (both(without_outputs), "code cell 1: never executed"),
    "counts out of order": (both(lambda nb: nb.cells[1].update(execution_count=7)), r"counts \[7, 2, 3\] are not"),
    "unit missing": ({"en": lambda nb: nb.cells.pop(2)}, "cell 3: structure differs: unit draw in ja, code in en"),
    "unit at the end": ({"ja": lambda nb: nb.cells.append(new_markdown_cell("終"))}, "cell 7: structure differs"),
    "two units in a row": (
        both(lambda nb: nb.cells.insert(1, new_markdown_cell("x"))),
        "follows another markdown cell",
    ),
    "empty unit": (both(cell_source(2, " ")), "unit draw: empty"),
    "raw cell": (both(lambda nb: nb.cells.append(nbformat.v4.new_raw_cell("x"))), "has a raw cell"),
    "error": (both(add_output(1, "error", ename="ValueError", evalue="no", traceback=[])), "error: ValueError: no"),
    "stderr": (both(add_output(1, "stream", name="stderr", text="50%|##")), r"stderr output: 50%\|##"),
    "stored image": (both(add_output(1, "display_data", data={"image/png": "AAAA"})), "stores image/png"),
    "stored svg": (both(add_output(1, "display_data", data={"image/svg+xml": "<svg/>"})), r"stores image/svg\+xml"),
    "stored widget view": (
        both(add_output(1, "display_data", data={notebooks.WIDGET_VIEW: {"model_id": "1"}})),
        r"stores application/vnd.jupyter.widget-view\+json",
    ),
    "widget state": (both(lambda nb: nb.metadata.update(widgets={})), "stores widget state"),
    "file too large": (both(add_output(1, "stream", name="stdout", text="x" * 600_001)), "kB, more than 600 kB"),
    "no alt on a figure": ({"en": lambda nb: nb.cells[3].metadata.pop("mystnb")}, "figure without alternative text"),
    "no alt on a widget": ({"ja": lambda nb: nb.cells[5].metadata.pop("sdelab")}, "widget without alternative text"),
    "same alt twice": ({"en": lambda nb: nb.cells[5].metadata.update(sdelab={"alt": ALT["ja"]})}, "same in both"),
    "two figures": (
        both(add_output(3, "display_data", data={"text/plain": "<Figure size 9x9 with 1 Axes>"})),
        "shows more than one picture",
    ),
    "ipywidgets": (both(cell_source(1, "import ipywidgets as w")), "uses stock ipywidgets"),
    "interact": (both(cell_source(1, "interact(f, x=1)")), "uses stock ipywidgets"),
    "too many cells": (both(many_cells), "26 code cells, more than 25"),
    "too long a cell": (both(cell_source(1, "1\n" * 15 + "1")), "16 lines, more than 15"),
    "empty cell": (both(cell_source(1, "")), "code cell 1: empty"),
    "labels differ": ({"en": lambda nb: nb.cells[3].metadata.mystnb.pop("figure")}, "labels differ: ch01-fig-tiny"),
    "label twice": (both(lambda nb: nb.cells[2].update(source="(ch01-eq-tiny)=")), "label ch01-eq-tiny occurs 2"),
    "unit twice": (both(lambda nb: nb.cells[2].metadata.sdelab.update(unit="start")), "unit start occurs 2 times"),
    "unknown citation": (both(cell_source(2, "{cite:t}`song2021,nobody1999`")), "unit draw: cites nobody1999, which"),
    "glossary, ja": ({"ja": cell_source(2, "拡散工程を描く。")}, "says 拡散工程; the glossary says 拡散過程"),
    "glossary, en": ({"en": cell_source(2, "A Diffusive law.")}, "says diffusive; the glossary says diffusion"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_named(name, chapters):
    mutations, message = PLANTED[name]
    for edition, mutate in mutations.items():
        change(chapters, edition, mutate)
    found = faults.of_pair(NAME, chapters, HOUSE)
    assert any(re.search(message, fault) and NAME in fault for fault in found), found


def test_file_in_one_edition_only(chapters, capsys):
    (chapters / "en" / NAME).unlink()
    assert editions.main(["check", "--chapters", str(chapters)]) == 1
    assert f"chapters/en/{NAME}: missing" in capsys.readouterr().err


def test_no_notebooks_at_all_is_a_fault(tmp_path, capsys):
    assert editions.main(["check", "--chapters", str(tmp_path)]) == 1
    assert "no notebooks in" in capsys.readouterr().err


def test_unknown_notebook_lists_the_known(chapters, capsys):
    assert editions.main(["check", "07", "--chapters", str(chapters)]) == 1
    assert f"no notebook 07 in {chapters}; there are: {NAME}" in capsys.readouterr().err


def test_the_right_word_may_have_a_wrong_one_in_it(chapters):
    house = faults.House(citations={"song2021"}, avoid={"ja": {"拡散": "拡散過程"}, "en": {}})
    found = {}
    for text in ("拡散過程を描く。", "拡散を描く。"):
        change(chapters, "ja", cell_source(2, text))
        found[text] = [fault for fault in faults.of_pair(NAME, chapters, house) if "glossary" in fault]
    assert not found["拡散過程を描く。"] and len(found["拡散を描く。"]) == 1


def test_glossary_and_citations_are_read_from_the_book(tmp_path):
    (tmp_path / "references.bib").write_text("@article{song2021,\n title={x}}\n@book{ oksendal2003,\n}", "utf8")
    (tmp_path / "glossary.yml").write_text(
        "- {ja: 拡散過程, en: diffusion, avoid: [拡散工程, diffusive]}\n- {ja: 点, en: point}"
    )
    house = faults.House.read(tmp_path)
    assert house.citations == {"song2021", "oksendal2003"} and house.avoid == HOUSE.avoid


@pytest.mark.parametrize(("edition", "text"), [("ja", "図を二つ描く。"), ("en", "Draw two.")])
def test_stamp_refuses_a_stale_translation_until_accepted(edition, text, chapters, capsys):
    change(chapters, edition, cell_source(2, text))
    stamp = ["stamp", "--chapters", str(chapters)]
    assert editions.main(stamp) == 1
    assert f"unit draw: only {edition} changed since the last stamp" in capsys.readouterr().err
    assert any("translation older" in fault for fault in faults.of_pair(NAME, chapters, HOUSE))
    assert editions.main([*stamp, "--accept", "draw"]) == 0
    assert faults.of_pair(NAME, chapters, HOUSE) == []


def test_stamp_takes_a_unit_that_changed_on_both_sides(chapters):
    for edition, text in (("ja", "図を二つ描く。"), ("en", "Draw two.")):
        change(chapters, edition, cell_source(2, text))
    assert editions.main(["stamp", "--chapters", str(chapters)]) == 0
    assert faults.of_pair(NAME, chapters, HOUSE) == []


def test_sync_copies_code_and_outputs_and_keeps_prose_and_alt(chapters):
    change(chapters, "en", cell_source(1, "print('old')"))
    assert editions.main(["sync", "--chapters", str(chapters)]) == 0
    assert faults.of_pair(NAME, chapters, HOUSE) == []
    en = notebooks.read(chapters / "en" / NAME)
    assert en.cells[2].source == "Draw." and en.cells[3].metadata.mystnb.image.alt == ALT["en"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "ZeroDivisionError"),
        (CODE[0] + "\nimport sys; print('50%', file=sys.stderr)", "code cell 1: writes to stderr"),
    ],
)
def test_execution_that_fails_or_writes_to_stderr_is_not_stored(code, message, chapters, capsys):
    change(chapters, "ja", cell_source(1, code))
    before = (chapters / "ja" / NAME).read_bytes()
    assert editions.main(["execute", "--chapters", str(chapters)]) == 1
    assert message in capsys.readouterr().err
    assert (chapters / "ja" / NAME).read_bytes() == before


NBVAL = """-m pytest -q -p no:cacheprovider -p book.nbval_as_jupyter --nbval --nbval-current-env
    --nbval-kernel-startup-timeout 120 --nbval-cell-timeout 120""".split()


def nbval(path: Path) -> subprocess.CompletedProcess:
    """The notebook test of `make test`, on one notebook."""
    command = [sys.executable, *NBVAL, "--nbval-sanitize-with", str(ROOT / "tests/nbval_sanitize.cfg")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command += ["--rootdir", str(path.parent), str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=path.parent, env=environment, timeout=300)


def test_nbval_passes_on_the_stored_outputs_and_fails_on_another(chapters):
    path = chapters / "ja" / NAME
    done = nbval(path)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout
    change(chapters, "ja", cell_source(1, CODE[0].replace("holds", "does not hold")))
    done = nbval(path)
    assert done.returncode == 1 and "1 failed, 2 passed" in done.stdout, done.stdout
