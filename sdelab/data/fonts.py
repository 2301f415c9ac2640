"""The free Japanese fonts behind the kana images: where they come from and under which licence.

Fonts were chosen by eye among Debian's packages: no two with the same outlines, none that breaks up or turns
unreadable at 32 pixels. The order is part of the data (it numbers the fonts and seeds their images): append only.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Font(NamedTuple):
    """One font: `file` is looked for by name under the font folder; `held_out` fonts appear only in `test_fonts`."""

    name: str
    file: str
    package: str
    licence: str
    style: str
    held_out: bool = False


FONTS = (
    Font("IPAex Gothic", "ipaexg.ttf", "fonts-ipaexfont-gothic", "IPA-1", "print"),
    Font("Noto Sans CJK JP Bold", "NotoSansCJK-Bold.ttc", "fonts-noto-cjk", "OFL-1.1", "print"),
    Font("M+ 1 Black", "Mplus1-Black.otf", "fonts-mplus", "OFL-1.1", "print"),
    Font("M+ 2 Light", "Mplus2-Light.otf", "fonts-mplus", "OFL-1.1", "print"),
    Font("Motoya L Maruberi", "MTLmr3m.ttf", "fonts-motoya-l-maruberi", "Apache-2.0", "print"),
    Font("Ume Gothic C4", "ume-tgc4.ttf", "fonts-horai-umefont", "Ume", "print"),
    Font("IPAex Mincho", "ipaexm.ttf", "fonts-ipaexfont-mincho", "IPA-1", "print"),
    Font("Noto Serif CJK JP Bold", "NotoSerifCJK-Bold.ttc", "fonts-noto-cjk", "OFL-1.1", "print"),
    Font("Ume Mincho", "ume-tmo3.ttf", "fonts-horai-umefont", "Ume", "print"),
    Font("Oradano Mincho GSRR", "OradanoGSRR.ttf", "fonts-oradano-mincho-gsrr", "Oradano", "print"),
    Font("RocknRoll One", "RocknRollOne-Regular.ttf", "fonts-rocknroll", "OFL-1.1", "print"),
    Font("Reggae One", "ReggaeOne-Regular.ttf", "fonts-reggae", "OFL-1.1", "print"),
    Font("Stick", "Stick-Regular.ttf", "fonts-stick", "OFL-1.1", "print"),
    Font("Klee One SemiBold", "KleeOne-SemiBold.ttf", "fonts-klee", "OFL-1.1", "pencil"),
    Font("Kiloji", "kiloji.ttf", "fonts-kiloji", "BSD-3-Clause", "pencil"),
    Font("Seto", "setofont.ttf", "fonts-seto", "OFL-1.1", "pencil"),
    Font("Konatu", "Konatu.ttf", "fonts-konatu", "MIT", "pencil"),
    Font("YOzFont Antique", "YOzBA_.ttf", "fonts-yozvox-yozfont-antique", "OFL-1.1", "pencil"),
    Font("YOzFont Standard", "YOzBS_.ttf", "fonts-yozvox-yozfont-standard-kana", "OFL-1.1", "pencil"),
    Font("Aoyagi Kouzan T", "AoyagiKouzanT.ttf", "fonts-aoyagi-kouzan-t", "public domain", "brush"),
    Font("Sawarabi Gothic", "sawarabi-gothic-medium.ttf", "fonts-sawarabi-gothic", "CC-BY-3.0", "print", True),
    Font("Sawarabi Mincho", "sawarabi-mincho-medium.ttf", "fonts-sawarabi-mincho", "OFL-1.1", "print", True),
    Font("Dejima Mincho", "dejima-mincho-r227.ttf", "fonts-dejima-mincho", "MIT", "print", True),
    Font("Yusei Magic", "YuseiMagic-Regular.ttf", "fonts-yusei-magic", "OFL-1.1", "pencil", True),
    Font("Aoyagi Soseki", "aoyagi-soseki.ttf", "fonts-aoyagi-soseki", "public domain", "brush", True),
)


def packages(fonts: Iterable[Font] = FONTS) -> list[str]:
    """Debian packages of the fonts, sorted."""
    return sorted({font.package for font in fonts})


def find_fonts(root: str | Path = "/usr/share/fonts", fonts: Iterable[Font] = FONTS) -> dict[str, Path]:
    """Path of every font, by name; `FileNotFoundError` naming the Debian packages to install when some are missing."""
    fonts = tuple(fonts)
    present = {path.name: path for path in sorted(Path(root).rglob("*")) if path.suffix in {".ttf", ".otf", ".ttc"}}
    missing = [font for font in fonts if font.file not in present]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(fonts)} fonts not found under {root}: {', '.join(f.file for f in missing)}.\n"
            f"On Debian or Ubuntu:  apt-get install --no-install-recommends {' '.join(packages(missing))}\n"
            "Elsewhere put these files anywhere under one folder and name it with --fonts."
        )
    return {font.name: present[font.file] for font in fonts}
