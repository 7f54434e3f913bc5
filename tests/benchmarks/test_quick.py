"""Each benchmark suite works: it verifies what it measures and prints its table.

Nothing is asserted about times: a suite ends with an error where what arrived is not what was
written.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import ingest
from benchmarks.scope import Scope
from benchmarks.sink import times_sum
from benchmarks.tables import Table

ROOT = Path(__file__).parent.parent.parent

SUITES = [
    ("ingest", "mixed_db3", {"Whole ingest": 1}),
    ("formats", "mcap zstd,bag lz4,mcap cut", {"Reading and decoding": 3}),
    (
        "mapping",
        "sensor_msgs/msg/Imu,sensor_msgs/msg/Image,tf2_msgs/msg/TFMessage,geometry_msgs/msg/Point32",
        {"Mapping by type, slowest against the vendor first": 4},
    ),
    (
        "client",
        "",
        {
            "`write_batch` against bare Flight, null sink": 5,
            "`TopicHandler.batches` against bare Flight, embedded server": 2,
            "IMU on the wire by body compression": 3,
        },
    ),
    (
        "embedded",
        "imu,query",
        {"Embedded server": 1, "Queries over 20 sequences, 2 topics each": 5},
    ),
    (
        "memory",
        "size,far,latency",
        {
            "Peak PSS by size: mixed drive, zstd": 3,
            "Peak PSS at 50 ms: mixed drive, zstd, auto": 1,
            "From close to finalised sequence, daemon at rest, embedded server": 2,
        },
    ),
    (
        "peers",
        "small",
        {"Reading and decoding, by other readers": 6, "What they do": 4},
    ),
    ("wire", "none", {"Bytes on the wire, mixed drive": 4}),
    (
        "line",
        "",
        {"Topics over a line, IMU": 2, "Mixed drive, a window of a MiB for each connection": 1},
    ),
    ("topics", "", {"As many IMU messages in more topics": 2}),
    ("backfill", "2", {"Backfill of small recordings": 5}),
    ("idle", "", {"At rest over 50 old recordings, 2 s": 2}),
    ("startup", "", {"Start of the command line": 7}),
]


# These take eight seconds and more each, and share what they could break with the others.
LONG = {
    "backfill", "client", "embedded", "formats", "idle", "line", "memory", "peers", "startup",
    "topics", "wire",
}  # fmt: skip


@pytest.mark.parametrize(
    ("suite", "cases", "expected"),
    [
        pytest.param(*row, id=row[0], marks=[pytest.mark.slow] if row[0] in LONG else [])
        for row in SUITES
    ],
)
def test_prints_its_tables(
    suite: str, cases: str, expected: dict[str, int], tmp_path: Path
) -> None:
    """A suite ends well and prints a row for each case, with a figure in every ratio."""
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks", suite, "--quick", "--folder", str(tmp_path),
            *(["--cases", cases] if cases else []),
            # Twice, where that is slow anyway: the first time must not spare the second anything.
            *(["--runs", "2"] if suite in LONG else []),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = _rows_by_title(done.stdout)
    assert found.pop("Ratios") >= 1
    assert found == expected
    assert re.search(r"\| \d", done.stdout)
    assert not list(tmp_path.iterdir()), "recordings are left behind"


def _rows_by_title(text: str) -> dict[str, int]:
    found = {}
    for part in text.split("### ")[1:]:
        title, *lines = part.splitlines()
        found[title] = sum(line.startswith("| ") for line in lines) - 1
    return found


def test_a_wrong_arrival_fails_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A suite does not print figures of an ingest that lost messages."""
    monkeypatch.setattr(
        ingest, "times_sum", lambda start, step, count: times_sum(start, step, count) + 1
    )

    with pytest.raises(SystemExit, match="written"):
        ingest.run(Scope(folder=tmp_path, quick=True, runs=1, names=frozenset({"imu"})))


def test_tables_are_markdown() -> None:
    """Figures keep three digits, whole numbers all of theirs, and what is missing is a dash."""
    text = str(Table("Title", ("case", "a", "b", "c"), [("x", 1234567, 0.12345, None)]))

    assert "| x | 1,234,567 | 0.123 | - |" in text
