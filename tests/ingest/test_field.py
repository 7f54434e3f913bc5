"""Inputs rebuilt from public bug reports: what has to arrive is read back from the platform.

The reports' own files are read where they are present; `tests/bags` makes twins and siblings of
each, which need nothing.
"""

import json
from pathlib import Path

import pytest

from bridge.bags import load_recording
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ingest import Identity, IngestOptions, IngestReport, ingest
from tests.bags.mcap import test_claims as mcap_claims

FIELD = Path(__file__).parents[3] / "shared" / "field"
OPTIONS = IngestOptions(identity=Identity(instance="test"))

CONTAINERS = {
    "counts_absent/a.mcap": {"/s": 1},
    "padded_chunk/plain.mcap": {"/s": 1},
    "padded_chunk/lz4.mcap": {"/s": 1},
    "padded_chunk/zstd.mcap": {"/s": 1},
    "bag_hole/hole.bag": {"/s": 2},
}
"""The cases about containers, with the rows of each topic."""


def arrived(path: Path, platform: Path) -> tuple[dict[str, int], IngestReport]:
    """Ingest a file into a new platform, and count the rows of every topic that it gives back."""
    with (
        EmbeddedServer(platform) as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        report = ingest(load_recording(path), client=client, options=OPTIONS)
        handler = client.sequence_handler(report.sequence)
        assert handler is not None
        rows = {name: sum(1 for _ in handler.topic_handler(name).rows()) for name in handler.topics}
        return rows, report


@pytest.mark.parametrize("case", CONTAINERS)
def test_report_from_the_field_arrives_whole(case: str, tmp_path: Path) -> None:
    """What `cases.json` says, or what rosbag reads where it says nothing."""
    if not FIELD.exists():
        pytest.skip(f"no field cases at {FIELD}")
    told = json.loads((FIELD / "cases.json").read_text()).get(case, {}).get("topics")
    rows, report = arrived(FIELD / case, tmp_path / "platform")

    assert rows == CONTAINERS[case]
    assert told is None or rows == told
    assert report.complete


@pytest.mark.parametrize(
    "name", ["counts of zero", "counts too high", "padding behind lz4", "chunk of another opcode"]
)
def test_wrong_claim_is_neither_damage_nor_partial(name: str, tmp_path: Path) -> None:
    """Every message arrives, and the report names the claim."""
    data, claim = mcap_claims.FILES[name]
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    rows, report = arrived(path, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES)}
    assert report.complete
    assert claim in "; ".join(report.contradictions)
    assert report.as_json()["contradictions"] == report.contradictions


def test_channel_that_a_summary_lacks_arrives(tmp_path: Path) -> None:
    """It shows while the file is read; what was sent by then is replaced."""
    data, _ = mcap_claims.FILES["channel that the summary lacks"]
    path = tmp_path / "drive.mcap"
    path.write_bytes(data)
    rows, report = arrived(path, tmp_path / "platform")

    assert rows == {"/a": len(mcap_claims.TIMES), "/b": 1}
    assert report.complete
