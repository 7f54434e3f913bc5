"""The journal: durable, owned by one, and only moving as the table of states allows."""

import contextlib
import itertools
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import app
from bridge.daemon.journal.entry import Entry, Failure, RequestKind, Sighting, Transition
from bridge.daemon.journal.instance import instance_id
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.schema import JOURNAL_FILE, MIGRATIONS
from bridge.daemon.journal.states import MEANING, TRANSITIONS, State, allowed
from bridge.errors import JournalError, OfflineError, Trouble


def discovered(journal: Journal, path: Path, *, modified_ns: int = 1) -> Entry:
    return journal.discover(path, name=path.stem, size_bytes=3, modified_ns=modified_ns)


def test_every_state_has_a_meaning_and_a_way_out() -> None:
    """Each state is explained, can be left, and can be reached."""
    assert set(MEANING) == set(State) == set(TRANSITIONS)
    reached = set().union(*TRANSITIONS.values())
    assert reached == set(State) - {State.DISCOVERED}
    assert all(TRANSITIONS.values())


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_journal_moves_only_as_the_table_allows(
    tmp_path: Path, before: State, after: State
) -> None:
    """A step that the table does not hold fails and leaves the entry as it was."""
    with Journal.own(tmp_path) as journal:
        entry = discovered(journal, Path("/r/a.mcap"))
        journal._connection.execute("UPDATE entries SET state = ?", (before,))
        if allowed(before, after):
            assert journal.move(entry.id, after, "because").state is after
        else:
            with pytest.raises(AssertionError):
                journal.move(entry.id, after, "because")
            assert journal.recordings()[0].state is before


def test_story_is_told_with_time_and_reason(tmp_path: Path) -> None:
    """Every transition is kept with its time and reason, in order, across a reopening."""
    clock = itertools.count(1000)
    with Journal.own(tmp_path, wall_ns=lambda: next(clock)) as journal:
        entry = discovered(journal, Path("/r/a.mcap"))
        journal.move(entry.id, State.SETTLING, "waits for its end")
        journal.move(entry.id, State.READY, "closed", fingerprint="f")
    with Journal.read(tmp_path) as journal:
        story = journal.transitions(entry.id)

    assert [(step.before, step.after, step.reason) for step in story] == [
        (None, State.DISCOVERED, "seen by a scan"),
        (State.DISCOVERED, State.SETTLING, "waits for its end"),
        (State.SETTLING, State.READY, "closed"),
    ]
    assert [step.at_ns for step in story] == [1000, 1001, 1002]


def test_observer_hears_of_a_change_only_when_it_is_durable(tmp_path: Path) -> None:
    """Inside a transaction nothing is told; after a rollback nothing ever is."""
    news: list[tuple[Entry, Transition]] = []
    with Journal.own(tmp_path, on_change=lambda *change: news.append(change)) as journal:
        with journal.transaction():
            discovered(journal, Path("/r/a.mcap"))
            assert not news
        assert [entry.state for entry, _ in news] == [State.DISCOVERED]
        with contextlib.suppress(ZeroDivisionError), journal.transaction():
            discovered(journal, Path("/r/b.mcap"))
            raise ZeroDivisionError
        assert len(news) == 1
        assert len(journal.recordings()) == 1


def test_second_owner_is_refused(tmp_path: Path) -> None:
    """Two bridges cannot own one journal; readers are welcome; the lock is free after closing."""
    with Journal.own(tmp_path):
        with pytest.raises(JournalError, match="another bridge"):
            Journal.own(tmp_path, patience_s=0.0)
        with Journal.read(tmp_path) as reader:
            assert reader.counts() == {}
    Journal.own(tmp_path, patience_s=0.0).close()


def _own_and_die(folder: Path) -> None:
    journal = Journal.own(folder)
    entry = journal.discover(Path("/r/a.mcap"), name="a", size_bytes=1, modified_ns=1)
    journal.move(entry.id, State.READY, "closed", fingerprint="f")
    journal.move(entry.id, State.SENDING, "worker 1")
    os._exit(9)


