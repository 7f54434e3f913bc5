"""The vendor's older SDKs, unmodified, judge the servers that our client is tested against.

Each SDK is installed beside the test run from the package index, without its dependencies, which
are those of the current one; without an index the tests are skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.client import MosaicoClient
from tests.servers.old.session import SessionServer

SCRIPT = Path(__file__).with_name("older_sdk.py")

SDKS = {
    "0.6.3": ("G2c", ()),
    "0.5.0": ("G2b", ()),
    "0.4.3": ("G2a", ()),
    "0.3.2": ("G2a", ("deprecated", "wrapt")),
}

pytestmark = pytest.mark.slow


def installed(version: str, more: tuple[str, ...], folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(folder),
    ]
    done = subprocess.run(
        [*command, f"mosaicolabs=={version}", *more], capture_output=True, check=False, timeout=240
    )
    if done.returncode != 0:
        pytest.skip(f"the package index does not give mosaicolabs {version}")
    return folder


@pytest.mark.parametrize("version", SDKS)
def test_sdk_and_our_client_agree_on_an_old_server(version: str, tmp_path: Path) -> None:
    """The SDK writes and reads back through our old server; our client reads the same of it."""
    revision, more = SDKS[version]
    environment = os.environ | {"PYTHONPATH": str(installed(version, more, tmp_path))}
    with SessionServer(revision) as server:
        done = subprocess.run(
            [sys.executable, SCRIPT, str(server.port)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        theirs = json.loads(done.stdout)
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            assert client.revision == revision
            assert ours(client) == theirs


def ours(client: MosaicoClient) -> dict[str, Any]:
    """What the SDK's script sees, seen by our client."""
    sequence, topic = client.sequence_handler("theirs"), client.topic_handler("theirs", "/a/words")
    assert sequence is not None
    assert topic is not None
    return {
        "topics": sequence.topics,
        "metadata": sequence.user_metadata,
        "range": [sequence.timestamp_ns_min, sequence.timestamp_ns_max],
        "of topic": topic.user_metadata,
        "tag": topic.ontology_tag,
        "words": topic.table().column("data").to_pylist(),
        "window": topic.table(start_ns=11, end_ns=13).column("timestamp_ns").to_pylist(),
        "found": [["theirs", ["/a/words"]]],
    }
