"""What can be wrong with a pair of notebooks: each fault is one line that names the file, the cell and the remedy."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from book import notebooks
from book.notebooks import about, cells, stripped, unit

MAX_BYTES, MAX_CODE_CELLS, MAX_LINES = 600_000, 25, 15
EDITIONS = ("ja", "en")
TWIN = {"ja": "en", "en": "ja"}

STOCK_WIDGETS = re.compile(r"^\s*(?:import|from)\s+ipywidgets|\binteract(?:ive|_manual)?\(", re.M)
LABELS = re.compile(r"\$\$\s*\(([\w:.-]+)\)|^\(([\w:.-]+)\)=\s*$|^\s*:(?:label|name):\s*(\S+)", re.M)
CITATIONS = re.compile(r"\{cite(?::\w+)?\}`([^`]+)`")
NOT_PROSE = re.compile(r"\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`", re.S)
CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


@dataclass
class House:
    """What a pair is checked against: citation keys, and the glossary's words to avoid for each edition."""

    citations: set[str] = field(default_factory=set)
    avoid: dict[str, dict[str, str]] = field(default_factory=lambda: {"ja": {}, "en": {}})

    @classmethod
    def read(cls, folder: Path) -> "House":
        """From `references.bib` and `glossary.yml` in a folder; either may be missing."""
        house = cls()
        bib, glossary = folder / "references.bib", folder / "glossary.yml"
        if bib.exists():
            house.citations = set(re.findall(r"^@\w+\{\s*([^,\s]+)", bib.read_text("utf8"), re.M))
        if glossary.exists():
            content = yaml.safe_load(glossary.read_text("utf8")) or []
            for entry in content.get("terms", []) if isinstance(content, dict) else content:
                for word in entry.get("avoid") or []:
                    edition = "ja" if CJK.search(word) else "en"
                    house.avoid[edition][word] = entry[edition]
        return house


def of_pair(name: str, chapters: Path, house: House) -> list[str]:
    """Every fault of one notebook name, over both editions."""
    paths = {edition: chapters / edition / name for edition in EDITIONS}
    missing = [edition for edition in EDITIONS if not paths[edition].exists()]
    if missing:
        return [f"chapters/{e}/{name}: missing, while chapters/{TWIN[e]}/{name} exists" for e in missing]
    faults, pair = [], {}
    for edition, path in paths.items():
        where = f"chapters/{edition}/{name}"
        pair[edition] = nb = notebooks.read(path)
        if path.stat().st_size > MAX_BYTES:
            faults.append(f"{where}: {path.stat().st_size // 1000} kB, more than {MAX_BYTES // 1000} kB")
        faults += [f"{where}{fault}" for fault in _of_file(nb, edition, house)]
    faults += [f"chapters/*/{name}{fault}" for fault in _between(pair["ja"], pair["en"])]
    return faults


def _of_file(nb: Any, edition: str, house: House) -> Iterator[str]:
    code = cells(nb, "code")
    shown = [cell for cell in code if "remove-cell" not in cell.metadata.get("tags", [])]
    if len(shown) > MAX_CODE_CELLS:
        yield f": {len(shown)} code cells, more than {MAX_CODE_CELLS}"
    if any("widgets" in key for key in nb.metadata):
        yield ": stores widget state (run: make notebooks)"
    counts = [cell.execution_count for cell in code]
    if None in counts:
        yield f", code cell {counts.index(None) + 1}: never executed (run: make notebooks)"
    elif counts != list(range(1, len(code) + 1)):
        yield f": execution counts {counts} are not 1, 2, 3, ... (run: make notebooks)"
    elif about(nb).get("code_sha") != notebooks.code_sha(nb):
        yield ": the stored outputs are from other code (run: make notebooks)"
    for number, cell in enumerate(code, 1):
        yield from (f", code cell {number}: {fault}" for fault in _of_code(cell))
    yield from _of_prose(nb, edition, house)


