"""Several watched folders: one daemon, one journal, settings of their own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bridge.config import load_settings
from bridge.daemon.journal.states import State
from bridge.daemon.reload import plan_reload
from bridge.errors import ConfigError
from tests.daemon.watch.desk import Desk

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


def overrides(bridge: "Bridge", **folders: dict[str, Any]) -> None:
    """Let a bridge watch these folders, below its own."""
    del bridge.overrides["watch.folder"]
    for name in folders:
        (bridge.watched / name).mkdir()
    bridge.overrides["folders"] = {
        name: {"path": str(bridge.watched / name), **choices} for name, choices in folders.items()
    }


def test_each_folder_goes_by_its_own_settings(bridge: "Bridge") -> None:
    """Disposal, priorities and what the worker is told differ by folder; the rest is shared."""
    bridge.overrides["disposal.verification"] = "counts"
    overrides(
        bridge,
        front={"disposal": {"mode": "delete"}, "ingest": {"topic_prefix": "/front"}},
        rear={"watch": {"ignore": ["*.db3", "scratch*"]}},
    )
    gone = bridge.drop("front/a.mcap")
    kept = bridge.drop("rear/b.mcap")
    bridge.drop("rear/scratch.mcap")
    with bridge.running() as daemon:
        bridge.await_state("a.mcap", State.DISPOSED)
        bridge.await_state("b.mcap", State.FINALISED)
        status = daemon.status
    assert status is not None

    assert not gone.exists()
    assert kept.exists()
    assert "scratch.mcap" not in bridge.entries()
    assert {folder.name: folder.folder.name for folder in status.folders} == {
        "front": "front",
        "rear": "rear",
    }
    assert sorted(bridge.log("prefixes")) == ["a /front", "b "]


def test_missing_folder_does_not_stop_the_other(bridge: "Bridge") -> None:
    """A folder that is not there is told, and nothing of it is concluded; the other goes on."""
    overrides(bridge, front={}, rear={})
    bridge.drop("front/waits.mcap")
    (bridge.folder / "offline").touch()
    bridge.daemon().run_once()
    assert bridge.entries()["waits.mcap"].state is State.READY
    (bridge.folder / "offline").unlink()
    away = bridge.folder / "away"
    (bridge.watched / "front").rename(away)
    bridge.drop("rear/b.mcap")
    with bridge.running() as daemon:
        bridge.await_state("b.mcap", State.FINALISED)
        bridge.wait_for(lambda: daemon.status and daemon.status.watch.scans > 3)
        status = daemon.status
        assert status is not None
        assert [folder.readable for folder in status.folders] == [False, True]
        assert not status.watch.readable
        assert "front" in status.watch.problem
        assert bridge.entries()["waits.mcap"].state is State.READY
        away.rename(bridge.watched / "front")
        bridge.await_state("waits.mcap", State.FINALISED)


def test_content_in_two_folders_is_sent_once(bridge: "Bridge") -> None:
    """A copy in another folder is known, and goes on for the first when that one disappears."""
    overrides(bridge, front={}, rear={})
    bridge.drop("front/a.mcap", bridge.mcap_bytes("same"))
    bridge.drop("rear/b.mcap", bridge.mcap_bytes("same"))
    bridge.daemon().run_once()

    assert len(bridge.log("arrived")) == 1
    assert sorted(entry.state for entry in bridge.entries().values()) == ["finalised", "ignored"]


def test_many_stuck_recordings_do_not_hide_the_rest(bridge: "Bridge") -> None:
    """Hundreds in the queue of an absent folder, older than all others, stop nobody."""
    overrides(bridge, front={}, rear={})
    for number in range(250):
        bridge.drop(f"front/{number}.mcap")
    (bridge.folder / "offline").touch()
    bridge.daemon().run_once()
    (bridge.folder / "offline").unlink()
    (bridge.watched / "front").rename(bridge.folder / "away")
    bridge.drop("rear/b.mcap")
    with bridge.running():
        bridge.await_state("b.mcap", State.FINALISED)


WRONG = {
    "overlap": ({"a": {"path": "/r"}, "b": {"path": "/r/x"}}, "lies in folders.a"),
    "same": ({"a": {"path": "/r"}, "b": {"path": "/r"}}, "lies in folders"),
    "unknown": ({"a": {"path": "/r", "watch": {"setle_s": 1}}}, "watch.setle_s"),
    "value": ({"a": {"path": "/r", "disposal": {"mode": "burn"}}}, "disposal.mode"),
    "folder": ({"a": {"path": "/r", "watch": {"folder": "/q"}}}, "watch.folder"),
    "archive": (
        {"a": {"path": "/r"}, "b": {"path": "/q", "disposal": {"archive_folder": "/r/old"}}},
        "puts files into folders.a",
    ),
    "state": ({"a": {"path": "/"}}, "state.folder"),
}


@pytest.mark.parametrize("case", WRONG)
def test_contradictions_are_refused(case: str) -> None:
    """Folders in each other, unknown keys and wrong values are named at the start."""
    folders, expected = WRONG[case]
    with pytest.raises(ConfigError, match=expected):
        load_settings(overrides={"folders": folders})


def test_main_folder_and_tables_exclude_each_other() -> None:
    """A folder set in the main table would silently not be watched."""
    with pytest.raises(ConfigError, match=r"watch\.folder and \[folders\]"):
        load_settings(overrides={"watch.folder": "/q", "folders": {"a": {"path": "/r"}}})


def test_folders_lie_over_the_main_tables() -> None:
    """What a folder sets counts there, the rest is the main tables'; its patterns go first."""
    settings = load_settings(
        overrides={
            "watch.settle_s": 7.0,
            "topics": {"/a": {"max_hz": 1.0}, "/b": {"max_hz": 1.0}},
            "metadata": {"fleet": "x", "side": "none"},
            "folders": {
                "left": {
                    "path": "/l",
                    "topics": {"/b": {"every_nth": 2}, "/*": {"max_hz": 3.0}},
                    "metadata": {"side": "left"},
                },
                "right": {"path": "/r", "watch": {"settle_s": 1.0}},
            },
        }
    )
    left, right = settings.watched["left"], settings.watched["right"]

    assert (left.watch.settle_s, right.watch.settle_s) == (7.0, 1.0)
    assert (left.watch.folder, right.watch.folder) == (Path("/l"), Path("/r"))
    assert list(left.topics) == ["/b", "/*", "/a"]
    assert left.topics["/b"].every_nth == 2
    assert left.metadata == {"fleet": "x", "side": "left"}
    assert right.metadata == {"fleet": "x", "side": "none"}


