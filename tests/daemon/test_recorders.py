"""The table of recorders in docs/reliability.md: whose files are taken when, and as what."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bridge.client import MosaicoClient
from tests.daemon.test_parts import Field, bag_split, split_bytes, times_of
from tests.daemon.test_reliability_doc import table
from tests.daemon.test_splits import metadata

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

CLOCK = "2026_06_01-10"
CLOCK_1 = "2026-06-01-10"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a recorder leaves, in the order of time.

    Attributes:
        recorder: The first cell of its row.
        first: Files that are there while it records; nothing of them is taken yet.
        then: Files that are there when it has ended.
        lists: A folder and the files in it that a `metadata.yaml` lists then.
        taken: What is one sequence each, by the numbers of the files' contents; after `stale_s`
            where `stale`.
        called: How the sequences' names begin.
    """

    recorder: str
    first: dict[str, int] = field(default_factory=dict)
    then: dict[str, int] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    taken: list[set[int]]
    called: str
    stale: bool = False


ROWS = [
    Row(
        recorder="rosbag2 up to Kilted",
        first={"kilted/kilted_0.X": 0, "kilted/kilted_1.X": 1},
        lists=("kilted", "kilted_0.X", "kilted_1.X"),
        taken=[{0, 1}],
        called="kilted",
    ),
    Row(
        recorder="rosbag2 up to Kilted",
        first={"killed/killed_0.X": 2, "killed/killed_1.X": 3},
        taken=[{2, 3}],
        called="killed",
        stale=True,
    ),
    Row(
        recorder="rosbag2 from Lyrical on",
        first={f"lyrical/0_lyrical_{CLOCK}_00_01.X": 4, f"lyrical/1_lyrical_{CLOCK}_00_09.X": 5},
        lists=("lyrical", f"0_lyrical_{CLOCK}_00_01.X", f"1_lyrical_{CLOCK}_00_09.X"),
        taken=[{4, 5}],
        called="lyrical",
    ),
    Row(
        recorder="rosbag2 from Lyrical on",
        first={
            f"dated_{CLOCK}_00_01/0_dated_{CLOCK}_00_01.X": 6,
            f"dated_{CLOCK}_00_01/1_dated_{CLOCK}_00_09.X": 7,
        },
        taken=[{6, 7}],
        called=f"dated_{CLOCK}",
        stale=True,
    ),
    Row(
        recorder="rosbag2, any names",
        then={"any/morning.X": 8, "any/noon_0.X": 9, "any/noon_1.X": 10, "any/alien.X": 11},
        lists=("any", "morning.X", "noon_0.X"),
        taken=[{8, 9, 10}, {11}],
        called="a",
    ),
    Row(
        recorder="`rosbag record --split -O`",
        first={"split_0.bag": 12, "split_1.bag": 13, "split_2.bag.active": 14},
        then={"split_2.bag": 14},
        taken=[{12, 13, 14}],
        called="split",
    ),
    Row(
        recorder="`rosbag record --split -o`",
        first={f"o_{CLOCK_1}-00-01_0.bag": 15, f"o_{CLOCK_1}-00-09_1.bag.active": 16},
        then={f"o_{CLOCK_1}-00-09_1.bag": 16},
        taken=[{15, 16}],
        called="o_",
    ),
    Row(
        recorder="`rosbag record`, loggers",
        then={f"l_{CLOCK_1}-00-01.bag": 17, "l_20260601_100002.X": 18, "l_20260601_100003.X": 19},
        taken=[{17}, {18}, {19}],
        called="l_",
    ),
    Row(
        recorder="a recorder of ROS 1 that was killed",
        first={"torn.bag.active": 20},
        taken=[{20}],
        called="torn",
        stale=True,
    ),
]
SPLITS = "any of them with `ingest.unit"


def sequences(port: int) -> dict[str, set[int]]:
    """Give what is on the platform: by sequence, the contents, each message of which is there once.

    That is found by reading all rows back.
    """
    number_of = {stamp: number for number in range(21) for stamp in times_of(number)}
    found = {}
    with MosaicoClient.connect("127.0.0.1", port) as client:
        for name in client.list_sequences():
            handler = client.sequence_handler(name)
            assert handler is not None
            stamps = [
                stamp
                for topic in handler.topic_handlers().values()
                for batch in topic.batches()
                for stamp in batch.column("timestamp_ns").to_pylist()
            ]
            numbers = {number_of[stamp] for stamp in stamps}
            assert sorted(stamps) == sorted(one for number in numbers for one in times_of(number))
            found[name] = numbers
    return found


def put(bridge: "Bridge", extension: str, files: dict[str, int]) -> None:
    for name, number in files.items():
        if ".bag" in name:
            content = bag_split(number, bridge.folder)
            if name.endswith(".active"):
                # What is written last, when it is closed, is not there yet.
                content = content[: int.from_bytes(content.split(b"index_pos=")[1][:8], "little")]
        else:
            content = split_bytes(number, extension, bridge.folder)
        bridge.drop(name.replace("X", extension), content)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["recording", "split"])
@pytest.mark.parametrize("extension", ["mcap", "db3"])
def test_each_recorder_is_taken_when_and_as_the_table_says(
    bridge: "Bridge", extension: str, unit: str
) -> None:
    """Three looks: while they record, when they have ended, and when those that died are stale."""
    bridge.overrides |= {"ingest.unit": unit, "watch.settle_s": 0.1, "watch.stale_s": 60.0}
    with bridge.platform() as server:
        run = Field(bridge, server.port, extension).run
        for row in ROWS:
            put(bridge, extension, row.first)
        run()
        early = sequences(server.port)
        for row in ROWS:
            for name in set(row.first) - set(row.then):
                if name.endswith(".active") and not row.stale:
                    (bridge.watched / name).unlink()
            put(bridge, extension, row.then)
            if row.lists:
                folder, *names = (name.replace("X", extension) for name in row.lists)
                bridge.drop(f"{folder}/metadata.yaml", metadata(names).encode())
        run()
        whole = sequences(server.port)
        bridge.overrides["watch.stale_s"] = 0.1
        run()
        late = sequences(server.port)

    ended = [numbers for row in ROWS if not row.stale for numbers in row.taken]
    killed = [numbers for row in ROWS if row.stale for numbers in row.taken]
    if unit == "recording":
        assert early == {}
        assert by_number(whole.values()) == by_number(ended)
        assert by_number(late.values()) == by_number(ended + killed)
        for row in ROWS:
            names = [name for name, numbers in late.items() if numbers in row.taken]
            assert all(name.startswith(row.called) for name in names)
    else:
        # Whatever is closed or followed goes at once, each file alone.
        assert early
        assert by_number(late.values()) == [[number] for number in range(21)]


def by_number(sets: Iterable[set[int]]) -> list[list[int]]:
    return sorted(sorted(numbers) for numbers in sets)


def test_the_table_has_the_rows_that_are_tested() -> None:
    """Each recorder of the documentation is in the test above, and no other."""
    documented = [row[0] for row in table("recorders")]
    tested = list(dict.fromkeys(row.recorder for row in ROWS))
    assert documented[:-1] == tested
    assert documented[-1].startswith(SPLITS)
