"""Model cards: what a file says of the model it holds, as text; ``data/models/README.md`` is written from them."""

from pathlib import Path
from typing import Any

from . import checkpoint, models

FIELDS = ("data", "command", "seed", "recipe", "seconds", "date", "machine", "torch", "figures")

INTRO = """# Shipped models

Written by `python -m sdelab models --write` from the files beside it, each of which holds its own card. Models of kind
latent and pixel make images, `python -m sdelab sample --model NAME`; in Python `sd.models.load("NAME")`, for the others
`load_autoencoder` and `load_classifier`.
"""
NONE = "\nThere are none yet: train your own with `python -m sdelab train`, and give its path instead of a name.\n"


def shipped(folder: Path | None = None) -> list[Path]:
    """The models in a folder, by default data/models, by name."""
    return sorted((folder or models.FOLDER).glob("*.safetensors"))


def card(path: Path) -> dict[str, Any]:
    """kind, size (bytes of the file), numbers (how many the model consists of, and their types) and all that ``about``
    says; ``ValueError`` where the file is damaged or holds no model."""
    tensors, page = checkpoint.load(path)
    if "kind" not in page or "about" not in page:
        raise ValueError(f"{path} holds no model but: {models.kind_of(page)}")
    types = sorted({str(v.dtype).removeprefix("torch.") for v in tensors.values()})
    numbers = f"{sum(v.numel() for v in tensors.values()):,} ({', '.join(types)})"
    about = {name: page["about"][name] for name in FIELDS if name in page["about"]} | page["about"]
    return {"kind": page["kind"], "size": path.stat().st_size, "numbers": numbers, **about}


def text(path: Path) -> str:
    """The card, one line a field."""
    held = card(path)
    width = max(map(len, held)) + 2
    return "\n".join([path.stem, *(f"  {name:{width}}{_told(name, value)}" for name, value in held.items())])


def line(path: Path) -> str:
    """The model in one line of a list."""
    held = card(path)
    return f"{path.stem:20} {held['kind']:12} {_told('size', held['size']):>9}  {_told('', held.get('figures', {}))}"


def readme(folder: Path | None = None) -> str:
    """The README of a folder of models: a table, and every card."""
    paths = shipped(folder)
    if not paths:
        return INTRO + NONE
    lines = [INTRO, "| model | kind | size | figures |", "| --- | --- | --- | --- |"]
    for path in paths:
        held = card(path)
        told = held["kind"], _told("size", held["size"]), _told("", held.get("figures", {}))
        lines.append(f"| `{path.stem}` | {' | '.join(told)} |")
    return "\n".join([*lines, "", "```text", "\n\n".join(map(text, paths)), "```", ""])


def _told(name: str, value: Any) -> str:
    """A field's value as text."""
    if name == "size":
        return f"{value / 1e6:.2f} MB"
    if name == "seconds":
        return f"{value:,.0f}"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told('', part)}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
