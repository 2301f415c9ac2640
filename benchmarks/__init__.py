"""What is measured against the peers, for the book's page of solvers: `python -m benchmarks`."""

import json
import os
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def keep(path: Path, content) -> None:
    """Write JSON, the whole file or nothing; what holds only numbers, texts and lists of them takes one line."""
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(lines(content) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def lines(content, indent: int = 0) -> str:
    """JSON with every object, and every list of objects, on lines of its own, down to the innermost ones."""
    items = content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    if not any(isinstance(value, dict) for value in items):
        return json.dumps(content)
    inside = [lines(value, indent + 1) for value in items]
    if isinstance(content, dict):
        inside = [f"{json.dumps(key)}: {text}" for key, text in zip(content, inside, strict=True)]
    first, last = "{}" if isinstance(content, dict) else "[]"
    return f"{first}\n" + ",\n".join(f"{' ' * (indent + 1)}{text}" for text in inside) + f"\n{' ' * indent}{last}"


def kept(path: Path, otherwise):
    """What a file of results holds, or ``otherwise`` where there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else otherwise
