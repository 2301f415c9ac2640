"""A fault planted in a chapter's code must not get past the notebook test."""

import re
from pathlib import Path

import nbformat
from test_editions import ROOT, nbval

from book import notebooks


def test_sqrt_dt_for_sqrt_2dt_in_chapter_1_fails_nbval(tmp_path: Path):
    """dx = -x dt + sqrt(2) dw needs noise of size sqrt(2 dt) a step; with sqrt(dt) that cell alone fails."""
    nb = notebooks.read(ROOT / "chapters/ja/01_forward_sde.ipynb")
    nb.cells = notebooks.cells(nb, "code")
    step = re.compile(r"\(2 \* dt\) ?\*\* ?0\.5")
    at = next(number for number, cell in enumerate(nb.cells) if step.search(cell.source))
    nb.cells = nb.cells[: at + 1]
    nb.cells[at].source = step.sub("dt**0.5", nb.cells[at].source)
    path = tmp_path / "01_planted.ipynb"
    nbformat.write(nb, path)
    done = nbval(path)
    assert done.returncode == 1 and f"1 failed, {at} passed" in done.stdout, done.stdout[-3000:]
