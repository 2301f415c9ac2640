"""Two editions, one truth: keep chapters/ja and chapters/en in step.

    python -m book.editions execute | normalise | sync | stamp | check [NOTEBOOK ...] [--accept UNIT ...]

execute    run the Japanese notebook in a fresh kernel and store its text outputs
normalise  take out images, widget state, time stamps and other noise, in both editions
sync       copy code and outputs of the Japanese notebook to the English one (prose and alternative texts stay)
stamp      record in each unit the digest of its twin; refused where only one side changed, unless accepted
check      say everything that is wrong, and fail if anything is
NOTEBOOK is a path or the start of a file name (01); none means all.
"""

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

from book import faults, notebooks
from book.notebooks import NotebookError, about, cells, unit

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK_SECONDS, ALL_SECONDS = 60, 360


def names(chapters: Path, wanted: list[str]) -> list[str]:
    """The notebooks of either edition that the words on the command line mean, in the order to run them."""
    known = {path.name for edition in faults.EDITIONS for path in (chapters / edition).glob("*.ipynb")}
    known = sorted(known, key=lambda name: (name.startswith("00_"), name))  # 00 shows the others' stored verdicts: last
    if not known:
        raise NotebookError(f"no notebooks in {chapters}/ja and {chapters}/en")
    if not wanted:
        return known
    starts = [Path(word).name for word in wanted]
    for start in starts:
        if not any(name.startswith(start) for name in known):
            raise NotebookError(f"no notebook {start} in {chapters}; there are: {', '.join(known) or 'none'}")
    return [name for name in known if any(name.startswith(start) for start in starts)]


def execute(chapters: Path, name: str) -> float:
    """Run the Japanese notebook and store it; the English one receives the outputs by `sync`."""
    path = chapters / "ja" / name
    nb, seconds = notebooks.execute(path)
    notebooks.write(nb, path)
    return seconds


def normalise(chapters: Path, name: str) -> None:
    for edition in faults.EDITIONS:
        path = chapters / edition / name
        if path.exists():
            notebooks.write(notebooks.normalise(notebooks.read(path)), path)


def _pair(chapters: Path, name: str) -> dict[str, Any]:
    """Both editions, normalised; raises where their cells cannot be matched one to one."""
    pair = {}
    for edition in faults.EDITIONS:
        path = chapters / edition / name
        if not path.exists():
            raise NotebookError(f"chapters/{edition}/{name}: missing; write it first")
        pair[edition] = notebooks.normalise(notebooks.read(path))
    ja, en = (faults.structure(pair[edition]) for edition in faults.EDITIONS)
    if ja != en:
        raise NotebookError(f"chapters/*/{name}: structure differs between the editions (see: book.editions check)")
    return pair


def sync(chapters: Path, name: str) -> None:
    """Copy source, outputs, counts and tags of the code cells from the Japanese to the English edition."""
    pair = _pair(chapters, name)
    for ja, en in zip(cells(pair["ja"], "code"), cells(pair["en"], "code"), strict=True):
        en.source, en.execution_count, en.outputs = ja.source, ja.execution_count, copy.deepcopy(ja.outputs)
        en.metadata.pop("tags", None)
        if "tags" in ja.metadata:
            en.metadata["tags"] = list(ja.metadata["tags"])
    pair["en"].metadata = copy.deepcopy(pair["ja"].metadata)
    notebooks.write(pair["en"], chapters / "en" / name)


def stamp(chapters: Path, name: str, accept: list[str]) -> int:
    """Record each unit's twin; returns how many units were stamped. Raises where a translation is stale."""
    pair = _pair(chapters, name)
    stamped, stale = 0, []
    for ja, en in zip(cells(pair["ja"], "markdown"), cells(pair["en"], "markdown"), strict=True):
        digests = {"ja": notebooks.digest(ja.source), "en": notebooks.digest(en.source)}
        old = {"ja": about(en).get("twin"), "en": about(ja).get("twin")}
        changed = [edition for edition in faults.EDITIONS if old[edition] not in (None, digests[edition])]
        if len(changed) == 1 and unit(ja) not in accept:
            stale.append(f"unit {unit(ja)}: only {changed[0]} changed since the last stamp")
            continue
        ja.metadata["sdelab"]["twin"], en.metadata["sdelab"]["twin"] = digests["en"], digests["ja"]
        stamped += old != digests
    for edition in faults.EDITIONS:
        notebooks.write(pair[edition], chapters / edition / name)
    if stale:
        raise NotebookError(
            f"chapters/*/{name}: not stamped:\n  "
            + "\n  ".join(stale)
            + "\n  Bring the other edition up to date; where it needs no change: stamp --accept UNIT"
        )
    return stamped


def check(chapters: Path, name: str) -> list[str]:
    """Every fault of a notebook, against the citations and the glossary beside this file."""
    return faults.of_pair(name, chapters, faults.House.read(ROOT / "book"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="book.editions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("action", choices=("execute", "normalise", "sync", "stamp", "check"))
    parser.add_argument("notebooks", nargs="*")
    parser.add_argument("--accept", nargs="+", default=[], metavar="UNIT")
    parser.add_argument("--chapters", type=Path, default=ROOT / "chapters", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    wrong, total = [], 0.0
    try:
        chosen = names(given.chapters, given.notebooks)
    except NotebookError as error:
        chosen, wrong = [], [str(error)]
    for name in chosen:
        try:
            if given.action == "execute":
                seconds = execute(given.chapters, name)
                total += seconds
                print(f"{name}: {seconds:.1f} s", flush=True)
                if seconds > NOTEBOOK_SECONDS:
                    wrong.append(f"{name}: {seconds:.0f} s, more than {NOTEBOOK_SECONDS} s")
            elif given.action == "normalise":
                normalise(given.chapters, name)
            elif given.action == "sync":
                sync(given.chapters, name)
            elif given.action == "stamp":
                print(f"{name}: {stamp(given.chapters, name, given.accept)} units stamped")
            else:
                wrong += check(given.chapters, name)
        except NotebookError as error:
            wrong.append(str(error))
    if total > ALL_SECONDS:
        wrong.append(f"all notebooks: {total:.0f} s, more than {ALL_SECONDS} s")
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"{given.action}: {len(chosen)} notebooks, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
