"""What becomes of files in the folder: grown, copied, moved, replaced, gone, ignored."""

import functools
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.journal.entry import RequestKind
from bridge.daemon.journal.requests import carry_out
from bridge.daemon.journal.states import State
from bridge.daemon.watch import tracker
from bridge.daemon.watch.open_files import Writer
from bridge.errors import JournalError
from tests.daemon.watch.desk import Desk, whole

if TYPE_CHECKING:
    from collections.abc import Callable


def test_growing_file_is_left_alone_until_it_has_ended(desk: Desk) -> None:
    """Growth resets the waiting; the end makes it ready; the story says what it waited for."""
    content = whole("a")
    desk.writers["a.mcap"] = Writer.UNKNOWN
    desk.put("a.mcap", content[:20])
    desk.look()
    desk.put("a.mcap", content[:30])
    desk.look(after_s=299.0)
    assert desk.states() == {"a.mcap": "settling"}
    assert "no proper end" in desk.entry("a.mcap").reason
    desk.put("a.mcap", content)
    desk.look(after_s=299.0)
    assert desk.states() == {"a.mcap": "settling"}
    assert desk.tracker.next_verdict_s == desk.clock.now_s + 5.0
    desk.look(after_s=5.0)

    assert desk.states() == {"a.mcap": "ready"}
    assert not desk.entry("a.mcap").salvage


def test_cut_file_is_salvaged_and_its_healthy_twin_still_welcome(desk: Desk) -> None:
    """A recording taken for salvage does not stand in the way of its repaired version."""
    desk.put("a.mcap", whole("a")[:-3])
    desk.look()
    desk.look(after_s=300.0)
    assert desk.entry("a.mcap").salvage
    salvaged = desk.send("a.mcap")
    desk.put("a.mcap", whole("a"))
    desk.look()
    repaired = desk.journal.at(desk.folder / "a.mcap")

    assert repaired is not None
    assert (repaired.state, repaired.supersedes) == (State.READY, salvaged.id)
    assert not repaired.salvage


def test_close_event_stands_in_for_the_lease(desk: Desk) -> None:
    """Where writers cannot be seen, an event that the file was closed ends the waiting."""
    desk.writers["a.mcap"] = desk.writers["b.mcap"] = Writer.UNKNOWN
    path = desk.put("a.mcap")
    desk.put("b.mcap")
    desk.look(closed={path})

    assert desk.states() == {"a.mcap": "ready", "b.mcap": "settling"}


def test_touched_file_is_known(desk: Desk) -> None:
    """New times on old content change nothing, also for one that is on the platform."""
    path = desk.put("a.mcap")
    desk.look()
    entry = desk.send("a.mcap")
    os.utime(path, ns=(1, 1))
    desk.look()

    assert desk.states() == {"a.mcap": "finalised"}
    assert desk.journal.at(path) == desk.journal.get(entry.id)
    assert len(desk.forgotten) == 1


def test_hardlink_and_copy_are_recognised(desk: Desk) -> None:
    """The same content under a second name is ignored, with a link to the first."""
    path = desk.put("a.mcap")
    desk.look()
    first = desk.entry("a.mcap")
    os.link(path, desk.folder / "b.mcap")
    shutil.copy(path, desk.folder / "c.mcap")
    desk.look()

    assert desk.states() == {"a.mcap": "ready", "b.mcap": "ignored", "c.mcap": "ignored"}
    assert {desk.entry(name).duplicate_of for name in ("b.mcap", "c.mcap")} == {first.id}


def test_copy_takes_over_when_the_original_goes(desk: Desk) -> None:
    """A recording whose file is deleted before it was sent is sent from its copy."""
    path = desk.put("a.mcap")
    desk.look()
    shutil.copy(path, desk.folder / "b.mcap")
    desk.look()
    path.unlink()
    desk.look()
    desk.look()

    assert desk.states() == {"b.mcap": "ready"}


@pytest.mark.parametrize("restart", [False, True])
def test_copy_takes_over_when_the_original_is_gone_at_its_opening(
    desk: Desk, *, restart: bool
) -> None:
    """A worker finds it out before any scan does."""
    path = desk.put("a.mcap")
    desk.look()
    shutil.copy(path, desk.folder / "b.mcap")
    desk.look()
    path.unlink()
    first = desk.entry("a.mcap")
    desk.journal.move(first.id, State.SENDING, "")
    gone = desk.journal.move(first.id, State.VANISHED, "the file is gone")
    if restart:
        desk.restart()
    else:
        desk.tracker.vanished(gone)
    desk.look()

    assert desk.states() == {"b.mcap": "ready"}
    assert desk.entry("b.mcap").id == first.id


