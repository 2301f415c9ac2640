"""Notebooks as the project stores them: run from top to bottom, text outputs only, the same bytes for the same run."""

import hashlib
import re
from pathlib import Path
from typing import Any

import nbformat

from book.execute import ChapterError, run

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
STRIPPED = ("image/png", "image/jpeg", WIDGET_VIEW, "application/vnd.jupyter.widget-state+json")
CELL_METADATA = ("tags", "mystnb", "sdelab")
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class NotebookError(ValueError):
    """What is wrong with a notebook, in which file and cell, and what to do."""


def digest(text: str) -> str:
    """The first 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def write(nb: Any, path: Path) -> None:
    nb.nbformat_minor = max(nb.nbformat_minor, 5)
    nbformat.write(nb, path)


def _node(content: dict[str, Any]) -> Any:
    return nbformat.from_dict(content)


def cells(nb: Any, kind: str) -> list[Any]:
    return [cell for cell in nb.cells if cell.cell_type == kind]


def code_sha(nb: Any) -> str:
    """The digest of all code cells: stored at execution, so that later edits of the code are noticed."""
    return digest("\0".join(cell.source for cell in cells(nb, "code")))


def about(cell: Any) -> dict[str, Any]:
    """The project's own entries of a cell's (or an output's, or a notebook's) metadata."""
    return cell.get("metadata", {}).get("sdelab", {})


def unit(cell: Any) -> str:
    """The name of a piece of prose between two code cells: the same in both editions."""
    return str(about(cell).get("unit", ""))


def stripped(output: Any) -> set[str]:
    """The kinds of content taken out of an output when it was normalised, or still in it."""
    return set(about(output).get("stripped", [])) | (set(output.get("data", {})) & set(STRIPPED))


def normalise(nb: Any) -> Any:
    """Take out what differs from run to run or is made again at build time; give cells stable ids. Idempotent."""
    sha = about(nb).get("code_sha")
    nb.metadata = _node({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    if sha:
        nb.metadata["sdelab"] = {"code_sha": sha}
    seen: dict[str, int] = {"code": 0, "markdown": 0, "raw": 0}
    for cell in nb.cells:
        seen[cell.cell_type] += 1
        number = seen[cell.cell_type]
        cell.metadata = _node({key: cell.metadata[key] for key in CELL_METADATA if cell.metadata.get(key)})
        if cell.cell_type == "code":
            cell.id = f"code-{number:02d}"
            for output in cell.outputs:
                _normalise_output(output)
            cell.outputs = _one_piece(cell.outputs)
        else:
            name = unit(cell) or f"unit-{number:02d}"
            cell.metadata.setdefault("sdelab", _node({}))["unit"] = name
            cell.id = re.sub(r"[^a-zA-Z0-9_-]", "-", name)[:64]
            cell.pop("attachments", None)
    return nb


def _normalise_output(output: Any) -> None:
    if output.output_type not in ("display_data", "execute_result"):
        return
    gone = sorted(stripped(output))
    for mimetype in STRIPPED:
        output.data.pop(mimetype, None)
    # nbval skips images and widget views as well as metadata; the note is what the check asks an alternative text for
    output.metadata = _node({"sdelab": {"stripped": gone}} if gone else {})


def _one_piece(outputs: list[Any]) -> list[Any]:
    """Printed lines as one output, however many messages the kernel sent them in."""
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output.output_type == "stream" and output.get("name") == last.get("name"):
            last["text"] += output.text
        else:
            joined.append(output)
    return joined


def execute(path: Path) -> tuple[Any, float]:
    """Run a notebook in a fresh kernel; returns it normalised, and the seconds it took. Raises NotebookError."""
    try:
        nb: Any = run(path)
    except ChapterError as error:
        raise NotebookError(str(error)) from None
    seconds = nb.metadata["seconds"]
    for number, cell in enumerate(cells(nb, "code"), 1):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                raise NotebookError(
                    f"{path}, code cell {number}: writes to stderr (a warning or a progress bar):\n{output.text}"
                )
    nb.metadata["sdelab"] = {"code_sha": code_sha(nb)}
    return normalise(nb), seconds
