"""Checkers for the readers' exercises: ``check("ch01-name", answer)`` says what is right or *diagnoses* what is not.

A checker is a function registered with :func:`exercise`. It returns ``None`` when the answer is right, else the
diagnosis as ``{"en": ..., "ja": ...}``. Each chapter has one module here, imported on first use.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._checks import named

Diagnosis = dict[str, str]


@dataclass(frozen=True)
class Exercise:
    key: str
    hint: Diagnosis
    checker: Callable[[Any], Diagnosis | None]


table: dict[str, Exercise] = {}


def exercise(key: str, *, hint: Diagnosis):
    """Register the decorated function as the checker of the exercise ``key`` ("chNN-name")."""

    def register(checker):
        if key in table:
            raise ValueError(f"exercise {key!r} is registered twice")
        table[key] = Exercise(key, hint, checker)
        return checker

    return register


def _find(key: str) -> Exercise:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return named(table, key, "exercise")


def _say(key: str, told: Diagnosis, mark: str) -> None:
    for language in ("en", "ja"):
        print(f"{mark} {key}: {told[language]}")


def check(key: str, answer: Any) -> bool:
    """Check an answer, print PASS or a diagnosis in both languages, and return whether it is right.

    Exceptions raised by the answer are part of the diagnosis, never of the reader's traceback.
    """
    found = _find(key)
    try:
        told = found.checker(answer)
    except Exception as error:  # the reader's code may fail in any way: say how, and go on
        what = f"{type(error).__name__}: {error}"
        told = {"en": f"your answer stopped with {what}", "ja": f"実行中にエラーが出た: {what}"}
    if told is None:
        _say(key, {"en": "right.", "ja": "正解。"}, "PASS")
        return True
    _say(key, told, "NOT YET")
    return False


def hint(key: str) -> None:
    """Print the hint of an exercise in both languages."""
    _say(key, _find(key).hint, "HINT")
