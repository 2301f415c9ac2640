"""One page of the book, built by Sphinx alone with the extensions that it needs."""

import io
import re
from pathlib import Path

import yaml
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
MYST = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["parse"]["myst_enable_extensions"]


def source(name: str, language: str) -> str:
    """A page's text, as it is written."""
    return (ROOT / "book" / language / f"{name}.md").read_text("utf8")


def alone(text: str) -> str:
    """The text with its links to other pages, which are not built, leading out of the book."""
    return re.sub(r"\([./\w]+\.(ipynb|md)\)", "(https://example.org)", text)


def built(root: Path, language: str, text: str, files: dict[str, str], *extensions: str) -> tuple[str, str]:
    """(the HTML, Sphinx's complaints) of a page with this text, beside files that its directives read."""
    for name, content in (files | {"index.md": text}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf8")
    settings = {"extensions": ["myst_parser", *extensions], "language": language, "html_theme": "basic"}
    known = ["app.add_directive", "app.add_role", "app.add_node"]  # registered by the last build
    settings |= {"myst_enable_extensions": MYST, "suppress_warnings": known}
    warnings = io.StringIO()
    app = Sphinx(root, None, root / "_out", root / "_doctrees", "html", settings, status=None, warning=warnings)
    app.build()
    return (root / "_out" / "index.html").read_text("utf8"), warnings.getvalue()