def test_work_of_a_killed_owner_goes_back_to_the_queue(tmp_path: Path) -> None:
    """What was in work when the owner died is ready again after recovery, with a reason."""
    process = multiprocessing.get_context("spawn").Process(target=_own_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9

    with Journal.own(tmp_path) as journal:
        (entry,) = journal.recover()

        assert entry.state is State.READY
        assert journal.transitions(entry.id)[-1].before is State.SENDING
        assert [queued.id for queued in journal.queue(State.READY, limit=9)] == [entry.id]


def test_queue_takes_the_oldest_first_and_what_keeps_breaking_off_last(tmp_path: Path) -> None:
    """Order is by modification time; a recording that was interrupted often yields to others."""
    with Journal.own(tmp_path) as journal:
        for name, modified_ns, interruptions in [("c", 3, 0), ("a", 1, 9), ("b", 2, 1)]:
            entry = discovered(journal, Path(f"/r/{name}"), modified_ns=modified_ns)
            journal.move(entry.id, State.READY, "", fingerprint=name, interruptions=interruptions)

        assert [entry.name for entry in journal.queue(State.READY, limit=9)] == ["b", "c", "a"]
        assert [entry.name for entry in journal.queue(State.READY, limit=1)] == ["b"]


def test_content_has_one_entry_but_may_be_seen_in_many_places(tmp_path: Path) -> None:
    """Two entries of one content are impossible unless one is marked a duplicate."""
    with Journal.own(tmp_path) as journal:
        first = discovered(journal, Path("/r/a.mcap"))
        second = discovered(journal, Path("/r/b.mcap"))
        journal.move(first.id, State.READY, "closed", fingerprint="f")
        with pytest.raises(JournalError):
            journal.move(second.id, State.READY, "closed", fingerprint="f")
        journal.move(second.id, State.IGNORED, "a copy", fingerprint="f", duplicate_of=first.id)

        assert journal.with_content("f") == journal.get(first.id)
        assert [entry.id for entry in journal.duplicates(first.id)] == [second.id]


def test_names_of_any_bytes_are_kept(tmp_path: Path) -> None:
    """A path that is not UTF-8 comes back byte for byte; its name is made printable."""
    odd = Path(os.fsdecode(b"/r/caf\xe9\n.mcap"))
    with Journal.own(tmp_path) as journal:
        entry = discovered(journal, odd)

        assert entry.path == odd
        assert entry.name == "caf\ufffd\n"
        assert journal.find(odd) == entry
        journal.sight(odd, entry_id=entry.id, signature="s")
        assert journal.sightings() == {str(odd): Sighting(entry_id=entry.id, signature="s")}


def test_failure_and_report_survive(tmp_path: Path) -> None:
    """The last failure and the report are read back equal."""
    failure = Failure.of(OfflineError("nobody answers", address="h:1", hint="plug it in"))
    with Journal.own(tmp_path) as journal:
        entry = discovered(journal, Path("/r/a"))
        journal.note(entry.id, failure=failure)
        journal.keep_report(entry.id, {"complete": True})
    with Journal.read(tmp_path) as journal:
        kept = journal.get(entry.id)

        assert kept is not None
        assert kept.failure == failure
        assert failure.trouble is Trouble.OFFLINE
        assert journal.report(entry.id) == {"complete": True}


def test_requests_travel_through_the_journal(tmp_path: Path) -> None:
    """Another process leaves a request; the owner sees it once and answers."""
    with Journal.own(tmp_path) as journal:
        entry = discovered(journal, Path("/r/a"))
        with Journal.read(tmp_path) as other:
            number = other.ask(RequestKind.RETRY, entry.id)
        assert [request.id for request in journal.requests()] == [number]
        journal.answer(number, "queued again")

        assert journal.requests() == []
        assert [request.answer for request in journal.requests(pending=False)] == ["queued again"]


def test_broken_journal_is_set_aside(tmp_path: Path) -> None:
    """A file that is no database any more is kept under another name and a new one begun."""
    with Journal.own(tmp_path) as journal:
        discovered(journal, Path("/r/a"))
    (tmp_path / JOURNAL_FILE).write_bytes(b"\0" * 8192)
    with Journal.own(tmp_path) as journal:
        assert journal.recordings() == []

    assert len(list(tmp_path.glob(f"{JOURNAL_FILE}.broken-*"))) == 1


LOOK = """
from pathlib import Path
from bridge.daemon.journal.journal import Journal
from bridge.errors import JournalError

root, seen = Path({root!r}), set()
print("looking", flush=True)
last = False
while not last:
    last = (root / "stop").exists()
    for folder in sorted(root.glob("state-*"))[-1:]:
        try:
            Journal.read(folder).close()
            seen.add("whole")
        except JournalError as error:
            seen.add(error.message.replace(str(folder), "FOLDER"))
print(*sorted(seen), sep="\\n")
"""


def test_looking_while_it_is_made_hinders_nobody(tmp_path: Path) -> None:
    """Others ask for the status of a bridge that starts for the first time."""
    command = [sys.executable, "-c", LOOK.format(root=str(tmp_path))]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other,
    ):
        assert one.stdout is not None
        assert other.stdout is not None
        try:
            assert {one.stdout.readline(), other.stdout.readline()} == {"looking\n"}
            for number in range(100):
                folder = tmp_path / f"state-{number:03}"
                folder.mkdir()
                Journal.own(folder).close()
        finally:
            (tmp_path / "stop").touch()
        seen = {line.strip() for line in (*one.stdout, *other.stdout)}

    assert seen - {"no journal at FOLDER/journal.db"} == {"whole"}
    assert (one.returncode, other.returncode) == (0, 0)


