"""What the package imports is what it declares, and wrong use of the installed command is told."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaging.conftest import ROOT, Installed, clean_environment
from tests.test_architecture import loaded_later

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")


def imported() -> set[str]:
    """Collect the top-level names that the package imports from outside, at any depth."""
    names: set[str] = set()
    for file in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
            else:
                names |= {name.partition(".")[0] for name in loaded_later(node)}
    # `compression` is in the standard library from 3.14 on.
    return names - set(sys.stdlib_module_names) - {"bridge", "compression"}


def plain(name: str) -> str:
    """Spell a distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_declared_dependency() -> None:
    """Nothing works here only because a tool for development happens to bring it along."""
    declared = {plain(Requirement(line).name) for line in PROJECT["dependencies"]}
    # Extras are for those who run the bridge, except the two for those who change it.
    extras = {
        plain(Requirement(line).name)
        for extra, lines in PROJECT["optional-dependencies"].items()
        if extra not in {"dev", "docs"}
        for line in lines
    }
    providers = packages_distributions()
    needed = {name: set(map(plain, providers.get(name, []))) for name in imported()}

    assert {name for name, given in needed.items() if not given & (declared | extras)} == set()
    assert declared <= {distribution for given in needed.values() for distribution in given}


def locked() -> list[Requirement]:
    """Give what the lock file names, once it was seen that each has hashes."""
    blocks = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", LOCK, flags=re.MULTILINE).strip())
    found = []
    for block in blocks:
        line, *hashes = [part.strip() for part in block.split("\\\n")]
        assert hashes, line
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word) for word in hashes), line
        found.append(Requirement(line))
    return found


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_names_one_version_of_every_dependency(python: str) -> None:
    """For each Python that is declared, one exact version fits, with hashes and no address."""
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
    assert not re.search(r"https?:|--index|--find", LOCK)
    machine = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_python_implementation": "CPython",
        "sys_platform": "linux",
    }
    here = [one for one in locked() if one.marker is None or one.marker.evaluate(machine)]
    names = [plain(one.name) for one in here]
    assert len(set(names)) == len(names)
    versions = {plain(one.name): str(one.specifier).removeprefix("==") for one in here}
    for line in PROJECT["dependencies"]:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(machine):
            assert wanted.specifier.contains(versions[plain(wanted.name)]), line


WITHOUT_ENSUREPIP = """
import importlib.util as u
real = u.find_spec
u.find_spec = lambda name, *rest: None if name == "ensurepip" else real(name, *rest)
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            WITHOUT_ENSUREPIP,
            "error: no ensurepip here: apt install python{}.{}-venv".format(*sys.version_info),
        ),
        ("sys.version_info = (3, 10, 12)", "error: this is Python 3.10; name one from 3.11 on"),
    ],
)
def test_a_python_that_will_not_do_is_one_line(tmp_path: Path, change: str, said: str) -> None:
    """`make run` names what to install, or which Python to name, and makes nothing."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys\n{change}\n", encoding="utf-8")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "run", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}"],
        cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    first, *rest = done.stderr.splitlines()
    assert said in first
    assert [line for line in rest if not line.startswith("make")] == []
    assert done.returncode != 0
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["run", "--port", "abc"], "--port"),
        (["ingest"], "PATH"),
        ([], "Commands:"),
    ],
)
def test_wrong_use_is_told_without_a_traceback(
    installed: Installed, arguments: list[str], said: str
) -> None:
    """The exit code is 2, and what was wrong is in the message."""
    done = installed.run("mosaico-bridge", *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
