"""The command line: `python -m sdelab COMMAND`; each command is a function that fills in its own parser."""

import argparse
import sys
from pathlib import Path


def add_data(commands) -> None:
    """`data kana` draws the kana images, `data verify` checks them, `data fetch` downloads MNIST and its relatives."""
    actions = commands.add_parser("data", help="draw, check and download images").add_subparsers(required=True)

    kana = actions.add_parser("kana", help="draw data/kana.npz from Debian's Japanese fonts (half a minute)")
    kana.add_argument("--out", type=Path, help="file to write, default data/kana.npz of the repository")
    kana.add_argument("--fonts", type=Path, default="/usr/share/fonts", help="folder searched for the fonts")
    kana.add_argument("--contact-sheet", type=Path, metavar="PNG", help="also write a picture to look at")
    kana.set_defaults(run=data_kana)

    verify = actions.add_parser("verify", help="check data/kana.npz against its recorded SHA-256")
    verify.add_argument("--file", type=Path, help="another file than data/kana.npz")
    verify.add_argument("--contact-sheet", type=Path, metavar="PNG", help="also write a picture to look at")
    verify.set_defaults(run=data_verify)

    fetch = actions.add_parser("fetch", help="download a data set into the cache and verify it")
    fetch.add_argument("name", choices=("mnist", "fashion", "kmnist"))
    fetch.add_argument("--cache", type=Path, help="another folder than the user's cache")
    fetch.add_argument("--mirror", help="base address holding NAME/FILE.gz, instead of the public servers")
    fetch.set_defaults(run=data_fetch)


def data_kana(options: argparse.Namespace) -> None:
    from sdelab.data import draw, kana

    path = options.out or kana.KANA_FILE
    record = kana.KANA_FILE.with_suffix(".sha256")
    recorded = record.read_text().split()[0] if record.is_file() else None
    arrays = draw.build(options.fonts, progress=True)
    digest = kana.save(arrays, path)
    print(f"{path}: {len(arrays['images']):,} images, {path.stat().st_size:,} bytes")
    print(f"SHA-256 of the file    {digest}")
    print(f"SHA-256 of the content {kana.content_sha256(arrays)}")
    if digest == recorded:
        print("the recorded file, byte for byte")
    elif recorded:
        print(f"NOT the recorded file {recorded},\nwhich was drawn with {draw.DRAWN_WITH};\nhere: {draw.libraries()}")
    if options.contact_sheet:
        draw.contact_sheet(arrays, options.contact_sheet)


def data_verify(options: argparse.Namespace) -> None:
    from sdelab.data import kana

    path = options.file or kana.KANA_FILE
    arrays = kana.read(path)
    print(f"{path}: as recorded")
    print(f"SHA-256 of the content {kana.content_sha256(arrays)}")
    for index, split in enumerate(arrays["split_names"]):
        print(f"{split:12} {(arrays['splits'] == index).sum():6,} images")
    if options.contact_sheet:
        from sdelab.data.draw import contact_sheet

        contact_sheet(arrays, options.contact_sheet)


def data_fetch(options: argparse.Namespace) -> None:
    from sdelab.data import idx

    for file in (name for split in idx.FILES.values() for name in split):
        path = idx.fetch(options.name, file, options.cache, options.mirror)
        print(path.with_name(f"{file}.sha256").read_text().split()[0], path)


def _first_sentence(thing) -> str:
    return (thing.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def _menu() -> str:
    """Every solver and grid, one line each, for --help."""
    from sdelab import grids, solvers

    lines = ["solvers (network calls per step; noise):"]
    for row in solvers.table:
        noise = "SDE" if row.stochastic else "ODE"
        lines.append(f"  {row.key:22} {row.name:40} {row.nfe} {noise}  {row.paper}")
    lines += ["", "grids:"]
    lines += [f"  {name:22} {_first_sentence(grid)}" for name, grid in grids.table.items()]
    return "\n".join(lines)


def _denoiser(text: str):
    """FILE.py:NAME -> the denoiser of that name: a function (x, t) -> E[x_0 | x_t = x] on the chosen process."""
    import importlib.util

    file, _, name = text.partition(":")
    path = Path(file)
    if not name or not path.is_file():
        raise ValueError(f"--denoiser takes FILE.py:NAME, and {text!r} is not that (or there is no such file)")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"{path} has no function {name!r}")
    return getattr(module, name)


def _add_problem(parser: argparse.ArgumentParser) -> None:
    from sdelab import distributions, process

    parser.add_argument("--law", choices=list(distributions.table), default="ring", help="an exact law, default ring")
    parser.add_argument("--denoiser", metavar="FILE.py:NAME", help="a denoiser of your own instead: D(x, t) in a file")
    parser.add_argument("--dim", type=int, default=2, help="numbers per sample of --denoiser, default 2")
    parser.add_argument("--process", choices=list(process.table), default="vp", help="default vp")
    parser.add_argument("--seed", type=int, default=0)


