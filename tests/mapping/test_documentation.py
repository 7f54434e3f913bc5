"""docs/mapping.md against the code."""

import re
import tomllib
from pathlib import Path

import pytest

from bridge.mapping import DEFAULT_MAPPINGS, cameras, clouds, pieces

DOCUMENT = (Path(__file__).parents[2] / "docs" / "mapping.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under a heading."""
    found = re.search(
        rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE
    )
    assert found is not None
    return found.group(1)


def test_every_type_is_listed_with_its_model() -> None:
    """The table in the documentation is the table in the code, in its order."""
    listed = re.findall(
        r"^\| `(\S+)` \| `(\S+)` \|", section("Which type goes where"), re.MULTILINE
    )
    assert listed == [(name, mapping.tag) for name, mapping in DEFAULT_MAPPINGS.items()]


@pytest.mark.parametrize("module", [cameras, clouds, pieces])
def test_every_reason_for_dropping_is_listed(module: object) -> None:
    """A reason that the code gives can be looked up."""
    source = Path(str(getattr(module, "__file__", ""))).read_text(encoding="utf-8")
    listed = re.sub(r"\W+", " ", section("Messages that are dropped"))
    reasons = re.findall(r'"((?:point cloud|image|compressed image|stamp) \w[^"{]+)', source)
    assert reasons
    for reason in reasons:
        assert re.sub(r"\W+", " ", reason).strip() in listed, reason


def test_settings_in_the_documentation_parse() -> None:
    """Every TOML example is TOML."""
    for block in re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL):
        assert tomllib.loads(block)
