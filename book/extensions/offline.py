"""Pages that ask no other host for anything: MathJax from its Python package, no Thebe."""

import importlib.util
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinx.util.fileutil import copy_asset

PACKAGE = "sphinx-mathjax-offline"
PARTS = ["tex-chtml.js", "input/tex/extensions", "output/chtml/fonts", "a11y"]
PARTS += [f"sre/mathmaps/{rules}.json" for rules in ("base", "en", "nemeth")]  # spoken mathematics, none in Japanese


def mathjax_folder():
    """The folder of MathJax files inside the package that carries them."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"{PACKAGE} is not installed: run `make setup`")
    return Path(spec.origin).parent / "static" / "mathjax"


def use_ours(app, config):
    """config-inited: load MathJax from the pages' own files."""
    config.mathjax_path = "mathjax/tex-chtml.js"


def copy_mathjax(app, error):
    """build-finished: copy the parts of MathJax that pages can ask for."""
    if error is not None or app.builder.format != "html":
        return
    folder, target = mathjax_folder(), Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        copy_asset(folder / part, (target / part).parent if (folder / part).is_file() else target / part)


def drop_thebe(app, pagename, templatename, context, doctree):
    """html-page-context: Jupyter Book always adds Thebe's scripts, which point to a CDN; the book needs none."""

    def ours(script):
        name, body = str(getattr(script, "filename", script) or ""), str(getattr(script, "attributes", {}).get("body"))
        return "thebe" not in name.lower() and "THEBE" not in body

    context["script_files"] = [s for s in context["script_files"] if ours(s)]


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", use_ours)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
