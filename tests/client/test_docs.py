"""The examples of the client's page in the documentation run, one after the other."""

import re
from pathlib import Path

import pytest

from bridge.client import ConnectOptions
from bridge.embedded import EmbeddedServer
from tests.client.conftest import ROOT

PAGE = ROOT / "docs" / "client.md"


def test_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every Python block runs against an empty server, in order, sharing names."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    with EmbeddedServer(tmp_path) as server:
        for block in blocks:
            code = block.replace("6726", str(server.port))
            exec(compile(code, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "G2d 0.7.0" in printed
    assert "[(1, 3)]" in printed
    assert "wheel sensor looks odd" in printed


def test_every_option_is_on_the_page() -> None:
    """No keyword of `connect` is left out of the table."""
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in ConnectOptions.__annotations__ if f"`{name}`" not in text] == []
