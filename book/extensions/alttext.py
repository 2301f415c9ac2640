"""Accessible pages. Warn of every picture without alternative text (a strict build fails on it).

Where the text comes from: `![text](file)` in prose; for figures made by code the cell's metadata
`mystnb.image.alt`, for widgets `sdelab.alt`, each in the language of the edition.
"""

import re

from docutils import nodes
from sphinx.util import logging

LOG = logging.getLogger(__name__)
IMG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
ALT = re.compile(r"""\balt\s*=\s*("[^"]*\S[^"]*"|'[^']*\S[^']*')""", re.IGNORECASE)


def cell_number(node):
    """The number of the notebook cell around this node, counted from 1, or None."""
    while node is not None:
        if node.get("nb_element") == "cell_code":
            return node["cell_index"] + 1
        node = node.parent
    return None


def check(app, doctree, docname):
    """doctree-resolved: one warning for each picture that says nothing to those who cannot see it."""
    bare = [n for n in doctree.findall(nodes.image) if not n.get("alt", "").strip()]
    bare += [n for n in doctree.findall(nodes.raw) for img in IMG.findall(n.astext()) if not ALT.search(img)]
    for node in bare:
        cell = cell_number(node)
        where = f"cell {cell}: a picture" if cell else f"picture {node.get('uri', '<img>')}"
        LOG.warning(
            "%s has no alternative text: give the cell metadata mystnb.image.alt (a widget: sdelab.alt), "
            "or write ![text](file)",
            where,
            location=docname,
            type="sdelab",
            subtype="alt",
        )


def mend(app, pagename, templatename, context, doctree):
    """html-page-context: heads of tables say what they are the head of, and the reference list is no list of roles.

    (It says role=list, but its entries have a role of their own: not allowed.)
    """
    body = context.get("body", "").replace('<div role="list" class="citation-list">', "<div>")
    context["body"] = body.replace('<th class="head', '<th scope="col" class="head').replace(
        '<th class="stub', '<th scope="row" class="stub'
    )


def setup(app):
    """Register with Sphinx."""
    app.connect("doctree-resolved", check)
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