def test_copy_that_becomes_the_recording_is_no_copy_any_more(desk: Desk) -> None:
    """A second name changes its times when the first goes, and is asked for; one entry is left."""
    path = desk.put("a.mcap")
    os.link(path, desk.folder / "b.mcap")
    desk.look()
    sent = desk.send("a.mcap")
    desk.journal.move(sent.id, State.DISPOSED, "deleted")
    path.unlink()
    desk.look()

    assert desk.states() == {"b.mcap": "ready"}
    assert [entry.id for entry in desk.journal.recordings()] == [sent.id]


def test_copy_of_a_change_that_is_left_alone_is_a_recording(desk: Desk) -> None:
    """`ignore` is for the place where something changed; elsewhere the same content is sent."""
    desk.choices["watch.on_change"] = "ignore"
    desk.restart()
    path = desk.put("a.mcap")
    desk.look()
    desk.send("a.mcap")
    path.write_bytes(whole("changed"))
    desk.look()
    shutil.copy(path, desk.folder / "b.mcap")
    desk.look()

    assert desk.entry("b.mcap").state is State.READY


@pytest.mark.parametrize("by_scan", [False, True])
def test_what_is_not_there_does_not_come_into_the_queue(desk: Desk, *, by_scan: bool) -> None:
    """Asked to try it again, the bridge says where it is lacking; put back, it goes by itself."""
    path = desk.put("a.mcap")
    desk.look()
    path.unlink()
    desk.look()
    desk.look()
    request_id = desk.journal.ask(RequestKind.RETRY, desk.entry("a.mcap").id)
    (request,) = desk.journal.requests()
    carry_out(desk.journal, request, is_there=desk.tracker.is_there if by_scan else None)
    (answered,) = desk.journal.requests(pending=False)
    assert answered.id == request_id
    assert "its source is not there" in answered.answer
    assert desk.states() == {"a.mcap": "vanished"}

    desk.put("a.mcap")
    desk.look()
    assert desk.states() == {"a.mcap": "ready"}


@pytest.mark.parametrize("sent", [False, True])
def test_renamed_recording_keeps_its_story(desk: Desk, *, sent: bool) -> None:
    """A rename is no new recording, whether before or after sending."""
    path = desk.put("a.mcap")
    desk.look()
    before = desk.send("a.mcap") if sent else desk.entry("a.mcap")
    path.rename(desk.folder / "b.mcap")
    desk.look()
    desk.look()

    assert desk.states() == {"b.mcap": str(before.state)}
    assert desk.entry("b.mcap").id == before.id


def test_replaced_recording_is_new_and_linked(desk: Desk) -> None:
    """Other content under the same name is sent too; what was not sent in time has vanished."""
    desk.put("a.mcap")
    desk.look()
    first = desk.entry("a.mcap")
    desk.put("a.mcap", whole("other"))
    desk.look()
    second = desk.journal.at(desk.folder / "a.mcap")
    old = desk.journal.get(first.id)

    assert second is not None
    assert old is not None
    assert (second.state, second.supersedes) == (State.READY, first.id)
    assert old.state is State.VANISHED


def test_unwanted_change_is_ignored(desk: Desk) -> None:
    """With `on_change = ignore` what was sent is not sent again because it changed."""
    desk.choices["watch.on_change"] = "ignore"
    desk.restart()
    desk.put("a.mcap")
    desk.put("b.mcap")
    desk.look()
    desk.send("a.mcap")
    desk.put("a.mcap", whole("a, reindexed"))
    desk.put("b.mcap", whole("b, before it was sent"))
    desk.look()
    found = {name: desk.journal.at(desk.folder / name) for name in ("a.mcap", "b.mcap")}

    assert {name: entry and entry.state for name, entry in found.items()} == {
        "a.mcap": State.IGNORED,
        "b.mcap": State.READY,
    }


def test_chosen_recordings_go_first(desk: Desk) -> None:
    """Patterns in order, then age."""
    desk.choices["watch.first"] = ("crash/*", "*_event.mcap")
    desk.restart()
    for age, name in enumerate(["old.mcap", "x_event.mcap", "crash/late.mcap", "y_event.mcap"]):
        os.utime(desk.put(name), ns=(age, age))
    desk.look()

    assert [entry.name for entry in desk.journal.queue(State.READY, limit=9)] == [
        "late",
        "x_event",
        "y_event",
        "old",
    ]


