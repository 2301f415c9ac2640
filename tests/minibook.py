"""A tiny book in two editions, with the true configuration and extensions: what the tests of the build work on."""

import shutil
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parent.parent

WIDGET = '''
import io
import anywidget, traitlets
from PIL import Image

still = io.BytesIO()
Image.new("RGB", (240, 120), "navy").save(still, format="png")

class Tiny(anywidget.AnyWidget):
    _esm = """
    export default { render({ model, el }) {
      const canvas = el.appendChild(document.createElement("canvas"));
      const slider = el.appendChild(document.createElement("input"));
      Object.assign(slider, { type: "range", min: 0, max: 3, value: 0 });
      slider.setAttribute("aria-label", "frame");
      const draw = () => {
        const frames = model.get("frames"), n = model.get("index");
        const context = canvas.getContext("2d");
        context.fillStyle = `rgb(${frames.getUint8(n)},0,0)`;
        context.fillRect(0, 0, canvas.width, canvas.height);
      };
      model.on("change:index", draw);
      slider.addEventListener("input", () => { model.set("index", Number(slider.value)); model.save_changes(); });
      el.dataset.static = String(model.get("_static"));
      draw();
    } };
    """
    _css = ".tiny { color: red }"
    frames = traitlets.Bytes(bytes([10, 90, 170, 250])).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        return {**data, "image/png": still.getvalue(), "text/plain": "Tiny()"}

Tiny()
'''

FIGURE = """
import matplotlib.pyplot as plt
plt.plot([0, 1], [0, 1]);
"""

EQUATION = "\n\n$$ a^2 + b^2 = c^2 $$ (ch01-eq-one)\n\n"
TEXT = {
    "ja": f"確率微分方程式と拡散モデルの小さな章。方程式は{EQUATION}であり、{{eq}}`ch01-eq-one` と呼ぶ。",
    "en": f"A small chapter about the Fokker-Planck equation{EQUATION}which is {{eq}}`ch01-eq-one`.",
}
TITLE = {"ja": "# 第1章 小さな章", "en": "# 1 A small chapter"}
ALT = {"ja": "原点を通る直線", "en": "A line through the origin"}


def chapter(language, alt=True, code=None):
    """A notebook with a figure and a widget (or with the given code in place of the figure)."""
    figure = nbformat.v4.new_code_cell((code or FIGURE).strip())
    widget = nbformat.v4.new_code_cell(WIDGET.strip(), metadata={"sdelab": {"alt": ALT[language]}})
    if alt:
        figure.metadata["mystnb"] = {"image": {"alt": ALT[language]}}
    prose = [nbformat.v4.new_markdown_cell(text) for text in (TITLE[language], TEXT[language])]
    notebook = nbformat.v4.new_notebook(cells=[*prose, figure, widget])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return notebook


def write(root: Path, **kwargs) -> Path:
    """Write the tiny book into the folder `root`; build it with book.build.build(root)."""
    shutil.copytree(
        ROOT / "book", root / "book", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md", "__pycache__", "_build")
    )
    shutil.copy(ROOT / "_config.yml", root / "_config.yml")
    toc = {"format": "jb-book", "root": "book/ja/index", "chapters": [{"file": "chapters/ja/01_small"}]}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))
    (root / "book" / "references.bib").write_text("")
    for language in ("ja", "en"):
        (root / "book" / language).mkdir(parents=True, exist_ok=True)
        (root / "chapters" / language).mkdir(parents=True, exist_ok=True)
        (root / "book" / language / "index.md").write_text(f"# sdelab {language}\n\n$x$\n")
        nbformat.write(chapter(language, **kwargs), root / "chapters" / language / "01_small.ipynb")
    return root
