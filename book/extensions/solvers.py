"""The page of solvers: the library's table beside what was measured. book/extensions/bench.py adds the benchmarks.

Nothing of it is typed: rows come from `sdelab.solvers.table`, figures from benchmarks/results/*.json, and what the
table says in English has its Japanese in book/solver_notes.yml.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective, SphinxRole

import sdelab as sd

WORDS = {
    "solver": {"ja": "解法", "en": "solver"},
    "calls": {"ja": "評価回数", "en": "calls a step"},
    "claimed": {"ja": "論文の次数", "en": "claimed"},
    "stated": {"ja": "本書の次数", "en": "stated"},
    "measured": {"ja": "測った次数", "en": "measured"},
    "checked": {"ja": "出典、照合の相手、注", "en": "source; checked against; note"},
    "against": {"ja": "照合", "en": "checked against"},
    "weak": {"ja": "弱", "en": "weak"},
    "strong": {"ja": "強", "en": "strong"},
    "adaptive": {"ja": "刻み幅は可変", "en": "adaptive"},
    "none": {"ja": "注を参照", "en": "see the note"},
    "colon": {"ja": ":", "en": ": "},
    "stop": {"ja": "。", "en": "."},
    "and": {"ja": "、", "en": "; "},
}
LABELS = {"vp": "VP", "edm": "EDM", "ve": "VE", "subvp": "sub-VP"}
NBSP = "\u00a0"


class Reader:
    """What directives and roles share: the files of results, and words in the page's language."""

    env: Any  # both are Sphinx's
    config: Any

    def results(self, name: str):
        """The content of benchmarks/results/NAME.json, which the page then depends on."""
        path = Path(self.env.srcdir) / "benchmarks" / "results" / f"{name}.json"
        self.env.note_dependency(str(path))
        try:
            return json.loads(path.read_text("utf8"))
        except OSError as error:
            raise ExtensionError(f"{path} is missing: `python -m benchmarks {name}` writes it") from error

    def orders(self, key: str) -> dict[str, float]:
        """The measured orders of a row by kind; empty where the steps are the solver's own."""
        try:
            return self.results("orders")[key]
        except KeyError as error:
            raise ExtensionError(f"{key} has no measured order: run `python -m benchmarks.orders {key}`") from error

    def word(self, key: str, words=WORDS) -> str:
        return words[key]["ja" if self.config.language == "ja" else "en"]

    def told(self, text: str) -> str:
        """A text of the table in the page's language."""
        if not text or self.config.language != "ja":
            return text
        path = Path(self.env.srcdir) / "book" / "solver_notes.yml"
        self.env.note_dependency(str(path))
        return yaml.safe_load(path.read_text("utf8")).get(text, text)

    def kind(self, kind: str) -> str:
        return self.word(kind) if kind in WORDS else LABELS.get(kind, kind)


class Solvers(Reader, SphinxDirective):
    """`{sdelab-solvers} FAMILY …`: claimed beside measured, one table for the rows of those families.

    `:noise: no` keeps the rows of the ODE, `:noise: yes` the stochastic ones.
    """

    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"noise": lambda given: directives.choice(given, ("yes", "no")) == "yes"}

    def run(self):
        """Build the table."""
        families, noise = self.arguments[0].split(), self.options.get("noise")
        rows = [r for r in sd.solvers.table if r.family in families and noise in (None, r.stochastic)]
        if not rows:
            raise ExtensionError(f"no solver is of the families {families} with noise={noise}")
        head = [self.word(k) for k in ("solver", "calls", "claimed", "stated", "measured", "checked")]
        made = table([head, *(self.cells(row) for row in rows)], (23, 8, 8, 9, 15, 37), "solver-table")
        (body,) = made.findall(nodes.tbody)
        for row, node in zip(rows, body.findall(nodes.row), strict=True):
            node["ids"].append(f"solver-{row.key}")
        return [made]

    def cells(self, row) -> list:
        """One row of the table."""
        name = [nodes.inline("", row.name), nodes.Text(" "), nodes.literal("", row.key)]
        weak = self.word("weak") + NBSP if row.stochastic else ""
        strong = f", {self.word('strong')}{NBSP}{row.strong:g}" if row.strong is not None else ""
        claimed = [nodes.Text(f"{weak}{row.order:g}{strong}")]
        if row.claimed is not None:
            kind = "strong" if row.claimed % 1 else "weak"  # only a strong order is a half
            claimed = [nodes.strong("", f"{self.word(kind) + NBSP if row.stochastic else ''}{row.claimed:g}")]
        found = ", ".join(f"{self.kind(kind)}{NBSP}{figure(value)}" for kind, value in self.orders(row.key).items())
        found = found or self.word("adaptive" if row.adaptive else "none")
        return [name, f"{row.nfe}", claimed, f"{weak}{row.order:g}{strong}", found, self.remarks(row)]

    def remarks(self, row) -> list:
        """Source, twin and note, a line each."""
        twins = self.word("and").join(self.told(part) for part in row.oracle.split("; "))
        lines = [row.paper, f"{self.word('against')}{self.word('colon')}{twins}"]
        if row.note:
            lines.append(self.told(row.note).rstrip(".。") + self.word("stop"))
        return [nodes.paragraph("", text) for text in lines]