def _problem(options: argparse.Namespace):
    """(law or None, process, denoise, dimension)."""
    from sdelab import distributions, process

    made = process.make(options.process)
    if options.denoiser:
        return None, made, _denoiser(options.denoiser), options.dim
    law = distributions.table[options.law]()
    return law, made, law.denoiser(made), law.dim


def add_sample(commands) -> None:
    """`sample` draws from an exact law or a denoiser of one's own by any solver on any grid."""
    parser = commands.add_parser(
        "sample", help="draw samples by any solver on any grid", epilog=_menu(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_problem(parser)
    parser.add_argument("--solver", default="dpmpp_2m", metavar="KEY", help="default dpmpp_2m; all are listed below")
    parser.add_argument("--grid", default="karras", metavar="NAME", help="default karras; all are listed below")
    parser.add_argument("--steps", type=int, help="steps, default 20 unless --nfe is given")
    parser.add_argument("--nfe", type=int, help="a budget of network calls instead of steps")
    parser.add_argument("--eta", type=float, help="noise dial: 0 the ODE, 1 the reverse SDE; default the solver's own")
    parser.add_argument("--n", type=int, default=2000, help="samples, default 2000")
    parser.add_argument(
        "--out", type=Path, default=Path("samples.npz"), help="FILE.npz or FILE.png, default samples.npz"
    )
    parser.set_defaults(run=run_sample)


def run_sample(options: argparse.Namespace) -> None:
    import numpy as np
    import torch

    from sdelab import NFE, noise, plot, sample, solvers

    _, process, denoise, dim = _problem(options)
    adaptive = solvers.row(options.solver).adaptive
    steps = options.steps if options.steps or options.nfe or adaptive else 20
    counter = NFE(denoise)
    x_T = noise.prior(process, (options.n, dim), seed=options.seed, dtype=torch.float64)
    x = sample(
        counter, process, x_T, solver=options.solver, grid=options.grid, steps=steps, nfe=options.nfe,
        seed=options.seed, eta=options.eta,
    )  # fmt: skip
    if options.out.suffix == ".png":
        plot.style()
        fig, ax = plot.figure()
        plot.particles(ax, x)
        fig.savefig(options.out, dpi=150)
    elif options.out.suffix == ".npz":
        np.savez_compressed(options.out, x=x.numpy())
    else:
        raise ValueError(f"--out must end in .npz or .png, not {options.out.name!r}")
    name = solvers.row(options.solver).name
    print(f"{options.out}: {options.n:,} samples by {name}, {counter.count} network calls each")


def add_race(commands) -> None:
    """`race` runs solvers x grids x budgets on one problem and writes a table and a picture."""
    from sdelab.race import BUDGETS

    parser = commands.add_parser("race", help="error per network call of any solvers and grids: table and picture")
    _add_problem(parser)
    parser.add_argument("--solvers", nargs="+", metavar="KEY", help="default: all of them")
    parser.add_argument("--grids", nargs="+", default=["exponential", "karras", "uniform"], metavar="NAME")
    parser.add_argument("--nfe", nargs="+", type=int, default=list(BUDGETS), help="budgets of network calls")
    parser.add_argument("--n", type=int, default=512, help="starts, default 512")
    parser.add_argument("--out", type=Path, default=Path("race"), help="folder for race.json, .md and .png")
    parser.set_defaults(run=run_race)


def run_race(options: argparse.Namespace) -> None:
    from sdelab import grids, race, solvers
    from sdelab._checks import named

    law, process, denoise, dim = _problem(options)
    rows = [solvers.row(key) for key in options.solvers] if options.solvers else None
    for name in options.grids:
        named(grids.table, name, "grid")
    x_T = race.starts(process, options.n, dim, options.seed)
    records = race.run(
        denoise, process, x_T, law=law, rows=rows, grid_names=options.grids, budgets=options.nfe, seed=options.seed
    )
    problem = f"{options.denoiser or options.law} under {options.process}, {options.n} starts, seed {options.seed}"
    if law is not None:
        problem += f"; floor of the distance to the law {race.floor(law, process, options.n, options.seed):.1e}"
    paths = race.write(records, options.out, problem)
    print(race.markdown(records))
    print("wrote", ", ".join(map(str, paths)))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseen error ends with its message and status 1, without a traceback."""
    parser = argparse.ArgumentParser("python -m sdelab", description="Diffusion models in continuous time.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_data, add_sample, add_race):
        add(commands)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
