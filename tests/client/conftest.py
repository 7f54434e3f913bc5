"""Servers and clients for the client's tests."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.ontology import Integer64
from tests.client.bad_server import BadServer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[MosaicoClient]:
    with MosaicoClient.connect("127.0.0.1", server.port) as connected:
        yield connected


@pytest.fixture
def name(request: pytest.FixtureRequest, client: MosaicoClient) -> Iterator[str]:
    """A sequence name of the test's own; whatever is left under it is removed."""
    chosen = re.sub(r"[^A-Za-z0-9_-]+", "-", request.node.name)
    yield chosen
    for left in client.list_sequences():
        if left.startswith(chosen):
            client.sequence_delete(left)


@pytest.fixture
def bad_server() -> Iterator[BadServer]:
    with BadServer() as running:
        yield running
        running.released.set()


@pytest.fixture
def bad_client(bad_server: BadServer) -> Iterator[MosaicoClient]:
    with MosaicoClient.connect(
        "127.0.0.1", bad_server.port, stall_timeout_s=1.0, call_timeout_s=2.0
    ) as connected:
        yield connected


@pytest.fixture
def mortal_port() -> Iterator[int]:
    """The port of a bad server in a process of its own, which may die."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.client.bad_server"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def integers(*times_ns: int) -> pa.RecordBatch:
    """Make rows of `Integer64` whose data is their time."""
    return pa.record_batch([pa.array(times_ns, pa.int64())] * 2, schema=Integer64.schema)