def test_reused_inode_is_not_identity(desk: Desk) -> None:
    """A new file that got the inode of a deleted one is new content."""
    path = desk.put("a.mcap")
    desk.look()
    desk.send("a.mcap")
    path.unlink()
    desk.put("b.mcap", whole("b")[:40] + whole("b")[40:])
    desk.look()
    desk.look()

    assert desk.states() == {"a.mcap": "finalised", "b.mcap": "ready"}


def test_vanished_recording_comes_back(desk: Desk) -> None:
    """Gone twice in a row is gone; the same content later is taken up again."""
    path = desk.put("a.mcap")
    desk.look()
    content = path.read_bytes()
    path.unlink()
    desk.look()
    assert desk.states() == {"a.mcap": "ready"}
    desk.look()
    assert desk.states() == {"a.mcap": "vanished"}
    desk.put("sub/a.mcap", content)
    desk.look()

    assert desk.states() == {"a.mcap": "ready"}
    assert desk.entry("a.mcap").path == desk.folder / "sub" / "a.mcap"


def test_missing_folder_concludes_nothing(desk: Desk) -> None:
    """An unmounted folder is an error; no recording is called gone because of it."""
    desk.put("a.mcap")
    desk.look()
    away = desk.folder.with_name("away")
    desk.folder.rename(away)
    for _ in range(3):
        desk.look()
        assert desk.watched_folders[0].problem is not None
    away.rename(desk.folder)
    desk.look()
    assert desk.watched_folders[0].problem is None

    assert desk.states() == {"a.mcap": "ready"}


