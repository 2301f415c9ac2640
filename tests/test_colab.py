"""Every chapter begins with the cell that fetches the repository on Colab; elsewhere it does nothing. No network."""

import json
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*/[0-9][0-9]_*.ipynb"))
URL = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["repository"]["url"]
HOME = "/content/sdelab"


def first_cell(path):
    cell = json.loads(path.read_text("utf8"))["cells"][0]
    assert cell["cell_type"] == "code" and "remove-cell" in cell["metadata"].get("tags", [])
    return "".join(cell["source"])


@pytest.fixture
def cell():
    return first_cell(CHAPTERS[0])


@pytest.fixture
def calls(monkeypatch):
    """The commands the cell hands to the shell, which are recorded and not run."""
    done = []
    monkeypatch.setattr(subprocess, "run", lambda command, **how: done.append((command, how)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return done


@pytest.fixture
def colab(monkeypatch):
    """A Colab kernel, as far as the cell can tell; the list says whether the widgets were switched on."""
    switched = []
    package, output = types.ModuleType("google.colab"), types.ModuleType("google.colab.output")
    vars(output)["enable_custom_widget_manager"] = lambda: switched.append(True)
    vars(package)["output"] = output
    monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
    monkeypatch.setitem(sys.modules, "google.colab", package)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    return switched


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_chapter_begins_with_the_same_cell(path, cell):
    assert first_cell(path) == cell
    assert len(cell.splitlines()) <= 10


def test_it_names_the_repository_of_the_configuration(cell):
    assert f'"{URL}"' in cell


def test_it_does_nothing_elsewhere(cell, calls):
    before = list(sys.path)
    exec(cell, {})
    assert calls == [] and sys.path == before


def test_on_colab_it_fetches_the_book_and_switches_the_widgets_on(cell, calls, colab):
    exec(cell, {})
    ((command, how),) = calls
    assert f"git clone -q --depth 1 {URL} {HOME}" in command and "pip install -q anywidget pooch" in command
    assert how == {"shell": True, "check": True}  # a command that fails stops the cell
    assert sys.path[0] == HOME and colab == [True]


@pytest.mark.parametrize("there", [False, True], ids=["first run", "run again"])
def test_the_shell_clones_only_what_is_missing(cell, calls, colab, tmp_path, there):
    """The very command, with a folder of our own for Colab's and `git` and `pip` that only note their arguments."""
    exec(cell, {})
    home, log = tmp_path / "sdelab", tmp_path / "log"
    if there:
        home.mkdir()
    for tool in ("git", "pip"):
        (tmp_path / tool).write_text(f'#!/bin/sh\necho {tool} "$@" >> {log}\n')
        (tmp_path / tool).chmod(0o755)
    command = calls[0][0].replace(HOME, str(home))
    with subprocess.Popen(command, shell=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}) as shell:
        assert shell.wait(20) == 0
    clone = [] if there else [f"git clone -q --depth 1 {URL} {home}"]
    assert log.read_text().splitlines() == [*clone, "pip install -q anywidget pooch"]
