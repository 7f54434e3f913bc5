"""The server under contract: ours by default, any other by `--mosaico-url`."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from tests.contract.wire import Wire

WIRE_REVISION = "G2d"
"""Whose calls the tests of the server make, byte by byte; those of the client suit any revision."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was left out for which revision."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple) and "tests/contract" in report.nodeid
    )
    if reasons:
        terminalreporter.section("contract: left out for the server's revision")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count:>4} {reason}")


@pytest.fixture(scope="session")
def server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    url = request.config.getoption("--mosaico-url")
    if url:
        yield url
        return
    with EmbeddedServer(tmp_path_factory.mktemp("contract")) as server:
        yield f"grpc://{server.address}"


@pytest.fixture(scope="session")
def server_revision(server_url: str) -> str:
    """The revision that the server speaks."""
    parts = urlsplit(server_url)
    with MosaicoClient.connect(parts.hostname or "", parts.port or 6726) as client:
        return client.revision


@pytest.fixture
def wire(server_url: str, server_revision: str) -> Iterator[Wire]:
    if server_revision != WIRE_REVISION:
        pytest.skip(f"{server_revision}: these calls are spelt as in {WIRE_REVISION}")
    connected = Wire(server_url)
    yield connected
    connected.close()


@pytest.fixture
def name(wire: Wire) -> Iterator[str]:
    """A name that no other sequence begins with; what a test makes under it is removed."""
    prefix = f"contract-{secrets.token_hex(6)}"
    yield prefix
    for info in wire.client.list_flights():
        (sequence,) = info.descriptor.path
        if sequence.startswith(prefix.encode()):
            wire.results("sequence_delete", json.dumps({"locator": sequence.decode()}).encode())


@pytest.fixture
def limit_bytes(wire: Wire) -> int:
    """The largest message the server says it takes."""
    limit: int = wire.do("info")["config"]["grpc_max_decode_message_size"]
    return limit
