"""What the package imports is what it declares, and wrong use of the installed command is told."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.packaging.conftest import ROOT, Installed


def imported() -> set[str]:
    """Collect the top-level names that the package imports from outside, at any depth."""
    names: set[str] = set()
    for file in (ROOT / "bridge").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    # `compression` is in the standard library from 3.14 on.
    return names - set(sys.stdlib_module_names) - {"bridge", "compression"}


def plain(name: str) -> str:
    """Spell a distribution's name as the package index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_declared_dependency() -> None:
    """Nothing works here only because a tool for development happens to bring it along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {plain(re.split(r"[<>=!~; \[]", line)[0]) for line in project["dependencies"]}
    providers = packages_distributions()
    needed = {name: set(map(plain, providers.get(name, []))) for name in imported()}

    assert {name for name, given in needed.items() if not given & declared} == set()
    assert declared <= {distribution for given in needed.values() for distribution in given}


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
