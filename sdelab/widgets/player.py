"""The shared player: Python computes frames for one choice of parameters, the page shows them.

A widget is a subclass of :class:`Player` with one method ``frames(choice)`` and one front-end module over
``player.mjs``. Frames of the choices named in ``precompute`` are stored in the widget's state, so a published page
shows them with no kernel; any other choice is sent to the kernel, which computes it and answers.
"""

import io
import itertools
import math
import re
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from matplotlib.figure import Figure

from .._checks import named
from .packing import Quantised, pack

HERE = Path(__file__).parent
SHARED = ("draw.mjs", "frames.mjs", "controls.mjs", "pick.mjs", "player.mjs")
LANGUAGES = ("ja", "en")
WORDS = {  # what every player says
    "play": {"ja": "再生", "en": "Play"},
    "pause": {"ja": "一時停止", "en": "Pause"},
    "next": {"ja": "次のコマ", "en": "Next frame"},
    "time": {"ja": "時刻 t", "en": "time t"},
    "busy": {"ja": "計算中…", "en": "computing…"},
    "hint": {
        "ja": "キー操作: スペースで再生・停止、← → で1コマ、Home・End で両端",
        "en": "Keys: Space plays and pauses, ← → one frame, Home and End jump to the ends",
    },
    "failed": {"ja": "表示できません: ", "en": "Cannot be shown: "},
}


def menu(name: str, label: dict, options: dict, local: bool = False, when: dict | None = None) -> dict:
    """A menu of ``options`` (value -> label in both languages). A ``local`` one changes the view, not the frames.

    ``when={"process": ["vp"]}``: shown only then.
    """
    rows = [{"value": value, "label": text} for value, text in options.items()]
    return {"kind": "menu", "name": name, "label": label, "options": rows, "local": local, "when": when or {}}


def dial(name: str, label: dict, lo: float, hi: float, step: float, when: dict | None = None) -> dict:
    """A number between ``lo`` and ``hi``, shown where a kernel answers; ``when={"process": ["vp"]}``: only then."""
    ends = {"lo": lo, "hi": hi, "step": step}
    return {"kind": "dial", "name": name, "label": label, "local": False, "when": when or {}, **ends}


def bundle(*names: str) -> str:
    """The front end as one module: the player's files and the widget's own, their mutual imports left out."""
    text = "\n".join((HERE / part).read_text(encoding="utf-8") for part in (*SHARED, *names))
    return re.sub(r'^import .* from "\./\w+\.mjs";\n', "", text, flags=re.MULTILINE)


class Player(anywidget.AnyWidget):
    """Base of the widgets: menus, a time slider, frames computed in Python.

    A subclass sets ``_esm = bundle("name.mjs")`` and defines :meth:`frames` and :meth:`draw_poster`.
    """

    _css = (HERE / "player.css").read_text(encoding="utf-8")

    spec = traitlets.Dict().tag(sync=True)  # title, controls, words: what does not change
    choice = traitlets.Dict().tag(sync=True)  # one value per control
    frame = traitlets.Int(0).tag(sync=True)  # the frame shown
    library = traitlets.Bytes().tag(sync=True)  # the precomputed frames, packed, one after another
    shelf = traitlets.List().tag(sync=True)  # where each choice lies in the library
    picture = traitlets.Bytes().tag(sync=True)  # the frames of the last choice that the kernel was asked for
    problem = traitlets.Unicode("").tag(sync=True)  # why it could not compute them
    lang = traitlets.Enum(["auto", *LANGUAGES], "auto").tag(sync=True)

    def __init__(
        self, *, title: dict, controls: list[dict], words: dict, choice: dict, precompute: Any, frame: int, lang: str
    ) -> None:
        self._controls = {control["name"]: control for control in controls if not control["local"]}
        self._first: dict | None = None
        choice = self._first = self._checked(choice)
        wanted = self._all_choices() if precompute == "menus" else [self._checked(part) for part in precompute]
        shelf, pieces, start = [], [], 0
        for each in wanted:
            pieces.append(self.packed(each))
            shelf.append({"choice": each, "start": start, "stop": start + len(pieces[-1])})
            start += len(pieces[-1])
        spec = {"name": type(self).__name__, "title": title, "controls": controls, "words": WORDS | words}
        super().__init__(spec=spec, choice=choice, shelf=shelf, library=b"".join(pieces), frame=frame, lang=lang)
        self.observe(self._answer, "choice")
        self._answer()

    def frames(self, choice: dict | None = None) -> dict[str, Any]:
        """The arrays of one choice, first axis time: floats or :class:`~sdelab.widgets.packing.Quantised`."""
        raise NotImplementedError

    def draw_poster(self, figure: Figure, frames: dict[str, Any]) -> None:
        """Draw what stands in for the widget where scripts are off."""
        raise NotImplementedError

    def packed(self, choice: dict) -> bytes:
        """The frames of ``choice`` as the page gets them."""
        return pack(self.frames(choice), choice=choice)

    def choose(self, **changes: Any) -> None:
        """Change some of the choices, as a reader does with the menus: ``widget.choose(process="ve")``."""
        self.choice = {**self.choice, **changes}

    def png(self) -> bytes:
        """The static stand-in for the current choice, PNG."""
        figure = Figure(figsize=(7.2, 2.6), dpi=100, layout="constrained", facecolor="white")
        self.draw_poster(figure, {name: plain(array) for name, array in self.frames(self.choice).items()})
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.choice.items())})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict] | None:  # type: ignore[override]
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "image/png": self.png()}, metadata

    @traitlets.validate("choice")
    def _valid_choice(self, proposal: Any) -> dict:
        return self._checked(proposal["value"])

    def _checked(self, choice: dict) -> dict:
        """A full choice: what is missing is as at first; names and numbers that cannot be are refused."""
        for name in choice:
            named(self._controls, name, f"parameter of {type(self).__name__}")
        full = {**(self._first or {}), **choice}
        return {name: _value(full[name], control) for name, control in self._controls.items()}

    def _all_choices(self) -> list[dict]:
        """Every combination of the menus, the dials left as they are at first."""
        first = self._first or {}
        values = [
            [row["value"] for row in control["options"]] if control["kind"] == "menu" else [first[name]]
            for name, control in self._controls.items()
        ]
        return [dict(zip(self._controls, row, strict=True)) for row in itertools.product(*values)]

    def _answer(self, change: Any = None) -> None:
        if any(entry["choice"] == self.choice for entry in self.shelf):
            return
        try:
            self.picture, self.problem = self.packed(self.choice), ""
        except Exception as error:  # the reader sees it in the page, where no traceback would appear
            self.problem = f"{type(error).__name__}: {error}"
            if change is None:
                raise


def plain(array: Any) -> Any:
    """The values of an array of frames, quantised or not."""
    return array.values if isinstance(array, Quantised) else array


def _value(value: Any, control: dict) -> Any:
    if control["kind"] == "menu":
        return named({str(row["value"]): row["value"] for row in control["options"]}, str(value), control["name"])
    if not (isinstance(value, int | float) and math.isfinite(value) and control["lo"] <= value <= control["hi"]):
        raise ValueError(f"{control['name']} is a number from {control['lo']} to {control['hi']}; got {value!r}")
    return float(value)
