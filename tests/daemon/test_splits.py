"""Splits as units: sent while the recorder runs, linked, named to sort, disposed of one by one."""

import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient
from bridge.daemon.journal.states import State
from bridge.daemon.observe.explain import explain
from bridge.daemon.watch.completeness import Rule
from bridge.daemon.watch.open_files import Writer
from bridge.embedded import EmbeddedServer
from bridge.mapping import BRIDGE_KEY
from tests.daemon.watch.desk import Desk, whole

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

METADATA = """\
rosbag2_bagfile_information:
  version: 9
  storage_identifier: mcap
  relative_file_paths: [{files}]
  files: [{described}]
  custom_data: {{driver: ada}}
  ros_distro: jazzy
"""


def metadata(files: list[str]) -> str:
    """Write what a recorder says about these files."""
    described = ", ".join(f"{{path: {name}}}" for name in files)
    return METADATA.format(files=", ".join(files), described=described)


@pytest.fixture
def splits(desk: Desk) -> Desk:
    desk.choices["ingest.unit"] = "split"
    desk.restart()
    return desk


def test_closed_split_goes_while_the_next_is_written(splits: Desk) -> None:
    """The first split is ready at once, without metadata; the second when it is closed."""
    splits.put("drive/drive_0.mcap")
    splits.put("drive/drive_1.mcap", whole("x")[:12])
    splits.writers["drive_1.mcap"] = Writer.SOMEBODY
    splits.look()
    assert splits.states() == {"drive_0.mcap": "ready", "drive_1.mcap": "settling"}
    splits.put("drive/drive_1.mcap")
    splits.writers.clear()
    splits.look()

    assert splits.states() == {"drive_0.mcap": "ready", "drive_1.mcap": "ready"}
    assert [splits.entry(f"drive_{index}.mcap").split_index for index in (0, 1)] == [0, 1]
    assert {entry.split_of for entry in splits.journal.recordings()} == {"drive"}


@pytest.mark.parametrize("place", ["drive/drive", "other/drive"])
def test_next_split_proves_that_the_last_is_closed(splits: Desk, place: str) -> None:
    """Where writers cannot be seen, a later split ends the waiting, in a folder of any name."""
    for index in (0, 1):
        splits.put(f"{place}_{index}.mcap")
    listed = [f"drive_{index}.mcap" for index in (0, 1)]
    if place.startswith("other"):
        splits.put("other/metadata.yaml", metadata(listed).encode())
    for index in (0, 1):
        splits.writers[f"drive_{index}.mcap"] = Writer.UNKNOWN
    splits.look()

    assert splits.states() == {"drive_0.mcap": "ready", "drive_1.mcap": "settling"}
    assert "a later one has been started" in splits.entry("drive_0.mcap").reason
    splits.look(after_s=5.0)
    assert splits.states()["drive_1.mcap"] == "ready"


def test_split_that_somebody_writes_is_not_touched(splits: Desk) -> None:
    """Two files of one recorder may be open at once; a later one proves nothing then."""
    splits.put("drive/drive_0.mcap")
    splits.put("drive/drive_1.mcap")
    splits.writers["drive_0.mcap"] = Writer.SOMEBODY
    splits.look(after_s=10_000.0)

    assert splits.states() == {"drive_0.mcap": "settling", "drive_1.mcap": "ready"}


def test_cut_split_is_salvaged_without_stopping_the_others(splits: Desk) -> None:
    """A split without its end waits alone, and is salvaged alone."""
    splits.put("drive/drive_0.mcap", whole("a")[:-3])
    splits.put("drive/drive_1.mcap")
    splits.look()
    assert splits.states() == {"drive_0.mcap": "settling", "drive_1.mcap": "ready"}
    splits.look(after_s=300.0)

    assert splits.entry("drive_0.mcap").salvage
    assert not splits.entry("drive_1.mcap").salvage


def test_names_of_splits_sort(splits: Desk) -> None:
    """The tenth split comes after the second, and all carry the recording's name."""
    for index in (2, 10, 100):
        splits.put(f"night/rec_{index}.mcap")
    listed = [f"rec_{index}.mcap" for index in (2, 10, 100)]
    (splits.folder / "night" / "metadata.yaml").write_text(metadata(listed))
    splits.look()
    names = [splits.entry(f"rec_{index}.mcap").name for index in (2, 10, 100)]

    assert names == ["night_00002", "night_00010", "night_00100"]
    assert names == sorted(names)


