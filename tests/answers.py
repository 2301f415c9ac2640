"""What every exercise's checker owes its reader, as assertions that the tests of the chapters share."""

import re
from pathlib import Path

import nbformat
import torch

import sdelab as sd

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"


def told(key, answer, capsys):
    """(whether the answer passed, what was printed)."""
    passed = sd.exercises.check(key, answer)
    return passed, capsys.readouterr().out


def assert_passes(key, answer, capsys):
    passed, out = told(key, answer, capsys)
    assert passed and out.startswith(f"PASS {key}"), out


def assert_diagnosed(key, mutant, says, capsys):
    """In both languages; ``says`` are words of the English diagnosis."""
    passed, out = told(key, mutant, capsys)
    english, japanese = out.strip().splitlines()
    assert not passed and says in english, out
    assert re.search("[ぁ-んァ-ヶ一-龥]", japanese)


def scaled(right, factor, plus):
    """The right answer, or each of a pair, times ``factor`` plus ``plus``."""

    def answer(*args):
        result = right(*args)
        return tuple(factor * r + plus for r in result) if isinstance(result, tuple) else factor * result + plus

    return answer


def assert_nonsense_is_told(key, right, capsys, shape="shape (3, 5, 7)", infinite="not finite"):
    def raising(*args):
        raise RuntimeError("boom")

    for answer, says in (
        (lambda *args: None, "nothing is returned"),
        (lambda *args: ..., "nothing is returned"),
        (lambda *args: torch.zeros(3, 5, 7), shape),
        (scaled(right, float("nan"), 0.0), infinite),
        (raising, "boom"),
    ):
        passed, out = told(key, answer, capsys)
        assert not passed and says in out, out
    assert not told(key, scaled(right, 0.9, 0.01), capsys)[0]


def printed(edition, chapter, space, names="my_", helper=""):
    """``space`` with the functions that a chapter prints as solutions; the code cell with ``helper`` starts first."""
    nb = nbformat.read(CHAPTERS / edition / f"{chapter}.ipynb", as_version=4)
    if helper:
        exec(next(c.source for c in nb.cells if c.cell_type == "code" and helper in c.source).split("\n\n")[0], space)
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    for code in re.findall(rf"```python\n(def (?:{names}).*?)```", text, re.S):
        exec(code, space)
    return space
