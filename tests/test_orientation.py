"""Chapter 0 promises tools, tests and solutions by name: here they are looked up and run, in both editions."""

import functools
import json
import math
import re
import unicodedata
from pathlib import Path

import pytest
import torch
import yaml

import sdelab as sd

ROOT = Path(__file__).resolve().parent.parent
EDITIONS = ("ja", "en")


def prose(edition):
    cells = json.loads((ROOT / "chapters" / edition / "00_orientation.ipynb").read_text("utf8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


@pytest.mark.parametrize("edition", EDITIONS)
def test_the_map_names_tools_and_tests_that_exist(edition):
    text = prose(edition)
    tools = set(re.findall(r"`(sd\.[\w.]+)`", text))
    files = set(re.findall(r"`(tests/\w+\.py)`", text))
    assert len(tools) > 15 and len(files) > 4
    from sdelab import letters  # noqa: F401  (the table's functions, reached as sd.letters)

    for tool in tools:
        functools.reduce(getattr, tool.split(".")[1:], sd)  # AttributeError names what is missing
    assert [f for f in files if not (ROOT / f).exists()] == []


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_folded_solution_passes_its_checker(edition, capsys):
    solutions = re.findall(r":class: dropdown\n(?:(?!````).)*?```python\n(.*?)```", prose(edition), re.DOTALL)
    assert len(solutions) == 4
    for solution in solutions:
        exec(solution, {"math": math, "torch": torch, "sd": sd})
    out = capsys.readouterr().out
    assert out.count("PASS ") == 2 * len(solutions) and "NOT YET" not in out


def test_the_editions_hold_the_same_solutions():
    found = [re.findall(r"```python\n(.*?)```", prose(edition), re.DOTALL) for edition in EDITIONS]
    assert found[0] == found[1]


def test_every_source_in_the_notation_table_is_in_the_bibliography():
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text("utf8"), re.MULTILINE))
    assert {row.reference for row in sd.notation.TABLE} <= keys


def test_the_glossary_is_complete_and_sorted_by_reading():
    entries = yaml.safe_load((ROOT / "book" / "glossary.yml").read_text("utf8"))
    fields = {"ja", "reading", "en", "meaning_ja", "meaning_en"}
    assert [e for e in entries if not fields <= set(e)] == []
    for field in ("ja", "en"):
        words = [e[field] for e in entries]
        assert len(words) == len(set(words))
    readings = [e["reading"] for e in entries]
    assert not re.search("[ァ-ヶ]", "".join(readings))
    assert readings == sorted(readings, key=dictionary_order)


def dictionary_order(reading):
    """As a Japanese dictionary sorts: voicing marks and small kana count only between words otherwise alike."""
    bare = "".join(c for c in unicodedata.normalize("NFD", reading) if not unicodedata.combining(c))
    return bare.translate(str.maketrans("ぁぃぅぇぉっゃゅょ", "あいうえおつやゆよ")), reading
