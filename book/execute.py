"""Execute a chapter once and keep the result: both editions of the book are dressed from the same execution.

The two editions of a chapter have the same code cells, so the cache is keyed by the code, and by what the code
runs on: the library's sources, its data and the pinned environment. Prose, alternative text and captions may
change without executing anything.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
CELL_SECONDS = 300
KERNEL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # small tensors: more threads only wait for one another
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not one the user registered elsewhere
    "PYTHONPATH": str(ROOT),
    "PYTHONHASHSEED": "0",
}


class ChapterError(RuntimeError):
    """A chapter did not run to its end; the message says where and what to do."""


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts, each with its length so that borders count."""
    h = hashlib.sha256()
    for part in parts:
        h.update(len(part).to_bytes(8, "big") + part)
    return h.hexdigest()


def files_digest(root: Path, *patterns: str) -> str:
    """One digest over names and contents of the files that match, caches and builds left out."""
    skip = {"__pycache__", ".ipynb_checkpoints", "_build"}
    files = sorted({f for p in patterns for f in root.glob(p) if f.is_file() and not skip & set(f.parts)})
    return digest(*(x for f in files for x in (f.relative_to(root).as_posix().encode(), f.read_bytes())))


def library_key() -> str:
    """What a chapter's code runs on: the library, its data, the pins, the Python version."""
    files = files_digest(ROOT, "sdelab/**/*", "data/*.npz", "requirements.txt", "constraints.txt")
    return digest(files.encode(), sys.version.encode())


def code_cells(notebook) -> list:
    """The notebook's code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def verdict_lines(path: Path) -> list[bytes]:
    """The lines of a notebook's file that carry a stored verdict; prose may speak of verdicts, in its own language."""
    return [line.strip() for line in path.read_bytes().splitlines() if re.search(rb'"VERDICT [A-Z]\d+: ', line)]


def cache_file(path: Path, cache: Path, library: str | None = None) -> Path:
    """Where the executed twin of this chapter is kept."""
    sources = [cell.source.encode() for cell in code_cells(nbformat.read(path, as_version=4))]
    if any(b"ledger" in source for source in sources):  # it shows the verdicts stored in the other chapters
        sources += [line for other in sorted(path.parent.glob("*.ipynb")) for line in verdict_lines(other)]
    key = digest((library or library_key()).encode(), *sources)
    return cache / f"{path.stem}-{key[:16]}.ipynb"


def executed(path: Path, cache: Path, library: str | None = None):
    """The executed notebook of a chapter: from the cache, or executed now.

    Raises ChapterError when a cell fails, with the cell, the end of its traceback and what to do.
    """
    kept = cache_file(path, cache, library)
    if not kept.exists():
        keep(run(path), kept)
    return nbformat.read(kept, as_version=4)


def keep(notebook, kept: Path):
    """Store an executed notebook in its cache file, in place of what the chapter gave before it changed."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=kept.parent, suffix=".part", delete=False, encoding="utf8") as part:
        nbformat.write(notebook, part)
    for old in kept.parent.glob(f"{kept.stem.rpartition('-')[0]}-*.ipynb"):
        old.unlink()
    os.replace(part.name, kept)  # a build that was interrupted leaves no half-written chapter


def run(path: Path):
    """Execute every cell in a fresh kernel, in the chapter's own folder; returns the notebook with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    started = [0]
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=lambda cell, cell_index: started.append(cell_index),
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as profile:  # no start-up files of the user's own IPython
        environment = {**os.environ, **KERNEL_ENVIRONMENT, "IPYTHONDIR": profile}
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise ChapterError(explain(path, notebook, started[-1], error)) from None
    notebook.metadata["seconds"] = round(time.perf_counter() - began, 1)
    return notebook


def explain(path: Path, notebook, cell: int, error: Exception) -> str:
    """Which cell of which chapter failed, the last lines of the error, and what to do."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return "\n".join(
        [
            f"{path.name}: cell {cell + 1} of {len(notebook.cells)} failed ({type(error).__name__}).",
            *("    | " + line for line in notebook.cells[cell].source.splitlines()[:15]),
            *("    " + line for line in lines[-6:]),
            f"What to do: open the chapter with `make lab` and run its cells up to cell {cell + 1}; "
            "mend the cell in both editions, then `make notebooks`.",
        ]
    )
