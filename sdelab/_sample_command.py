"""The command `sample` of the command line: an exact law, a denoiser of one's own, or a model of images."""

import argparse
import io
import math
import time
import unicodedata
from pathlib import Path

from ._checks import named
from ._commands import add_problem, count, device_of, menu, problem_of, solver
from .data.common import replace_file

OF_LAWS = ("law", "denoiser", "dim", "process")
OF_MODELS = ("class", "guidance", "interval", "rescale", "threshold", "device")
PART = 512  # samples at a time: what a network keeps for more would not fit into every memory


def add_sample(commands) -> None:
    """`sample` draws from a law, a denoiser of one's own or a model of images by any solver on any grid."""
    parser = commands.add_parser(
        "sample", help="draw samples by any solver on any grid", epilog=menu(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add_problem(parser)
    parser.add_argument("--solver", default="dpmpp_2m", metavar="KEY", help="default dpmpp_2m; all are listed below")
    parser.add_argument("--grid", default="karras", metavar="NAME", help="default karras; all are listed below")
    parser.add_argument("--steps", type=count, help="steps, default 20 unless --nfe is given")
    parser.add_argument("--nfe", type=count, help="a budget of the denoiser's calls instead of steps")
    parser.add_argument("--eta", type=float, help="noise dial: 0 the ODE, 1 the reverse SDE; default the solver's own")
    parser.add_argument("--n", type=count, help="samples, default 2000, of a model 64")
    parser.add_argument(
        "--out", type=Path, help="FILE.npz (array x) or FILE.png, default samples.npz, of a model samples.png"
    )
    images = parser.add_argument_group("models of images")
    images.add_argument("--model", metavar="NAME", help="a model instead of a law: name (`sdelab models`) or file")
    images.add_argument("--class", metavar="NAMES", help="あ, あい, ka,si or Shirt,Coat by turns; default all classes")
    images.add_argument("--guidance", type=float, metavar="W", help="1 (default) follows the class, more overdoes it")
    images.add_argument(
        "--interval", type=float, nargs=2, metavar=("LOW", "HIGH"), help="guide at these noise levels sigma/alpha only"
    )
    images.add_argument("--rescale", type=float, metavar="PHI", help="0 to 1: how far to undo guidance's contrast")
    images.add_argument("--threshold", choices=("static", "dynamic"), help="hold the images of every step in range")
    images.add_argument("--device", metavar="NAME", help="auto (default: a GPU if there is one), cpu, cuda")
    parser.set_defaults(run=run_sample)


def run_sample(options: argparse.Namespace) -> None:
    from . import grids

    kind, others = ("--model", OF_LAWS) if options.model else ("a law or --denoiser", OF_MODELS)
    for name in others:
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} has no meaning for {kind}: leave it out")
    out = options.out or Path("samples.png" if options.model else "samples.npz")
    if out.suffix not in (".npz", ".png"):
        raise ValueError(f"--out must end in .npz or .png, not {out.name!r}")
    row = solver(options.solver)
    named(grids.table, options.grid, "grid")
    settings = {"solver": row.key, "grid": options.grid, "nfe": options.nfe, "eta": options.eta, "seed": options.seed}
    settings["steps"] = options.steps if options.steps or options.nfe or row.adaptive else 20
    make, draw = (_images, _sheet) if options.model else (_points, _cloud)
    begun = time.perf_counter()
    x, calls = make(options, settings)
    seconds = time.perf_counter() - begun
    replace_file(out, _npz(x) if out.suffix == ".npz" else draw(x))
    of = f" of {options.model}" if options.model else ""
    print(f"{out}: {len(x):,} samples{of} by {row.name}, {calls} network calls each, {seconds:.2g} s")


def _points(options: argparse.Namespace, settings: dict):
    """(samples of a law or of a denoiser of one's own, network calls for each)."""
    import torch

    from . import NFE, noise, sample

    _, process, denoise, dim = problem_of(options)
    counter = NFE(denoise)
    x_T = noise.prior(process, (options.n or 2000, dim), seed=options.seed, dtype=torch.float64)
    with torch.no_grad():
        return sample(counter, process, x_T, **settings), counter.count


def _images(options: argparse.Namespace, settings: dict):
    """(images of a model, network calls for each)."""
    import torch

    from . import models, noise, sample

    n, device = options.n or 64, device_of(options.device or "auto")
    model = models.load(options.model, device)
    process, y, parts, calls = model.denoiser.process, _classes(getattr(options, "class"), n, model), [], 0
    with torch.no_grad():
        for first in range(0, n, PART):
            denoise, counters = _guided(options, model, y[first : first + PART].to(device))
            shape = (min(PART, n - first), *model.shape)
            x_T = noise.prior(process, shape, seed=options.seed, first=first, device=device)
            parts.append(model.images(sample(denoise, process, x_T, first=first, **settings)).cpu())
            calls = sum(counter.count for counter in counters)
    return torch.cat(parts), calls


def _guided(options: argparse.Namespace, model, y):
    """(The denoiser of these classes, guided as the options say; the two it consists of, which count their calls)."""
    from . import NFE, guidance

    interval, phi, w = options.interval, options.rescale, options.guidance
    if w is None and (interval, phi) != (None, None):
        raise ValueError("--interval and --rescale are about guidance: give --guidance, too")
    if w is not None and not model.classes:
        raise ValueError(f"{options.model} was trained without classes: there is nothing to guide to, leave it out")
    counters = NFE(model.denoiser.of(y if model.classes else None)), NFE(model.denoiser.of(None))
    denoise = guidance.classifier_free(
        *counters, 1.0 if w is None else w, interval=interval, process=model.denoiser.process, rescale=phi or 0.0
    )
    if options.threshold and model.autoencoder is not None:
        raise ValueError(f"--threshold holds images in [-1, 1], and {options.model} denoises latents, without a range")
    hold = {None: lambda d: d, "static": guidance.threshold, "dynamic": guidance.dynamic_threshold}
    return hold[options.threshold](denoise), counters


def _classes(text: str | None, n: int, model):
    """Numbers (n,) of the classes that the text names, by turns; of all where it is None, -1 where there are none.

    Characters may be written one after another, and kana by their sound, as Unicode names them (ka, si, tu).
    """
    import torch

    if text is None:
        return torch.arange(n) % len(model.classes) if model.classes else torch.full((n,), -1)
    names = parts = [part.strip() for part in text.split(",")]
    if model.classes and all(len(name) == 1 for name in model.classes):
        sounds = {unicodedata.name(name, name).split()[-1].lower(): name for name in model.classes}
        table, names = sounds | {name: name for name in model.classes}, []
        for part in parts:
            together = part not in table and any(letter in model.classes for letter in part)
            names += part if together else [named(table, part, "class")]
    chosen = model.classes_of(names)
    return chosen[torch.arange(n) % len(chosen)]


def _sheet(images) -> bytes:
    from . import pictures

    return pictures.png(images, math.isqrt(len(images) - 1) + 1)


def _cloud(x) -> bytes:
    from . import plot

    plot.style()
    fig, ax = plot.figure()
    plot.particles(ax, x)
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=150, format="png")
    return buffer.getvalue()


def _npz(x) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x.numpy())
    return buffer.getvalue()
