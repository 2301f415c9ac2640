"""Print the source of a library object, for reading in a notebook."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

LONG = 4  # a docstring of more lines than this is left out


def show(obj: Any) -> None:
    """Print the source of a function, class or module of the library; docstrings longer than four lines are left out.

    Objects made from a class are shown by their class. Raises TypeError for what has no Python source.
    """
    if not (inspect.isroutine(obj) or inspect.isclass(obj) or inspect.ismodule(obj)):
        obj = type(obj)
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(obj) if callable(obj) else obj))
    except (OSError, TypeError):
        raise TypeError(f"{obj!r} has no Python source to show: give a function, a class or a module") from None
    print(without_long_docstrings(source))


def without_long_docstrings(source: str) -> str:
    """The source, comments and all, less its long docstrings."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and len(node.body) > 1:
            first = node.body[0]
            rows = range(first.lineno, (first.end_lineno or first.lineno) + 1)
            if ast.get_docstring(node) is not None and len(rows) > LONG:
                left_out.update(rows)
    kept = (line.rstrip() for row, line in enumerate(source.splitlines(), 1) if row not in left_out)
    return "\n".join(kept).strip("\n")
