"""A recording that arrives in part says why wherever it is shown, and `inspect` said so before."""

from pathlib import Path
from typing import Any

import pytest

from bridge.cli import write_drive

START_NS = 1_760_000_000_000_000_000
WHY = "the recorder did not close the recording"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("drive")
    drive = write_drive(folder, name="drive", start_ns=START_NS, duration_s=1.0)
    return next(drive.glob("*_0.mcap")).read_bytes()


def test_partial_says_why_wherever_it_is_shown(whole: bytes, tmp_path: Path, command: Any) -> None:
    """State line, `explain`, JSON and the report of `ingest` have the same reason."""
    watched = tmp_path / "watched"
    watched.mkdir()
    (watched / "cut.mcap").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "bridge.toml").write_text(
        f"[watch]\nfolder = '{watched}'\nsettle_s = 0.1\nstale_s = 0.2\n"
        f"[state]\nfolder = '{tmp_path / 'state'}'\n[http]\nport = 1\n",
        encoding="utf-8",
    )
    words = ("-c", tmp_path / "bridge.toml")
    assert command("once", "--embedded", *words).code == 3

    for shown in (
        command("status", *words).out,
        command("status", "--only", "partial", *words).out,
        command("explain", watched / "cut.mcap", *words).out,
    ):
        assert WHY in shown
        assert "bytes unreadable" in shown
    (listed,) = command("status", "--only", "partial", "--json", *words).json["recordings"]
    assert WHY in listed["reason"]


@pytest.mark.parametrize(("share", "code"), [(1.0, 0), (0.66, 3), (0.9, 3)])
def test_inspect_and_ingest_agree_about_a_file(
    whole: bytes, tmp_path: Path, command: Any, share: float, code: int
) -> None:
    """What one says would happen, the other does: code, messages, and why not all of it."""
    file = tmp_path / "file.mcap"
    file.write_bytes(whole[: int(len(whole) * share)])
    seen = command("inspect", file, "--json")
    sent = command("ingest", file, "--embedded", "--state", tmp_path / "state", "--json")
    (report,) = sent.json["reports"]

    assert (seen.code, sent.code) == (code, code)
    assert seen.json["found"]["messages"] == report["messages_sent"]
    assert bool(report["shortfalls"]) == (code != 0)
