"""`explain`: the rule that fires, what it waits for, and the story."""

from pathlib import Path
from typing import Any


def test_explain_tells_the_story_of_what_arrived(arrived: Any, command: Any) -> None:
    """Every state with its time and reason, first step first."""
    done = command("explain", arrived.drive, "-c", arrived.config)
    plain = command("explain", arrived.drive, "-c", arrived.config, "--json").json

    assert done.code == 0
    assert "complete (closed)" in done.out
    states = [step["state"] for step in plain["story"]]
    assert states[0] == "discovered"
    assert states[-1] == "finalised"
    assert plain["rule"] == "closed"
    assert all(state in done.out for state in states)


def test_explain_names_the_rule_that_holds_a_recording_back(
    arrived: Any, command: Any, tmp_path: Path
) -> None:
    """A file that somebody still writes waits for its end; that is neither good nor bad."""
    path = tmp_path / "watched" / "open.mcap"
    path.parent.mkdir()
    whole = next(arrived.drive.glob("*_0.mcap")).read_bytes()
    with path.open("wb") as stream:
        stream.write(whole[: len(whole) // 2])
        stream.flush()
        done = command("explain", path, "--folder", path.parent, "--state", tmp_path / "state")

    assert done.code == 3
    assert "not complete (open" in done.out
    assert "somebody" in done.out


def test_explain_has_an_exit_code_for_what_is_no_recording(
    arrived: Any, command: Any, tmp_path: Path
) -> None:
    """Known or not: the reason is given."""
    bad = next(arrived.folder.glob("junk*"))
    known = command("explain", bad, "-c", arrived.config)
    unknown = command("explain", tmp_path / "nothing.mcap", "--state", tmp_path / "state")

    assert (known.code, unknown.code) == (65, 65)
    assert "quarantined" in known.out
    assert "no recording" in unknown.out
