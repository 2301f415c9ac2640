"""Dress each chapter in the outputs of its one execution (book/execute.py) as Sphinx reads it.

The committed notebooks hold text results only; figures and widgets come from the execution. Code cells are the
same in both editions, so the outputs are put in cell by cell and each edition keeps its own prose and metadata.
"""

from pathlib import Path

import nbformat
from sphinx.errors import ExtensionError

from book.execute import ChapterError, code_cells, executed


def dress(app, docname, source):
    """source-read: replace a notebook's text by the same notebook with its outputs and widget state."""
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    notebook = nbformat.reads(source[0], as_version=4)
    try:
        done = executed(path, Path(app.config.sdelab_cache), app.config.sdelab_library or None)
    except ChapterError as error:
        raise ExtensionError(str(error)) from error
    for cell, twin in zip(code_cells(notebook), code_cells(done), strict=True):
        cell.outputs, cell.execution_count = twin.outputs, twin.execution_count
    if "widgets" in done.metadata:
        notebook.metadata["widgets"] = done.metadata["widgets"]
    source[0] = nbformat.writes(notebook)


def default_cache(app, config):
    """Keep executions under _build, outside the sources, unless told otherwise."""
    config.sdelab_cache = config.sdelab_cache or str(Path(app.srcdir) / "_build" / "cache")


def setup(app):
    """Register with Sphinx. A new library (sdelab_library) makes every page stale."""
    app.add_config_value("sdelab_cache", "", "")
    app.add_config_value("sdelab_library", "", "env")
    app.connect("config-inited", default_cache)
    app.connect("source-read", dress)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
