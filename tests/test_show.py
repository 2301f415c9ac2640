"""`show` prints source that still runs, without long docstrings."""

import ast
import math

import pytest

import sdelab as sd
from sdelab import show as show_module
from sdelab.show import show, without_long_docstrings


def test_long_docstrings_go_and_comments_stay(capsys):
    show(sd.fokker_planck.forward)
    text = capsys.readouterr().out
    assert text.startswith("def forward(") and "frames[0] = p" in text
    assert "Returns a float64" not in text and '"""' not in text
    show(sd.fokker_planck.mass)
    assert '"""Mass on the grid' in capsys.readouterr().out
    source = 'def f():\n    """One\n    two\n    three\n    four\n    five."""\n    # why\n    return 1'
    assert without_long_docstrings(source) == "def f():\n    # why\n    return 1"


@pytest.mark.parametrize(
    "obj", [sd.OU, sd.OU(), sd.fokker_planck, sd.OU().mean, sd.solve], ids=lambda obj: type(obj).__name__
)
def test_classes_modules_methods_and_objects_are_shown_as_valid_python(obj, capsys):
    show(obj)
    first = capsys.readouterr().out
    assert ast.parse(first).body
    show(obj)
    assert capsys.readouterr().out == first


def test_a_body_that_is_only_a_docstring_stays_valid():
    source = 'def f():\n    """One\n    two\n    three\n    four\n    five."""'
    assert without_long_docstrings(source) == source


def test_what_has_no_source_is_refused():
    with pytest.raises(TypeError, match="no Python source"):
        show(math.sin)
    with pytest.raises(TypeError, match="give a function"):
        show(3)


def test_show_is_public():
    assert sd.show is show and show_module is not None
