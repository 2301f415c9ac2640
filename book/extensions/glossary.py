"""The glossary page of each edition, from the one list book/glossary.yml."""

from pathlib import Path

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective


class Glossary(SphinxDirective):
    """`{sdelab-glossary}`: a table of the terms in both languages with their meaning in the page's language."""

    def run(self):
        """Build the table, one row a term."""
        path = Path(self.env.srcdir) / "book" / "glossary.yml"
        self.env.note_dependency(str(path))
        entries = yaml.safe_load(path.read_text(encoding="utf8"))
        if self.config.language == "ja":  # the file is in the order of a Japanese dictionary; a test keeps it so
            rows = [["日本語", "English", "意味"], *([e["ja"], e["en"], e["meaning_ja"]] for e in entries)]
        else:
            entries.sort(key=lambda entry: entry["en"].lower())
            rows = [["English", "日本語", "Meaning"], *([e["en"], e["ja"], e["meaning_en"]] for e in entries)]
        return [table(rows)]


def table(rows):
    """A docutils table whose first row is its head."""
    body = nodes.tbody("", *(row(cells) for cells in rows[1:]))
    group = nodes.tgroup("", cols=len(rows[0]))
    group += [nodes.colspec(colwidth=w) for w in (25, 25, 50)]
    group += [nodes.thead("", row(rows[0])), body]
    return nodes.table("", group, classes=["glossary-table"])


def row(cells):
    """One table row of plain text."""
    return nodes.row("", *(nodes.entry("", nodes.paragraph(text=str(cell))) for cell in cells))


def setup(app):
    """Register with Sphinx."""
    app.add_directive("sdelab-glossary", Glossary)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
