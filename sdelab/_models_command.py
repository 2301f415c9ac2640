"""The command `models` of the command line: what models are shipped, and what their cards say."""

import argparse


def add_models(commands) -> None:
    """`models` lists the shipped models, `models NAME` prints a card."""
    parser = commands.add_parser("models", help="list the shipped models, or print a model's card")
    parser.add_argument("name", nargs="?", metavar="NAME", help="a model's name or file: print its card")
    parser.add_argument("--write", action="store_true", help="write README.md beside the shipped models")
    parser.set_defaults(run=run_models)


def run_models(options: argparse.Namespace) -> None:
    from . import cards, models
    from .data.common import replace_file

    if options.name:
        print(cards.text(models.find(options.name)))
    elif options.write:
        replace_file(models.FOLDER / "README.md", cards.readme().encode())
        print(f"wrote {models.FOLDER / 'README.md'}")
    else:
        print("\n".join(map(cards.line, cards.shipped())) or f"there are no models in {models.FOLDER}")