def test_splits_become_one_recording_when_metadata_comes(desk: Desk) -> None:
    """A folder that is being recorded is one recording from its first split to its metadata."""
    desk.put("drive/drive_0.mcap")
    desk.put("drive/drive_1.mcap", whole("x")[:12])
    desk.writers["drive_1.mcap"] = Writer.SOMEBODY
    desk.look()
    desk.look(after_s=10_000.0)
    assert desk.states() == {"drive": "settling"}
    desk.put("drive/drive_1.mcap")
    del desk.writers["drive_1.mcap"]
    (desk.folder / "drive" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    desk.look()

    assert desk.states() == {"drive": "ready"}


def test_temporary_hidden_linked_and_ignored_are_left_out(desk: Desk) -> None:
    """Names of copies under way, links, and what the settings exclude are not recordings."""
    desk.choices["watch.ignore"] = ("old/*", "scratch_*")
    desk.restart()
    outside = desk.folder.parent / "outside.mcap"
    outside.write_bytes(whole("outside"))
    (desk.folder / "link.mcap").symlink_to(outside)
    for name in (
        ".a.mcap.Xb3kQ9", "a.mcap.part", "a.mcap.active", ".hidden/a.mcap", "notes.txt",
        "old/a.mcap", "old/deep/a.mcap", "scratch_1.mcap",
    ):  # fmt: skip
        desk.put(name)
    desk.put("taken.mcap")

    assert desk.look() == 1
    assert desk.states() == {"taken.mcap": "ready"}


def test_nothing_recordings_end_with_a_reason(desk: Desk) -> None:
    """An empty file and a text file wait like any unfinished one, then are put aside."""
    desk.put("empty.mcap", b"")
    desk.put("page.mcap", b"<html>error 404</html>\n")
    desk.look()
    assert set(desk.states().values()) == {"settling"}
    desk.look(after_s=300.0)
    desk.look()

    assert desk.states() == {"empty.mcap": "empty", "page.mcap": "quarantined"}
    assert desk.entry("page.mcap").failure is not None


def test_waiting_begins_again_after_a_restart(desk: Desk) -> None:
    """What settles is in the journal; its quiet time is measured from the restart."""
    desk.put("a.mcap", whole("a")[:-3])
    desk.look()
    desk.clock.now_s += 10_000.0
    desk.restart()
    desk.look(after_s=0.0)
    assert desk.states() == {"a.mcap": "settling"}
    desk.look(after_s=300.0)

    assert desk.states() == {"a.mcap": "ready"}


def test_unfinished_file_that_goes_away_has_vanished(desk: Desk) -> None:
    """Also when the bridge was not running as it went."""
    gone = desk.put("a.mcap", whole("a")[:-3])
    later = desk.put("b.mcap", whole("b")[:-3])
    desk.look()
    gone.unlink()
    desk.look()
    desk.look()
    later.unlink()
    desk.restart()
    desk.look()
    desk.look()

    assert desk.states() == {"a.mcap": "vanished", "b.mcap": "vanished"}


def test_names_of_any_bytes_are_taken(desk: Desk) -> None:
    """Newlines, wildcards, foreign bytes, leading dashes: each is a file like any other."""
    names = [b"a\nb.mcap", b"a?#%41.mcap", b"caf\xe9.mcap", b"-rf.mcap", b"n" * 250 + b".mcap"]
    for name in names:
        desk.put(os.fsdecode(name), whole(repr(name)))
    desk.look()

    assert {os.fsencode(entry.path.name) for entry in desk.journal.recordings()} == set(names)
    assert set(desk.states().values()) == {"ready"}


def test_full_journal_is_survived(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the journal cannot be written nothing is half known; the next look does it all."""
    desk.put("a.mcap")

    def full(*_: object, **__: object) -> None:
        raise JournalError("full")

    for step in ("discover", "move", "sight"):
        with monkeypatch.context() as patch:
            patch.setattr(desk.journal, step, full)
            with pytest.raises(JournalError):
                desk.look()
    desk.look()

    assert desk.states() == {"a.mcap": "ready"}


CHMOD = """
import sys, os
from pathlib import Path
from bridge.daemon.observe.explain import explain
from bridge.config import Settings, load_settings
os.setuid(65534)
path = Path(sys.argv[1])
settings = load_settings(overrides={"watch.folder": str(path.parent)})
print(explain(path, settings).summary)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take rights away from itself")
def test_unreadable_file_is_explained(desk: Desk) -> None:
    """Without the right to read, the reason says so."""
    path = desk.put("a.mcap")
    path.chmod(0)
    for folder in (desk.folder, *desk.folder.parents[:-2]):
        folder.chmod(0o755)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", CHMOD, str(path)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip

    assert "Permission denied" in done.stdout


class Chaos:
    """Random actions on a folder, with a pretended worker that sends what is in the queue."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.chance = random.Random(seed)
        self.names = [f"{letter}.mcap" for letter in "abcd"]
        self.sent: list[str] = []

    def step(self) -> None:
        look = functools.partial(self.desk.look, after_s=self.chance.choice([0, 1, 10, 400]))
        steps: list[Callable[[], object]] = [self.change, self.change, self.change, look, look]
        steps += [self.send, self.desk.restart]
        self.chance.choice(steps)()

    def send(self) -> None:
        queue = self.desk.journal.queue(State.READY, limit=1)
        if queue and self.desk.tracker.unchanged(queue[0]):
            self.desk.journal.move(queue[0].id, State.SENDING, "")
            self.desk.journal.move(queue[0].id, State.FINALISED, "")
            self.sent.append(queue[0].fingerprint)

    def change(self) -> None:
        path, other = (self.desk.folder / name for name in self.chance.choices(self.names, k=2))
        content = whole(str(self.chance.randrange(5)))
        match self.chance.randrange(6):
            case 0:
                path.write_bytes(content)
            case 1:
                path.write_bytes(content[: self.chance.randrange(9, 40)])
            case 2:
                path.unlink(missing_ok=True)
            case 3 if path.exists():
                path.rename(other)
            case 4 if path.exists() and path != other:
                shutil.copy(path, other)
            case 5 if path.exists():
                os.utime(path)


@pytest.mark.parametrize("seed", [*range(10), pytest.param(-1, marks=pytest.mark.slow)])
def test_random_actions_end_as_the_folder_is(desk: Desk, seed: int) -> None:
    """After any actions and restarts, what stands in the folder is sent, and nothing twice.

    The model: every content in the folder in the end is sent or a copy of what is; no content was
    ever sent twice; nothing waits that is not there.
    """
    chaos = Chaos(desk, seed)
    for _ in range(150 if seed >= 0 else 20_000):
        chaos.step()
    for _ in range(3):
        desk.look(after_s=400.0)
    for _ in desk.journal.recordings():
        chaos.send()
    states = {
        path.name: entry.state
        for path in desk.folder.glob("*.mcap")
        if (entry := desk.journal.at(path)) is not None
    }

    assert len(chaos.sent) == len(set(chaos.sent))
    assert desk.journal.queue(State.READY, limit=99) == []
    assert set(states) == {path.name for path in desk.folder.glob("*.mcap")}
    assert set(states.values()) <= {State.FINALISED, State.IGNORED}


def test_rest_of_a_sent_recording_is_not_sent_again(desk: Desk) -> None:
    """A cleaner that deletes the oldest splits of what was sent makes no new recording of it."""
    for index in range(3):
        desk.put(f"drive/drive_{index}.mcap")
    (desk.folder / "drive" / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    desk.look()
    sent = desk.send("drive")
    for index in range(2):
        (desk.folder / "drive" / f"drive_{index}.mcap").unlink()
        desk.look()
        rest = desk.journal.at(desk.folder / "drive")
        assert rest is not None
        assert (rest.id, rest.state) == (sent.id, State.FINALISED)
        assert f"{index + 1} of its files are not here any more" in rest.reason
    desk.put("drive/drive_2.mcap", whole("other content of another size"))
    desk.look()
    changed = desk.journal.at(desk.folder / "drive")

    assert changed is not None
    assert changed.state is State.READY


def test_ignored_from_now_on_is_not_gone(desk: Desk) -> None:
    """A pattern added by a reload ignores what waits, and nothing else; then it comes back."""
    for name in ("old/a.mcap", "old/b.mcap", "c.mcap"):
        desk.put(name)
    desk.put("old/d.mcap", whole("d")[:-3])
    desk.look()
    desk.send("b.mcap")
    desk.choices["watch.ignore"] = ("old",)
    desk.live.adopt(desk.settings)
    desk.look()
    assert desk.states() == {
        "a.mcap": "ignored",
        "b.mcap": "finalised",
        "c.mcap": "ready",
        "d.mcap": "ignored",
    }
    assert "watch.ignore" in desk.entry("a.mcap").reason
    desk.choices["watch.ignore"] = ()
    desk.live.adopt(desk.settings)
    desk.look()

    assert desk.states()["a.mcap"] == "ready"
    assert desk.states()["b.mcap"] == "finalised"
    newest = desk.journal.at(desk.folder / "old" / "d.mcap")
    assert newest is not None
    assert newest.state is State.SETTLING


@pytest.mark.parametrize("years", [-60, -30, 30, 200])
def test_clock_that_jumps_by_decades_changes_nothing(desk: Desk, years: int) -> None:
    """Neither the dates of files nor the time of day decide whether a recording is complete."""
    jump_ns = years * 365 * 86_400 * 10**9
    desk.writers["a.mcap"] = desk.writers["b.mcap"] = Writer.UNKNOWN
    desk.put("a.mcap")
    desk.look()
    desk.clock.wall += jump_ns
    path = desk.put("b.mcap")
    os.utime(path, ns=(max(0, 10**18 + jump_ns), max(0, 10**18 + jump_ns)))
    desk.look(after_s=4.0)
    assert desk.states() == {"a.mcap": "settling", "b.mcap": "settling"}
    desk.look(after_s=1.0)
    assert desk.states() == {"a.mcap": "ready", "b.mcap": "settling"}
    desk.look(after_s=4.0)

    assert desk.states() == {"a.mcap": "ready", "b.mcap": "ready"}


def test_link_to_a_folder_is_not_followed(desk: Desk) -> None:
    """Neither a link out of the watched folder nor one in a circle is gone into."""
    outside = desk.folder.parent / "outside"
    outside.mkdir()
    (outside / "a.mcap").write_bytes(whole("outside"))
    (desk.folder / "out").symlink_to(outside, target_is_directory=True)
    (desk.folder / "circle").symlink_to(desk.folder, target_is_directory=True)
    (desk.folder / "dangling.mcap").symlink_to(desk.folder / "nothing")
    desk.put("b.mcap")

    assert desk.look() == 1
    assert desk.states() == {"b.mcap": "ready"}


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_is_waited_for(desk: Desk) -> None:
    """What rsync writes is seen once it has its final name, whole; its partial files never."""
    source = desk.folder.parent / "source.mcap"
    source.write_bytes(whole("x" * 3_000_000))
    with subprocess.Popen(
        ["rsync", "--bwlimit=1500", "--whole-file", str(source), str(desk.folder)],
    ) as copying:
        seen = set()
        while copying.poll() is None:
            desk.look(after_s=400.0)
            seen |= {path.name for path in desk.folder.iterdir()}
            if "source.mcap" not in seen:
                assert desk.states() == {}
    desk.look(after_s=400.0)

    assert any(name.startswith(".source.mcap.") for name in seen)
    assert desk.states() == {"source.mcap": "ready"}
    assert not desk.entry("source.mcap").salvage


@pytest.mark.slow
def test_tens_of_thousands_of_files_are_all_taken(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oldest first and in bounded portions; nothing is looked at again that did not change."""
    for number in range(30_000):
        desk.put(f"{number % 100}/{number}.mcap")
    looks = 0
    while looks == 0 or desk.tracker.more_to_enter:
        desk.look()
        looks += 1
    judged = {entry.state for entry in desk.journal.recordings()}
    opened: list[object] = []
    monkeypatch.setattr(tracker, "inspect", lambda found, **_: opened.append(found))
    desk.look()

    assert looks == 15
    assert judged == {State.READY}
    assert len(desk.journal.recordings()) == 30_000
    assert not opened
