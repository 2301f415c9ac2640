"""The house: pins that agree with each other, and steps that fail with a message that says what to do."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
TOOLS = "bash make awk sed grep df dirname find touch cat env mkdir rm sleep".split()


@pytest.fixture
def project(tmp_path):
    """What `make setup` reads, in a folder of its own, and a PATH with tools but no Python."""
    folder = tmp_path / "project"
    (folder / "book").mkdir(parents=True)
    for name in ("Makefile", "book/house.sh", "requirements.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return folder


def program(project: Path, name: str, script: str) -> None:
    """Put a stand-in for a program on the project's PATH."""
    path = project.parent / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def run(project: Path, *command: str, **environment: str) -> tuple[int, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "MAKE", "PYTHON"))}
    kept |= {"PATH": str(project.parent / "bin"), "PIP_CONFIG_FILE": os.devnull, **environment}
    done = subprocess.run(command, cwd=project, env=kept, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_no_python(project):
    status, said = run(project, "make", "setup")
    assert status and "FAILED: finding Python" in said and "install Python 3.11 or newer" in said


def test_python_too_old_or_a_shim_that_does_not_run(project):
    program(project, "python3.12", "exit 127")
    program(project, "python3", "exit 1")  # what `sys.exit(sys.version_info < (3, 11))` answers on an older one
    status, said = run(project, "make", "setup")
    assert status and "no Python 3.11 or newer among" in said


def test_no_venv_module(project):
    program(project, "python3", f'case "$*" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"')
    status, said = run(project, "make", "setup")
    assert status and "python3 has no venv module" in said and "apt install python3-venv" in said


def test_no_disk(project):
    program(project, "python3.11", f'exec {sys.executable} "$@"')
    program(project, "df", "printf 'header\\n/dev/disk 9000000 8000000 1000000 89%% /\\n'")
    status, said = run(project, "make", "setup")
    assert status and "FAILED: checking the disk" in said and "0 GB free here, 4 GB needed" in said
    assert not (project / ".venv").exists()


def test_no_network_for_pip(project):
    program(project, "python3.11", f'exec {sys.executable} "$@"')
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # free again, and dead, once the server is closed
    status, said = run(project, "make", "setup", PIP_INDEX_URL=f"http://127.0.0.1:{port}/simple", PIP_RETRIES="0")
    assert status and "FAILED: installing torch" in said and "check the network and proxy" in said
    assert not (project / ".venv/.ready").exists()


@pytest.mark.parametrize(("target", "step"), [("serve", "serving the book"), ("lab", "starting JupyterLab")])
def test_port_taken(target, step, project):
    (project / ".venv").symlink_to(sys.prefix)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        status, said = run(project, "bash", "book/house.sh", target, PORT=str(port))
    assert status and f"FAILED: {step}" in said
    assert f"port {port} is taken" in said and f"make {target} PORT={port + 1}" in said


def test_a_failing_step_is_named_and_stops_the_job(project):
    status, said = run(project, "bash", "book/house.sh", "step", "doing things", "bash", "-c", "exit 3")
    assert status and "FAILED: doing things" in said and "exit status 3" in said
    status, said = run(project, "bash", "book/house.sh", "step", "doing things", "bash", "-c", "exit 0")
    assert status == 0 and re.search(r"== doing things: \d+ s", said)


def test_the_environment_is_made_once_and_again_when_the_pins_change(project):
    ready = project / ".venv/.ready"
    ready.parent.mkdir()
    ready.touch()
    assert run(project, "make", "-q", ".venv/.ready")[0] == 0
    os.utime(ready, (0, 0))
    assert "house.sh setup" in run(project, "make", "-n", "setup")[1]


def test_help_lists_every_target(project):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert targets
    status, said = run(project, "make", "help")
    assert status == 0 and set(re.findall(r"make ([a-z]+) ", said)) == set(targets[1].split())


def pins(name: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return {canonicalize_name(p): v for p, v in (line.split("==") for line in lines if line)}


def test_pins_ranges_and_lock_agree():
    direct, lock = pins("requirements.txt"), pins("constraints.txt")
    assert direct.items() <= lock.items(), set(direct.items()) - set(lock.items())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for text in [
        *project["project"]["dependencies"],
        *extras["book"],
        *extras["dev"],
        *project["build-system"]["requires"],
    ]:
        requirement = Requirement(text)
        pinned = direct.get(canonicalize_name(requirement.name))
        assert pinned and requirement.specifier.contains(pinned), f"{text}: requirements.txt has {pinned}"


DOCUMENTS = [
    "README.md",
    "README.ja.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "ERRATA.md",
    "docs/decisions.md",
    "data/README.md",
]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / name).read_text("utf8"))
    broken = [link for link in links if "://" not in link and not ((ROOT / name).parent / link).exists()]
    assert not broken


def test_the_readmes_first_lines_of_code_run_and_are_the_same_in_both():
    blocks = [re.search(r"```python\n(.*?)```", (ROOT / f"README{x}.md").read_text("utf8"), re.S) for x in ("", ".ja")]
    code = [re.sub(r" *#.*", "", block[1]) for block in blocks if block]
    assert len(code) == 2 and code[0] == code[1]
    names: dict = {}
    exec(code[0], names)
    assert names["ddim"].shape == names["ddpm"].shape == (4096, 2)