def test_log_of_a_journal_that_was_removed_is_not_applied(tmp_path: Path) -> None:
    """Who deletes the journal, but not its write-ahead log, gets a new one that is sound."""
    log = tmp_path / f"{JOURNAL_FILE}-wal"
    with Journal.own(tmp_path) as journal:
        discovered(journal, Path("/r/a"))
        written = log.read_bytes()
    (tmp_path / JOURNAL_FILE).unlink()
    log.write_bytes(written)
    with Journal.own(tmp_path) as journal:
        assert journal.recordings() == []
        discovered(journal, Path("/r/b"))

    with Journal.read(tmp_path) as journal:
        assert [entry.path for entry in journal.recordings()] == [Path("/r/b")]


@pytest.mark.parametrize("version", [99, -1, 0])
def test_journal_of_an_unknown_version_is_set_aside(tmp_path: Path, version: int) -> None:
    """It is kept beside a new one, which says so; the platform tells what was sent."""
    with Journal.own(tmp_path) as journal:
        discovered(journal, Path("/r/a"))
    with contextlib.closing(sqlite3.connect(tmp_path / JOURNAL_FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(JournalError, match=f"version {version}"):
        Journal.read(tmp_path)
    with Journal.own(tmp_path) as journal:
        assert journal.recordings() == []
        aside = journal.aside
    assert aside is not None
    assert f"version-{version}-" in aside.name
    with contextlib.closing(sqlite3.connect(aside)) as kept:
        assert kept.execute("SELECT path FROM entries").fetchall() == [(b"/r/a",)]
    with Journal.own(tmp_path) as journal:
        assert journal.aside is None


def test_journal_is_pruned_of_what_is_long_gone(tmp_path: Path) -> None:
    """Only recordings at rest whose source is gone are forgotten, and only after their time."""
    clock = itertools.count(100)
    with Journal.own(tmp_path, wall_ns=lambda: next(clock)) as journal:
        for name in ("gone", "there", "queued"):
            entry = discovered(journal, Path(f"/r/{name}"))
            journal.move(entry.id, State.READY, "", fingerprint=name)
            if name != "queued":
                journal.move(entry.id, State.VANISHED, "")
            if name == "there":
                journal.sight(entry.path, entry_id=entry.id, signature="s")

        assert journal.prune(before_ns=100) == []
        assert [entry.name for entry in journal.prune(before_ns=10_000)] == ["gone"]
        assert {entry.name for entry in journal.recordings()} == {"there", "queued"}


def test_full_disk_is_an_error_and_leaves_the_journal_sound(tmp_path: Path) -> None:
    """A commit that finds no room raises, changes nothing, and works again once there is room."""
    with Journal.own(tmp_path) as journal:
        entry = discovered(journal, Path("/r/a"))
        (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
        journal._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalError, match="full"):
            journal.keep_report(entry.id, {"big": "x" * 100_000})
        assert journal.report(entry.id) is None
        journal._connection.execute("PRAGMA max_page_count = 100000")
        journal.keep_report(entry.id, {"big": "x" * 100_000})

        assert journal.report(entry.id) is not None


def test_instance_name_is_made_once(tmp_path: Path) -> None:
    """The bridge keeps its name, also when the journal is lost."""
    first = instance_id(tmp_path / "state")

    assert len(first) == 32
    assert instance_id(tmp_path / "state") == first
    assert instance_id(tmp_path / "other") != first


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_journal_of_every_older_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """Whatever version wrote it, its recordings, stories and sightings are there afterwards."""
    with contextlib.closing(sqlite3.connect(tmp_path / JOURNAL_FILE)) as old:
        for step in MIGRATIONS[:version]:
            old.executescript(step)
        old.execute(
            "INSERT INTO entries (path, name, state, reason, size_bytes, modified_ns,"
            " discovered_ns, changed_ns, fingerprint, sequence)"
            " VALUES (?, 'a', 'finalised', 'sent', 7, 1, 1, 1, 'f', 'a_1')",
            (b"/r/a.mcap",),
        )
        old.execute(
            "INSERT INTO transitions (entry_id, after, at_ns, reason)"
            " VALUES (1, 'finalised', 1, 'sent')"
        )
        old.execute("INSERT INTO sightings VALUES (?, 1, 's')", (b"/r/a.mcap",))
        old.execute(f"PRAGMA user_version = {version}")
        old.commit()
    with Journal.own(tmp_path) as journal:
        entry = journal.with_content("f")
        assert entry is not None
        seen = journal.sightings()
        story = journal.transitions(entry.id)
    with Journal.read(tmp_path) as journal:
        again = journal.get(entry.id)

    assert again == entry
    assert (entry.state, entry.sequence, entry.size_bytes) == (State.FINALISED, "a_1", 7)
    assert (entry.split_of, entry.split_index) == ("", None)
    assert seen == {"/r/a.mcap": Sighting(entry_id=entry.id, signature="s")}
    assert [step.reason for step in story] == ["sent"]


WRITTEN = sorted((Path(__file__).parent / "versions").glob("*.sql"))


def written(dump: Path, folder: Path) -> list[tuple[str, str, str]]:
    """Restore a state folder that an old bridge left; give names, states and stories as it did."""
    with contextlib.closing(sqlite3.connect(folder / JOURNAL_FILE)) as old:
        old.executescript(dump.read_text(encoding="utf-8"))
        return old.execute(
            "SELECT name, state, (SELECT group_concat(after) FROM (SELECT after FROM transitions"
            " WHERE entry_id = entries.id ORDER BY id)) FROM entries ORDER BY name"
        ).fetchall()


def test_a_journal_of_every_version_is_kept() -> None:
    """What real bridges wrote is here for each version, the first in both of its editions."""
    assert {file.stem for file in WRITTEN} == {
        "1-first", *map(str, range(1, len(MIGRATIONS) + 1)),
    }  # fmt: skip


@pytest.mark.parametrize("dump", WRITTEN, ids=lambda dump: dump.stem)
def test_what_an_old_bridge_knew_is_known(tmp_path: Path, dump: Path) -> None:
    """Recordings in several states keep them, with story, sighting and report, and go on."""
    before = written(dump, tmp_path)
    states = {name: state for name, state, _ in before}
    assert states["late"] in {"ready", "waiting", "sending"}
    assert {"finalised", "partial", "quarantined"} <= set(states.values())
    with (
        pytest.raises(JournalError)
        if dump.stem != str(len(MIGRATIONS))
        else contextlib.nullcontext()
    ):
        Journal.read(tmp_path).close()
    with Journal.own(tmp_path) as journal:
        assert journal.aside is None
        entries = {entry.name: entry for entry in journal.recordings()}
        assert before == [
            (name, entry.state, ",".join(step.after for step in journal.transitions(entry.id)))
            for name, entry in sorted(entries.items())
        ]
        assert entries["sent"].sequence.startswith("sent_")
        assert {str(path) for path in journal.sightings()} >= {
            "/recordings/sent",
            "/recordings/late",
        }
        report = journal.report(entries["cut"].id)
        assert report is not None
        assert report["topics"]
        if entries["late"].state is State.SENDING:
            journal.recover()
        journal.move(entries["late"].id, State.SENDING, "sending")
        assert journal.with_content(entries["sent"].fingerprint) == entries["sent"]
    shown = CliRunner().invoke(
        app, ["status", "--only", "partial", "--state", str(tmp_path), "--json"]
    )
    assert [one["name"] for one in json.loads(shown.stdout)["recordings"]] == ["cut"]


def test_a_newer_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Commands name both versions and send to the newer bridge; the journal stays as it is."""
    Journal.own(tmp_path).close()
    newer = len(MIGRATIONS) + 1
    with contextlib.closing(sqlite3.connect(tmp_path / JOURNAL_FILE)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(JournalError, match=f"version {newer}.* up to {newer - 1}") as refused:
        Journal.read(tmp_path)

    assert "install that version again" in refused.value.hint
    assert {file.name for file in tmp_path.iterdir()} >= {JOURNAL_FILE}
