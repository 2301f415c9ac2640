"""The command line: `python -m sdelab COMMAND`; each command is a function that fills in its own parser."""

import argparse
import sys
from pathlib import Path

from ._commands import add_race
from ._models_command import add_models
from ._sample_command import add_sample
from ._train_command import add_train


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


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a foreseen error ends with its message and status 1, without a traceback."""
    parser = argparse.ArgumentParser("python -m sdelab", description="Diffusion models in continuous time.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_data, add_train, add_models, add_sample, add_race):
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