def test_folder_takes_over_what_the_single_one_does() -> None:
    """Reloadable keys are reloadable in a folder's table too; paths and names are not."""
    before = {"a": {"path": "/a", "watch": {"settle_s": 1.0}}, "b": {"path": "/b"}}
    after = {
        "a": {"path": "/a", "watch": {"settle_s": 2.0, "recursive": False}},
        "b": {"path": "/other", "metadata": {"x": "1"}},
        "c": {"path": "/c"},
    }
    plan = plan_reload(
        load_settings(overrides={"folders": before}), load_settings(overrides={"folders": after})
    )

    assert {change.key for change in plan.applied} == {
        "folders.a.watch.settle_s",
        "folders.b.metadata.x",
    }
    assert {change.key for change in plan.refused} == {
        "folders.a.watch.recursive",
        "folders.b.path",
        "folders.c",
    }
    watched = plan.settings.watched
    assert set(watched) == {"a", "b"}
    assert watched["a"].watch.settle_s == 2.0
    assert watched["a"].watch.recursive
    assert (watched["b"].watch.folder, watched["b"].metadata) == (Path("/b"), {"x": "1"})


def test_chosen_recordings_of_any_folder_go_first(desk: Desk) -> None:
    """Patterns of one folder bring its recordings before all that nobody chose, by age within."""
    desk.choices = {
        "folders": {
            "front": {"path": str(desk.folder / "front")},
            "rear": {"path": str(desk.folder / "rear"), "watch": {"first": ["crash*", "near*"]}},
        }
    }
    desk.restart()
    for name in ("front/old", "rear/usual", "rear/near", "front/new", "rear/crash"):
        desk.put(f"{name}.mcap")
    desk.look()

    queue = [entry.name for entry in desk.journal.queue(State.READY, limit=9)]
    assert queue[:2] == ["crash", "near"]
    assert set(queue[2:]) == {"old", "usual", "new"}


def test_folder_that_is_not_watched_any_more_is_left_alone(desk: Desk) -> None:
    """Its recordings are ignored, not gone, and are taken up again with it."""
    for name in ("front/a.mcap", "front/b.mcap", "rear/c.mcap"):
        desk.put(name)
    both = {name: {"path": str(desk.folder / name)} for name in ("front", "rear")}
    desk.choices = {"folders": both}
    desk.restart()
    desk.look()
    desk.send("b.mcap")
    desk.choices = {"folders": {"rear": both["rear"]}}
    desk.restart()
    desk.look()
    assert desk.states() == {"a.mcap": "ignored", "b.mcap": "finalised", "c.mcap": "ready"}
    assert "no watched folder" in desk.entry("a.mcap").reason
    desk.choices = {"folders": both}
    desk.restart()
    desk.look()

    assert desk.states() == {"a.mcap": "ready", "b.mcap": "finalised", "c.mcap": "ready"}
