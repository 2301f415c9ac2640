"""Verdicts computed from measurements, in one stable form that nbval compares and the ledger reads."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
WORDS = ("does not hold", "holds partly", "holds")


def verdict(claim: str, checks: dict[str, bool], **figures: float | int | str) -> str:
    """Print every check and one ``VERDICT`` line; return the word.

    All checks true: ``holds``; some: ``holds partly``; none: ``does not hold``. Floats (also NumPy's, and tensors
    of one number) are printed with three significant digits, so round what varies with the platform before passing it.
    """
    if not checks:
        raise ValueError(f"a verdict on {claim} needs at least one check")
    for text, passed in checks.items():
        print(f"  [{'yes' if passed else 'no '}] {text}")
    word = WORDS[2 if all(checks.values()) else 1 if any(checks.values()) else 0]
    plain = {k: getattr(v, "item", lambda v=v: v)() for k, v in figures.items()}
    told = ", ".join(f"{k} = {v:.3g}" if isinstance(v, float) else f"{k} = {v}" for k, v in plain.items())
    print(f"VERDICT {claim}: {word}" + (f" ({told})" if told else ""))
    return word


def measured(name: str, folder: str | Path = RESULTS) -> Any:
    """What ``python -m benchmarks NAME`` has kept, for what takes too long to measure in a chapter.

    ``FileNotFoundError`` (it names what there is) for an unknown name, or where no benchmarks are at hand, as in a
    package installed without the book.
    """
    path = Path(folder) / f"{name}.json"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in Path(folder).glob("*.json")))
        raise FileNotFoundError(f"nothing measured is called {name!r} in {folder}: there is {there or 'nothing'}")
    return json.loads(path.read_text("utf-8"))