def test_oldest_splits_may_be_deleted_by_their_recorder(splits: Desk) -> None:
    """What goes before it was sent has vanished; the others keep their numbers and go on."""
    for index in range(4):
        splits.put(f"drive/drive_{index}.mcap")
    splits.look()
    splits.send("drive_0.mcap")
    for index in (0, 1):
        (splits.folder / "drive" / f"drive_{index}.mcap").unlink()
    splits.look()
    splits.look()

    assert splits.states() == {
        "drive_0.mcap": "finalised",
        "drive_1.mcap": "vanished",
        "drive_2.mcap": "ready",
        "drive_3.mcap": "ready",
    }


def test_file_without_number_is_a_recording(splits: Desk) -> None:
    """A recording without splits becomes a sequence named as before."""
    splits.put("lone.mcap")
    splits.put("drive/drive.mcap")
    (splits.folder / "drive" / "metadata.yaml").write_text(metadata([]))
    splits.look()

    assert {entry.name: entry.split_of for entry in splits.journal.recordings()} == {
        "lone": "",
        "drive": "",
    }


def test_compressed_twin_is_the_same_split(splits: Desk) -> None:
    """While a split is compressed it waits; sent before that, the platform is asked for it."""
    packed = bytes(pa.compress(whole("drive/drive_0.mcap"), codec="zstd", asbytes=True))
    splits.put("drive/drive_0.mcap")
    splits.put("drive/drive_0.mcap.zstd", packed[:20])
    splits.put("drive/drive_1.mcap")
    splits.look()
    assert splits.states() == {"drive_0.mcap": "settling", "drive_1.mcap": "ready"}
    assert "being written" in splits.entry("drive_0.mcap").reason
    splits.put("drive/drive_0.mcap.zstd", packed)
    (splits.folder / "drive" / "drive_0.mcap").unlink()
    splits.send("drive_1.mcap")
    again = bytes(pa.compress(whole("drive/drive_1.mcap"), codec="zstd", asbytes=True))
    splits.put("drive/drive_1.mcap.zstd", again)
    (splits.folder / "drive" / "drive_1.mcap").unlink()
    splits.look()
    splits.look()

    assert splits.states() == {
        "drive_0.mcap": "vanished",
        "drive_0.mcap.zstd": "ready",
        "drive_1.mcap": "finalised",
        "drive_1.mcap.zstd": "ready",
    }


@pytest.mark.parametrize("first", ["recording", "split"])
def test_other_unit_sends_nothing_twice(bridge: "Bridge", first: str) -> None:
    """What was sent whole is not sent in splits, nor the other way round; later splits are."""
    second = "split" if first == "recording" else "recording"
    with bridge.platform() as server:
        for index in (0, 1):
            bridge.drop(f"drive/drive_{index}.mcap")
        bridge.drop("drive/metadata.yaml", metadata(["drive_0.mcap", "drive_1.mcap"]).encode())
        bridge.overrides["ingest.unit"] = first
        with bridge.running():
            bridge.wait_for(lambda: finished(bridge) and rows(server.port) == 6)
        bridge.drop("drive/drive_2.mcap")
        bridge.drop("drive/metadata.yaml", metadata([f"drive_{n}.mcap" for n in range(3)]).encode())
        bridge.overrides["ingest.unit"] = second
        with bridge.running():
            bridge.wait_for(lambda: finished(bridge) and rows(server.port) == 9)

        assert rows(server.port) == 9
    if second == "recording":
        assert "2 of 3 parts were sent before, as" in bridge.entries()["drive"].reason


def finished(bridge: "Bridge") -> bool:
    """Tell whether everything that is there was dealt with."""
    states = {entry.state for entry in bridge.entries().values()}
    return bool(states) and states <= {State.FINALISED, State.VANISHED}


def rows(port: int) -> int:
    """Count everything on the platform."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        handlers = [client.sequence_handler(name) for name in client.list_sequences()]
        return sum(
            batch.num_rows
            for handler in handlers
            if handler is not None and handler.is_locked
            for topic in handler.topics
            for batch in handler.topic_handler(topic).batches()
        )


RECORDER = """
import sys, time
from pathlib import Path
from mcap.writer import Writer

folder = Path(sys.argv[1])
folder.mkdir()
for index in range(int(sys.argv[2])):
    with (folder / f"{folder.name}_{index}.mcap").open("wb") as stream:
        writer = Writer(stream, chunk_size=1000)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        channel = writer.register_channel("/chatter", "cdr", schema)
        for number in range(100):
            data = b"\\0\\1\\0\\0" + (5).to_bytes(4, "little") + b"%04d\\0" % number
            stamp = index * 1000 + number
            writer.add_message(channel, log_time=stamp, publish_time=stamp, data=data)
        stream.flush()
        print(index, flush=True)
        sys.stdin.readline()
        if index + 1 == int(sys.argv[2]):
            (folder / "metadata.yaml").write_text(sys.argv[3])
        writer.finish()
