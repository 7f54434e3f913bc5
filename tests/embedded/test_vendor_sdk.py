"""The unmodified vendor SDK against the server: the judge that knows nothing of our code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.embedded import EmbeddedServer

TOKEN = "msco_vrfeceju4lqivysxgaseefa3tsxs0vrl_1b676530"


def vendor(server: EmbeddedServer, phase: str, *options: str) -> Any:
    """Run one phase of the SDK's script and give what it saw."""
    script = Path(__file__).with_name("vendor_sdk.py")
    done = subprocess.run(
        [sys.executable, script, str(server.port), phase, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Give a server into which the SDK has written a sequence."""
    with EmbeddedServer(tmp_path_factory.mktemp("vendor")) as running:
        assert vendor(running, "write") == {"sequences": ["drive-1"]}
        yield running


@pytest.fixture(scope="module")
def seen(server: EmbeddedServer) -> Any:
    return vendor(server, "read")


def test_sequence_reads_as_written(seen: Any) -> None:
    """The SDK finds the topics, metadata, range and lock of what it wrote."""
    assert seen["topics"] == ["/camera", "/gps", "/imu/front", "/words"]
    assert seen["metadata"] == {"driver": {"id": "d1"}, "rain": False}
    assert seen["range"] == [1000, 1999]
    assert seen["locked"] == [True]
    assert seen["bytes"] > 0
    assert seen["topic"] == {"chunks": 1, "locked": True, "tag": "IMU", "metadata": {"rate": 100}}


def test_messages_read_typed(seen: Any) -> None:
    """Typed messages of four models come back, in time order, with their values."""
    assert seen["imu"] == [[1000 + row, row / 10] for row in range(1000)]
    assert seen["heights"] == [400.0 + row for row in range(10)]
    assert seen["words"] == [f"word {row}" for row in range(10)]
    assert seen["picture"] == list(range(12))


def test_windows_and_merged_streams(seen: Any) -> None:
    """The SDK reads a window of a topic, and all topics of a sequence merged by time."""
    assert seen["window"] == list(range(1100, 1200))
    assert len(seen["merged"]) == 1021
    assert seen["merged"] == sorted(seen["merged"])


def test_queries_of_the_sdk(server: EmbeddedServer) -> None:
    """The SDK's builders find by name, metadata, topic and content, and cluster what they find."""
    everything = {"drive-1": ["/camera", "/gps", "/imu/front", "/words"]}
    assert vendor(server, "query") == {
        "by name": everything,
        "by substring": {},
        "by metadata": everything,
        "by topic": {"drive-1": ["/gps"]},
        "by content": {"drive-1": ["/imu/front"]},
        "by both": {},
        "nothing": {},
        "clusters": [[1991, 1999]],
    }


def test_error_policies_of_the_sdk(server: EmbeddedServer) -> None:
    """`Delete` leaves nothing, `Report` leaves notifications, and updates add topics."""
    seen = vendor(server, "errors")
    assert seen == {
        "sequences": ["drive-1", "kept"],
        "of sequence": 1,
        "of topic": [["/words", "boom"]],
        "cleared": 0,
        "topics": ["/late", "/words"],
        "after": ["drive-1"],
    }


def test_sdk_over_tls_with_a_key(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The SDK connects through TLS with an API key."""
    pem, key = (file.read_bytes() for file in certificate)
    with EmbeddedServer(
        tmp_path, tls_certificates=[(pem, key)], api_keys={TOKEN: "write"}
    ) as server:
        written = vendor(server, "write", str(certificate[0]), TOKEN)
        assert written == {"sequences": ["drive-1"]}
