"""The command `race` of the command line (:mod:`sdelab.__main__`), the options that other commands share with it, and
what they say to a mistake."""

import argparse
import difflib
import re
import shutil
import sys
import traceback
from pathlib import Path

LAW, PROCESS, DIM = "ring", "vp", 2  # where the options of a problem say nothing


def _first_sentence(thing) -> str:
    told = (thing.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    told = re.sub(r":func:`(\w+)`", r"\1", told)
    return re.split(r"(?<!i\.e)\. ", told)[0].rstrip(".")


def _line(text: str) -> str:
    """The text in one line of the terminal."""
    width = shutil.get_terminal_size().columns
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def menu() -> str:
    """Every solver and grid, one line each, for --help."""
    from . import grids, solvers

    lines = ["solvers by family: key, network calls a step, kind of equation, name and source"]
    for family in dict.fromkeys(row.family for row in solvers.table):
        lines += ["", f" {family}:"]
        for row in (row for row in solvers.table if row.family == family):
            kind = "SDE" if row.stochastic else "ODE"
            lines.append(_line(f"  {row.key:22} {row.nfe} {kind}  {row.name}; {row.paper}"))
    lines += ["", "grids:"]
    lines += [_line(f"  {name:22} {_first_sentence(grid)}") for name, grid in grids.table.items()]
    return "\n".join(lines)


def count(text: str) -> int:
    """A whole number above 0, for argparse."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def solver(text: str):
    """The row of that key; an unknown one raises ``ValueError`` with those whose key or name is near."""
    from . import solvers

    spoken = {row.name.casefold(): row for row in solvers.table} | {row.key: row for row in solvers.table}
    if text in spoken and spoken[text].key == text:
        return spoken[text]
    near = dict.fromkeys(spoken[word].key for word in difflib.get_close_matches(text.casefold(), spoken, 5, 0.5))
    told = " or ".join(f"{key!r} ({solvers.row(key).name})" for key in list(near)[:3])
    hint = f"did you mean {told}?" if near else "`python -m sdelab sample --help` lists them all"
    raise ValueError(f"unknown solver {text!r}; {hint}")


def _failure(error: Exception) -> str:
    """An exception of a reader's own code in one line, with the place unless it names it itself."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    told = f"{type(error).__name__}: {error}"
    known = isinstance(error, SyntaxError) or place.filename == __file__
    return told if known else f"{told} ({place.filename}, line {place.lineno})"


def _denoiser(text: str, process, dim: int):
    """FILE.py:NAME -> the function of that name, (x, t) -> E[x_0 | x_t = x]; called once to see that it works."""
    import importlib.util

    import torch

    from . import noise
    from ._checks import named

    file, _, name = text.rpartition(":")
    path = Path(file)
    if not name or path.suffix != ".py":
        raise ValueError(
            f"--denoiser takes FILE.py:NAME, not {text!r}: write a function NAME(x, t) that returns E[x_0 | x_t = x] "
            "into a file FILE.py (a checkpoint is loaded there, too)"
        )
    if not path.is_file():
        near = difflib.get_close_matches(path.name, (p.name for p in path.parent.glob("*.py")), 3)
        raise ValueError(f"there is no file {path}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as if Python ran the file: it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be imported: {_failure(error)}") from error
    denoise = named({key: f for key, f in vars(module).items() if callable(f)}, name, f"function of {path}")
    x = noise.prior(process, (2, dim), seed=0, dtype=torch.float64)
    try:
        D = denoise(x, process.T)
    except Exception as error:
        raise ValueError(
            f"{text} failed on x of shape {(2, dim)}, float64, at t = {process.T}: {_failure(error)}"
        ) from error
    if not torch.is_tensor(D) or D.shape != x.shape:
        got = tuple(D.shape) if torch.is_tensor(D) else type(D).__name__
        raise ValueError(f"{text} must return a tensor of the shape of x, {(2, dim)} for two samples, not {got}")
    return denoise


def add_problem(parser: argparse.ArgumentParser) -> None:
    from . import distributions, process

    laws, processes = list(distributions.table), list(process.table)
    parser.add_argument("--law", choices=laws, metavar="LAW", help=f"an exact law, default {LAW}: {', '.join(laws)}")
    parser.add_argument(
        "--denoiser", metavar="FILE.py:NAME",
        help="a denoiser of your own instead: NAME(x, t) = E[x_0 | x_t = x] for x (n, dim) in float64",
    )  # fmt: skip
    parser.add_argument("--dim", type=count, help=f"numbers per sample of --denoiser, default {DIM}")
    parser.add_argument(
        "--process", choices=processes, metavar="NAME", help=f"default {PROCESS}: {', '.join(processes)}"
    )
    parser.add_argument("--seed", type=int, default=0, help="default 0")


def problem_of(options: argparse.Namespace):
    """(law or None, process, denoise, dimension)."""
    from . import distributions, process

    made, dim = process.make(options.process or PROCESS), options.dim or DIM
    if options.denoiser:
        return None, made, _denoiser(options.denoiser, made, dim), dim
    law = distributions.table[options.law or LAW]()
    return law, made, law.denoiser(made), law.dim


def device_of(name: str) -> str:
    """The device of this name, "auto" for a GPU if there is one; ``ValueError`` where there is none of it."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise ValueError(f"--device takes auto, cpu, cuda or cuda:NUMBER, not {name!r}")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(f"there is no GPU {name!r} that this PyTorch can use: take --device cpu")
    return name


def add_race(commands) -> None:
    """`race` runs solvers x grids x budgets on one problem and writes a table and a picture."""
    from .race import BUDGETS

    parser = commands.add_parser(
        "race", help="error per network call of any solvers and grids: table and picture",
        epilog="`python -m sdelab sample --help` lists every solver and grid.",
    )  # fmt: skip
    add_problem(parser)
    parser.add_argument("--solvers", nargs="+", metavar="KEY", help="default: all of them (some minutes)")
    defaults = ["exponential", "karras", "uniform"]
    parser.add_argument("--grids", nargs="+", default=defaults, metavar="NAME", help=f"default {' '.join(defaults)}")
    budgets = " ".join(map(str, BUDGETS))
    parser.add_argument(
        "--nfe", nargs="+", type=count, default=list(BUDGETS), help=f"budgets of network calls, default {budgets}"
    )
    parser.add_argument("--n", type=count, default=512, help="starts, default 512")
    parser.add_argument("--out", type=Path, default=Path("race"), help="folder for race.json, .md and .png")
    parser.set_defaults(run=run_race)


def run_race(options: argparse.Namespace) -> None:
    import torch

    from . import grids, race
    from ._checks import named

    rows = [solver(key) for key in options.solvers] if options.solvers else None
    for row in rows or ():
        if row.adaptive:
            raise ValueError(f"{row.key} chooses its own number of calls: a race on budgets has no place for it")
        if row.stochastic and options.denoiser:
            raise ValueError(f"{row.key} draws noise and is judged by samples of the law: race it with --law")
    for name in options.grids:
        named(grids.table, name, "grid")
    law, process, denoise, dim = problem_of(options)
    x_T = race.starts(process, options.n, dim, options.seed)
    with torch.no_grad():
        records = race.run(
            denoise, process, x_T, law=law, rows=rows, grid_names=options.grids, budgets=options.nfe, seed=options.seed
        )
    if all(record["error"] is None for record in records):
        raise ValueError(f"no solver came to an end: {records[0]['why']}")
    name = options.denoiser or options.law or LAW
    problem = f"{name} under {process.name}, {options.n} starts, seed {options.seed}"
    floor = None if law is None else race.floor(law, process, options.n, options.seed)
    paths = race.write(records, options.out, problem, floor)
    print(race.text(records, problem, floor))
    print("wrote", ", ".join(map(str, paths)))