"""


def marks_of(port: int) -> dict[str, Any]:
    """Give what the metadata of every sequence says of its origin."""
    with MosaicoClient.connect("127.0.0.1", port) as client:
        handlers = {name: client.sequence_handler(name) for name in client.list_sequences()}
        return {
            name: handler.user_metadata[BRIDGE_KEY]
            for name, handler in handlers.items()
            if handler is not None and handler.is_locked
        }


@pytest.mark.parametrize("mode", ["delete", pytest.param("move", marks=pytest.mark.slow)])
def test_splits_arrive_while_the_recorder_runs(bridge: "Bridge", mode: str) -> None:
    """Each closed split is on the platform before the next; in the end nothing is left behind."""
    archive = bridge.folder / "archive"
    bridge.overrides |= {
        "ingest.unit": "split",
        "disposal.mode": mode,
        "disposal.archive_folder": str(archive),
        "watch.stale_s": 60.0,
    }
    folder = bridge.watched / "drive"
    listed = metadata([f"drive_{index}.mcap" for index in range(3)])
    with (
        bridge.platform() as server, bridge.running(),
        subprocess.Popen(
            [sys.executable, "-c", RECORDER, str(folder), "3", listed],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as recorder,
    ):  # fmt: skip
        assert recorder.stdin is not None
        assert recorder.stdout is not None
        for index in range(3):
            assert recorder.stdout.readline() == f"{index}\n"
            bridge.wait_for(lambda: len(marks_of(server.port)) == index)  # noqa: B023 - at once
            recorder.stdin.write("\n")
            recorder.stdin.flush()
        bridge.wait_for(lambda: not folder.exists())
        marks = marks_of(server.port)

    assert [name.rsplit("_", 1)[0] for name in sorted(marks)] == [
        "drive_00000",
        "drive_00001",
        "drive_00002",
    ]
    splits = [marks[name]["split"] for name in sorted(marks)]
    assert [split["index"] for split in splits] == [0, 1, 2]
    assert {split["recording"] for split in splits} == {"drive"}
    assert len({split["recording_id"] for split in splits}) == 1
    kept = sorted(path.name for path in archive.rglob("*") if path.is_file())
    assert kept == (
        ["drive_0.mcap", "drive_1.mcap", "drive_2.mcap", "metadata.yaml"] * (mode == "move")
    )


def test_split_is_explained_as_one(splits: Desk, tmp_path: Path) -> None:
    """`explain` says which part of what a file is, and judges it by itself."""
    first = splits.put("drive/drive_0.mcap")
    splits.put("drive/drive_1.mcap", whole("x")[:12])
    splits.look()
    splits.choices["state.folder"] = tmp_path / "state"
    found = explain(first, splits.settings, check_writer=lambda _path: Writer.NOBODY)

    assert found.verdict is not None
    assert found.verdict.rule is Rule.CLOSED
    assert found.watched
    assert "split 0 of drive" in found.summary


def test_salvaged_split_and_whole_ones_share_their_recording(bridge: "Bridge") -> None:
    """Splits without metadata.yaml are linked by the same id; a cut one is partial by itself."""
    bridge.overrides |= {"ingest.unit": "split", "watch.stale_s": 0.5}
    content = [bridge.mcap_bytes(f"split {index}" * 50, messages=50) for index in range(2)]
    with bridge.platform() as server:
        for index, cut in itertools.zip_longest(range(2), [0, 60]):
            bridge.drop(
                f"night/night_{index}.mcap", content[index][: len(content[index]) - (cut or 0)]
            )
        bridge.daemon().run_once()
        marks = marks_of(server.port)
    states = {name: entry.state for name, entry in bridge.entries().items()}

    assert states == {"night_0.mcap": State.FINALISED, "night_1.mcap": State.PARTIAL}
    assert len({mark["split"]["recording_id"] for mark in marks.values()}) == 1
    assert [mark["healthy"] for _, mark in sorted(marks.items())] == [True, False]


def test_one_off_ingest_takes_splits_too(bridge: "Bridge") -> None:
    """`mosaico-bridge ingest` of a recording's folder sends its splits when they are the unit."""
    for index in range(2):
        bridge.drop(f"drive/drive_{index}.mcap", bridge.mcap_bytes(f"split {index}"))
    config = bridge.folder / "bridge.toml"
    config.write_text('[ingest]\nunit = "split"\n')
    with EmbeddedServer(bridge.folder / "platform") as server:
        done = subprocess.run(
            [
                sys.executable, "-m", "bridge", "ingest", str(bridge.watched / "drive"), "--json",
                "--config", str(config), "--state", str(bridge.state),
                "--host", "127.0.0.1", "--port", str(server.port),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        marks = marks_of(server.port)

    assert done.returncode == 0, done.stderr
    assert [mark["split"]["index"] for _, mark in sorted(marks.items())] == [0, 1]