def _of_code(cell: Any) -> Iterator[str]:
    lines = cell.source.count("\n") + 1
    if lines > MAX_LINES:
        yield f"{lines} lines, more than {MAX_LINES}"
    if not cell.source.strip():
        yield "empty"
    if STOCK_WIDGETS.search(cell.source):
        yield "uses stock ipywidgets or interact, which are frozen in the published pages: use sd.widgets"
    pictures = widgets = 0
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"ends in an error: {output.ename}: {output.evalue}"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"stores stderr output: {output.text.strip().splitlines()[0]}"
        stored = [key for key in output.get("data", {}) if key.startswith("image/") or "jupyter.widget" in key]
        if stored:
            yield f"stores {', '.join(stored)} (run: make notebooks)"
        shown = stripped(output)
        if notebooks.WIDGET_VIEW in shown:
            widgets += 1
        elif shown or output.get("data", {}).get("text/plain", "").startswith("<Figure size"):
            pictures += 1
    if pictures > 1 or widgets > 1:
        yield "shows more than one picture: one a cell, so that each has its own alternative text"
    if pictures and not cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "").strip():
        yield 'shows a figure without alternative text (cell metadata: {"mystnb": {"image": {"alt": "..."}}})'
    if widgets and not str(about(cell).get("alt", "")).strip():
        yield 'shows a widget without alternative text (cell metadata: {"sdelab": {"alt": "..."}})'


def _of_prose(nb: Any, edition: str, house: House) -> Iterator[str]:
    before = None
    for cell in nb.cells:
        if cell.cell_type == "raw":
            yield ": has a raw cell; units are markdown cells"
        if cell.cell_type == "markdown":
            where = f", unit {unit(cell)}: "
            if before == "markdown":
                yield where + "follows another markdown cell; the prose between two code cells is one cell"
            if not cell.source.strip():
                yield where + "empty"
            for key in (key.strip() for group in CITATIONS.findall(cell.source) for key in group.split(",")):
                if key not in house.citations:
                    yield where + f"cites {key}, which is not in book/references.bib"
            prose = NOT_PROSE.sub(" ", cell.source)
            for word, better in house.avoid[edition].items():
                boundary = "" if edition == "ja" else r"\b"
                rest = prose.replace(better, " ")  # the right word may have a wrong one in it
                if re.search(boundary + re.escape(word) + boundary, rest, re.I):
                    yield where + f"says {word}; the glossary says {better}"
        before = cell.cell_type
    for what, names in (("unit", map(unit, cells(nb, "markdown"))), ("label", labels(nb))):
        yield from (f": {what} {name} occurs {n} times" for name, n in Counter(names).items() if n > 1)


def labels(nb: Any) -> list[str]:
    """The labels of equations, figures and exercises that a notebook defines."""
    prose = [label for cell in cells(nb, "markdown") for found in LABELS.findall(cell.source) for label in found]
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name", "") for cell in cells(nb, "code")]
    return [label for label in prose + figures if label]


def structure(nb: Any) -> list[str]:
    """The order of code cells and named units: what both editions must share."""
    return ["code" if cell.cell_type == "code" else f"unit {unit(cell)}" for cell in nb.cells]


def _between(ja: Any, en: Any) -> Iterator[str]:
    if structure(ja) != structure(en):
        pairs = [*zip(structure(ja), structure(en), strict=False), ("the end", "the end")]
        at = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs) - 1)
        a, b = [*structure(ja), "the end"][at], [*structure(en), "the end"][at]
        yield f", cell {at + 1}: structure differs: {a} in ja, {b} in en"
        return
    for number, (a, b) in enumerate(zip(cells(ja, "code"), cells(en, "code"), strict=True), 1):
        if a.source != b.source:
            yield f", code cell {number}: code differs between the editions (run: make notebooks)"
        elif a.outputs != b.outputs or a.execution_count != b.execution_count:
            yield f", code cell {number}: outputs differ between the editions (run: make notebooks)"
        for alt in (lambda c: c.metadata.get("mystnb", {}).get("image", {}).get("alt"), lambda c: about(c).get("alt")):
            if alt(a) and alt(a) == alt(b):
                yield f", code cell {number}: the alternative text is the same in both languages"
    if set(labels(ja)) != set(labels(en)):
        yield f": labels differ: {', '.join(sorted(set(labels(ja)) ^ set(labels(en))))} in one edition only"
    for a, b in zip(cells(ja, "markdown"), cells(en, "markdown"), strict=True):
        stamps = [about(cell).get("twin") for cell in (a, b)]
        if stamps != [notebooks.digest(cell.source) for cell in (b, a)]:
            fault = "translation older than its source" if all(stamps) else "translation never compared with its source"
            yield f", unit {unit(a)}: {fault} (bring both in step, then: python -m book.editions stamp)"
