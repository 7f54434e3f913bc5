"""What Debian's own ROS 1 recorder writes arrives whole, judged by Debian's `rosbag`."""

import hashlib
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bridge.bags import ReadLimits, find_recordings, load_recording, load_split, open_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, ingest
from bridge.model import Recording, Serialization

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(
            Path(path).exists()
            for path in ("/usr/lib/rosbag/record", "/usr/lib/python3/dist-packages/rosmaster")
        ),
        reason="no ROS 1 here: apt install python3-rosbag python3-rosmaster",
    ),
]

SCRIPT = Path(__file__).with_name("record_ros1.py")
COMPRESSIONS = {"none": [], "lz4": ["--lz4"], "bz2": ["--bz2"]}
LATCHED = {"/map", "/calibration"}

Message = tuple[str, int, str, str]


def record(folder: Path, *arguments: str, **options: Any) -> tuple[Counter[str], dict[str, Any]]:
    """Record for real; gives what was published on each topic, and the messages of each file."""
    wanted = {"rows": 1000, "kill": False, "arguments": arguments, **options}
    done = subprocess.run(
        ["/usr/bin/python3", str(SCRIPT), str(folder), json.dumps(wanted)],
        check=False,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    told = json.loads(done.stdout)
    files = {name: [tuple(each) for each in rows] for name, rows in told["files"].items()}
    return Counter(told["published"]), files


def ours(recording: Recording, **limits: Any) -> tuple[Counter[Message], dict[str, int], bool]:
    """Read with our reader; gives the messages, what was counted, and whether it is healthy."""
    found: Counter[Message] = Counter()
    with open_recording(recording, limits=ReadLimits(**limits)) as reader:
        for block in reader.blocks():
            topic = reader.topics[block.topic]
            assert topic.serialization is Serialization.ROS1
            for at, start, end in zip(block.log_times_ns, block.starts, block.ends, strict=True):
                digest = hashlib.sha256(block.data[start:end].tobytes()).hexdigest()
                msgtype = topic.msgtype.replace("/msg/", "/")
                found[topic.name, int(at), msgtype, digest] += 1
        tally = reader.tally
        counted = {
            "kept": sum(count for kind, count in tally.extras.items() if "repeated" in kind),
            "dropped": sum(tally.skipped.values()),
        }
        return found, counted, reader.healthy


def rows_on_platform(folder: Path, platform: Path) -> Counter[str]:
    """Ingest all recordings of a folder, and count the rows of each topic by reading them."""
    rows: Counter[str] = Counter()
    with (
        EmbeddedServer(platform) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        options = IngestOptions(identity=Identity(instance="test"))
        for recording in find_recordings(folder):
            report = ingest(recording, client=client, options=options)
            sequence = client.sequence_handler(report.sequence)
            assert sequence is not None
            for topic in sequence.topics:
                batches = sequence.topic_handler(topic).batches()
                rows[topic] += sum(batch.num_rows for batch in batches)
    return rows


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_splits_arrive(tmp_path: Path, compression: str) -> None:
    """Every message of every split: time, type and bytes as rosbag reads them; all rows."""
    arguments = ["--split", "--size=5", "-O", "drive", *COMPRESSIONS[compression]]
    published, files = record(tmp_path / "bags", *arguments, splits=3)
    judged = Counter(each for rows in files.values() for each in rows)
    assert len(files) >= 3
    assert Counter(topic for topic, *_ in judged.elements()) == published

    (recording,) = find_recordings(tmp_path / "bags")
    found, _, healthy = ours(recording)

    assert len(recording.files) == len(files)
    assert found == judged
    assert healthy
    assert rows_on_platform(tmp_path / "bags", tmp_path / "platform") == published


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_killed_recorder_loses_no_more_than_its_own_tool_does(
    tmp_path: Path, compression: str
) -> None:
    """All that `rosbag reindex` finds in what a kill -9 left, and splits before it whole."""
    arguments = ["--split", "--size=5", "-O", "drive", *COMPRESSIONS[compression]]
    published, files = record(tmp_path / "bags", *arguments, splits=2, kill=True)
    (active,) = (name for name in files if name.endswith(".active"))
    judged = Counter(each for rows in files.values() for each in rows)
    whole = Counter(each for name, rows in files.items() for each in rows if name != active)

    (recording,) = find_recordings(tmp_path / "bags")
    found, _, healthy = ours(recording)

    assert whole
    assert not judged - found
    assert not healthy
    arrived = Counter(topic for topic, *_ in found.elements())
    assert arrived <= published
    assert rows_on_platform(tmp_path / "bags", tmp_path / "platform") == arrived


def test_repeated_latched_messages(tmp_path: Path) -> None:
    """`--repeat-latched`: kept and counted, or left out, also of a split that is sent alone."""
    arguments = ["--split", "--size=3", "-O", "drive", "--repeat-latched"]
    published, files = record(tmp_path / "bags", *arguments, splits=4)
    judged = Counter(each for rows in files.values() for each in rows)
    repeats = len(LATCHED) * (len(files) - 1)
    recorded = Counter(topic for topic, *_ in judged.elements())
    assert recorded.total() == published.total() + repeats

    whole = load_recording(tmp_path / "bags")
    found, counted, _ = ours(whole, repeated_latched="keep")
    assert (found, counted) == (judged, {"kept": repeats, "dropped": 0})
    found, counted, _ = ours(whole, repeated_latched="drop")
    assert Counter(topic for topic, *_ in found.elements()) == published
    assert counted == {"kept": 0, "dropped": repeats}

    alone: Counter[Message] = Counter()
    for number, name in enumerate(sorted(files)):
        split = load_split(tmp_path / "bags" / name)
        found, counted, _ = ours(split, repeated_latched="keep")
        assert (found, counted["kept"]) == (Counter(files[name]), len(LATCHED) * (number > 0))
        found, counted, _ = ours(split, repeated_latched="drop")
        assert counted["dropped"] == len(LATCHED) * (number > 0)
        alone += found
    assert Counter(topic for topic, *_ in alone.elements()) == published

    # Where the split before is gone, what was repeated is the only copy.
    first, second, *_ = sorted(files)
    (tmp_path / "bags" / first).unlink()
    found, counted, _ = ours(load_split(tmp_path / "bags" / second), repeated_latched="drop")
    assert (found, counted) == (Counter(files[second]), {"kept": len(LATCHED), "dropped": 0})