class Measured(Reader, SphinxRole):
    """`{measured}`KEY``: the orders measured for a row, least to greatest; `{measured}`KEY KIND`` takes one kind."""

    def run(self):
        """The figure or the range."""
        key, _, kind = self.text.partition(" ")
        found = self.orders(key)
        try:
            values = [found[kind]] if kind else list(found.values())
            ends = [figure(end(values)) for end in (min, max)]
        except (KeyError, ValueError) as error:
            raise ExtensionError(f"{self.text}: measured of {key} is {found}") from error
        return [nodes.inline("", "–".join(dict.fromkeys(ends)), classes=["measured"])], []


class Calls(SphinxRole):
    """`{calls}`KEY STEPS``: network calls of a run of that many steps whose last one goes to sigma = 0."""

    def run(self):
        """The number; the step to 0 is one call for every solver."""
        key, _, steps = self.text.partition(" ")
        return [nodes.inline("", f"{sd.solvers.row(key).calls(int(steps) - 1) + 1}", classes=["measured"])], []


class SolverLink(SphinxRole):
    """`{solver}`KEY``: a solver's key, leading to its row on the same page."""

    def run(self):
        """The link; an unknown key is an error."""
        return [linked(sd.solvers.row(self.text).key)], []


class GridName(SphinxRole):
    """`{grid}`NAME``: the name of a grid; an unknown one is an error."""

    def run(self):
        """The name as code."""
        if self.text not in sd.grids.table:
            raise ExtensionError(f"{self.text} is no grid of sd.grids.table")
        return [nodes.literal("", self.text)], []


def linked(key: str) -> nodes.reference:
    """A solver's key as a link to its row."""
    return nodes.reference("", "", nodes.literal("", key), refid=f"solver-{key}", internal=True)


def figure(value: float) -> str:
    """A measured order."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # never -0.00


def table(rows, widths, *classes: str) -> nodes.table:
    """A docutils table with a head row and a head column; see `paragraphs` for the cells."""
    group = nodes.tgroup("", cols=len(widths))
    group += [nodes.colspec(colwidth=width, stub=number == 0) for number, width in enumerate(widths)]
    group += [nodes.thead("", line(rows[0])), nodes.tbody("", *(line(cells) for cells in rows[1:]))]
    return nodes.table("", group, classes=["measured-table", *classes])


def line(cells) -> nodes.row:
    """One row."""
    return nodes.row("", *(nodes.entry("", *paragraphs(cell)) for cell in cells))


def paragraphs(cell) -> list:
    """The content of a cell, given as a text, as inline nodes or as paragraphs."""
    if isinstance(cell, str):
        cell = [nodes.Text(cell)]
    return cell if isinstance(cell[0], nodes.paragraph) else [nodes.paragraph("", "", *cell)]


def setup(app):
    """Register with Sphinx."""
    app.add_directive("sdelab-solvers", Solvers)
    for name, role in (("measured", Measured), ("calls", Calls), ("solver", SolverLink), ("grid", GridName)):
        app.add_role(name, role())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
