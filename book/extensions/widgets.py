"""Widgets in the pages: the still picture inside a container that book/static/host.js brings to life.

A widget's output holds its view (a model id), a PNG and a text. MyST-NB would show the view alone, which is
nothing without scripts; here the PNG is shown, with the alternative text of the cell (metadata `sdelab.alt`),
inside <div class="sdelab-widget" data-model-id="...">, and the host replaces it once the widget is mounted.
"""

import re

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

VIEW = "application/vnd.jupyter.widget-view+json"


class widget(nodes.container):
    """A widget's place in the page; its child is the still picture."""


def cell_alt(node):
    """The alternative text that the cell around this node gives its widget."""
    while node is not None:
        if node.get("nb_element") == "cell_code":
            return (node["cell_metadata"].get("sdelab") or {}).get("alt", "")
        node = node.parent
    return ""


class ShowStill(SphinxPostTransform):
    """Turn each output that has a widget view and a PNG into one `widget` node."""

    default_priority = 3  # before MyST-NB chooses one form of the output (4)

    def run(self, **kwargs):
        bundles = [n for n in self.document.findall(nodes.container) if n.get("nb_element") == "mime_bundle"]
        for bundle in bundles:
            forms = {form["mime_type"]: form for form in bundle.findall(nodes.container) if "mime_type" in form}
            if VIEW not in forms or "image/png" not in forms:
                continue
            model = re.search(r'model_id\\*"\s*:\s*\\*"([0-9a-f]+)', forms[VIEW].astext())
            image = next(forms["image/png"].findall(nodes.image))
            image["alt"] = cell_alt(bundle)
            bundle.replace_self(widget("", image, model=model.group(1) if model else ""))


def visit_html(self, node):
    """Open the container."""
    self.body.append(f'<div class="sdelab-widget" data-model-id="{node["model"]}">')


def depart_html(self, node):
    """Close the container."""
    self.body.append("</div>\n")


def setup(app):
    """Register with Sphinx."""
    app.add_node(widget, html=(visit_html, depart_html))
    app.add_post_transform(ShowStill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
