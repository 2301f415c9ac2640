"""What is measured against the peers, for the book's page of solvers: `python -m benchmarks`."""

import json
import os
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def keep(path: Path, content) -> None:
    """Write JSON, the whole file or nothing."""
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def kept(path: Path, otherwise):
    """What a file of results holds, or ``otherwise`` where there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else otherwise
