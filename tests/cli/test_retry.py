"""`retry` and `forget`: with a running bridge and without one."""

from pathlib import Path
from typing import Any

from bridge.daemon import Entry, Journal, State


def failed(folder: Path, name: str, state: State) -> Entry:
    """Make a recording in a journal that nobody owns now, with its file."""
    path = folder / name
    path.write_bytes(b"x")
    with Journal.own(folder) as journal:
        entry = journal.discover(path, name=name, size_bytes=1, modified_ns=1)
        journal.move(entry.id, State.READY, "complete", fingerprint=name * 8)
        journal.move(entry.id, State.SENDING, "attempt 1")
        return journal.move(entry.id, state, "it went wrong", attempts=5)


def state_of(folder: Path, entry: Entry) -> State | None:
    with Journal.read(folder) as journal:
        now = journal.get(entry.id)
        return None if now is None else now.state


def test_retry_without_a_bridge_acts_on_the_journal(tmp_path: Path, command: Any) -> None:
    """By path or by number; attempts start again from none."""
    one, two = failed(tmp_path, "a", State.REJECTED), failed(tmp_path, "b", State.QUARANTINED)
    done = command("retry", one.path, str(two.id), "--state", tmp_path, "--json")

    assert done.code == 0
    assert [row["done"] for row in done.json["recordings"]] == [True, True]
    with Journal.read(tmp_path) as journal:
        for entry in (one, two):
            now = journal.get(entry.id)
            assert now is not None
            assert (now.state, now.attempts) == (State.READY, 0)


def test_retry_all_means_what_failed_and_nothing_else(tmp_path: Path, command: Any) -> None:
    """What is on the platform, whole or in part, is left alone."""
    bad, fine = failed(tmp_path, "a", State.REJECTED), failed(tmp_path, "b", State.FINALISED)
    part = failed(tmp_path, "c", State.PARTIAL)

    assert command("retry", "--all", "--state", tmp_path).code == 0
    states = [state_of(tmp_path, entry) for entry in (bad, fine, part)]
    assert states == [State.READY, State.FINALISED, State.PARTIAL]


def test_retry_says_what_stands_in_the_way(tmp_path: Path, command: Any) -> None:
    """Files that are gone, recordings that arrived, recordings nobody knows."""
    gone, fine = failed(tmp_path, "a", State.REJECTED), failed(tmp_path, "b", State.FINALISED)
    gone.path.unlink()
    done = command("retry", str(gone.id), str(fine.id), "--state", tmp_path)

    assert done.code == 3
    assert "put them back" in done.out
    assert "--resend" in done.out
    assert state_of(tmp_path, gone) is State.REJECTED
    for words in (["99"], [], ["--all", str(gone.id)]):
        assert command("retry", *words, "--state", tmp_path).code == 1


def test_retry_sends_again_through_the_running_bridge(arrived: Any, command: Any) -> None:
    """The bridge answers; what the platform still has is not sent twice, only found there."""
    done = command("retry", arrived.drive, "--resend", "-c", arrived.config)
    seen = arrived.await_states(command, finalised=1, quarantined=1)

    assert done.code == 0
    assert "in the queue again" in done.out
    (entry,) = (one for one in seen["recordings"]["recent"] if one["path"] == str(arrived.drive))
    story = command("explain", arrived.drive, "-c", arrived.config, "--json").json["story"]
    assert "sent again on request where the platform differs" in [step["reason"] for step in story]
    assert entry["state"] == "finalised"


def test_retry_examines_again_what_could_not_be_identified(arrived: Any, command: Any) -> None:
    """A file that was no recording has no place in the queue, but may have become one."""
    bad = next(arrived.folder.glob("junk*"))
    done = command("retry", bad, "-c", arrived.config)

    assert done.code == 0
    assert "examined again" in done.out
    arrived.await_states(command, finalised=1, quarantined=1)


def test_forget_takes_a_recording_out_of_the_journal(tmp_path: Path, command: Any) -> None:
    """The journal knows nothing of it any more; the file stays."""
    entry = failed(tmp_path, "a", State.REJECTED)
    done = command("forget", entry.path, "--state", tmp_path)

    assert done.code == 0
    assert state_of(tmp_path, entry) is None
    assert entry.path.exists()


def test_forget_through_the_running_bridge_handles_it_as_new(arrived: Any, command: Any) -> None:
    """What is still in the folder is found again under a new number, and not sent twice."""
    (before,) = command("status", "-c", arrived.config, "--json").json["recordings"]["recent"]
    done = command("forget", str(before["id"]), "-c", arrived.config)
    (after,) = arrived.await_states(command, finalised=1, quarantined=1)["recordings"]["recent"]

    assert done.code == 0
    assert after["id"] != before["id"]
    assert after["sequence"] == before["sequence"]


def test_a_recording_is_named_by_its_name_alone(tmp_path: Path, command: Any) -> None:
    """Where only one is called so; of two the error says how to go on."""
    with Journal.own(tmp_path / "state") as journal:
        for folder in ("a", "b"):
            journal.discover(tmp_path / folder / "x.mcap", name="x", size_bytes=1, modified_ns=1)
        journal.discover(tmp_path / "a" / "y.mcap", name="y", size_bytes=1, modified_ns=1)

    done = command("forget", "y.mcap", "--state", tmp_path / "state")
    assert done.code == 0
    assert "forgotten" in done.out
    done = command("forget", "x.mcap", "--state", tmp_path / "state")
    assert done.code == 1
    assert "2 recordings are called x.mcap" in done.err
