"""The server under contract: ours by default, any other by `--mosaico-url`."""

import secrets
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from bridge.client import MosaicoClient, QuerySequence
from tests.contract.wire import WIRES, Wire
from tests.servers.served import Revision, embedded_server

WAITING = {"TestStates", "TestSizes"}
"""Tests of streams, in which the encodings are the same; the slow tests have them in all."""


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what one encoding, or one server, cannot say, and most waiting in the second."""
    unfit = []
    if config.getoption("--mosaico-url"):
        # One server speaks one revision: what its clients see is asked once.
        served = [getattr(item, "callspec", None) for item in items]
        unfit = [
            item
            for item, call in zip(items, served, strict=True)
            if call is not None and call.params.get("server_url", "G2d") != "G2d"
        ]
    for item in items:
        spelt = item.callspec.params.get("spelling") if hasattr(item, "callspec") else None
        if not isinstance(item, pytest.Function) or spelt is None:
            continue
        if ("json_wire" if spelt != "G2d" else "protobuf_wire") in item.fixturenames:
            unfit.append(item)
        elif spelt != "G2d" and item.cls is not None and item.cls.__name__ in WAITING:
            item.add_marker(pytest.mark.slow)
    config.hook.pytest_deselected(items=unfit)
    items[:] = [item for item in items if item not in unfit]


@pytest.fixture(scope="session", params=["G2d", "G3b", pytest.param("G3a", marks=pytest.mark.slow)])
def spelling(request: pytest.FixtureRequest) -> Revision:
    """The revision whose calls a test makes, byte by byte."""
    revision: Revision = request.param
    return revision


@pytest.fixture(scope="session")
def server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, spelling: Revision
) -> Iterator[str]:
    url = request.config.getoption("--mosaico-url")
    if url:
        yield url
        return
    with embedded_server(tmp_path_factory.mktemp("contract"), spelling) as server:
        yield f"grpc://{server.address}"


@pytest.fixture(scope="session")
def server_revision(server_url: str) -> str:
    """The revision that the server speaks, which the first query may have shown."""
    parts = urlsplit(server_url)
    with MosaicoClient.connect(parts.hostname or "", parts.port or 6726) as client:
        client.query(QuerySequence().with_name("absent"))
        return client.revision


@pytest.fixture
def wire(server_url: str, server_revision: str, spelling: Revision) -> Iterator[Wire]:
    if server_revision != spelling:
        pytest.skip(f"{server_revision}: these calls are spelt as in {spelling}")
    connected = WIRES[spelling](server_url)
    yield connected
    connected.close()


@pytest.fixture
def json_wire(wire: Wire) -> Wire:
    """A connection in JSON, for what only JSON can say."""
    return wire


@pytest.fixture
def protobuf_wire(wire: Wire) -> Wire:
    """A connection in protobuf, for what only protobuf can say."""
    return wire


@pytest.fixture
def name(wire: Wire) -> Iterator[str]:
    """A name that no other sequence begins with; what a test makes under it is removed."""
    prefix = f"contract-{secrets.token_hex(6)}"
    yield prefix
    for info in wire.client.list_flights():
        (sequence,) = info.descriptor.path
        if sequence.startswith(prefix.encode()):
            wire.do("sequence_delete", locator=sequence.decode())


@pytest.fixture
def limit_bytes(wire: Wire) -> int:
    """The largest message the server says it takes."""
    limit: int = wire.do("info")["config"]["grpc_max_decode_message_size"]
    return limit
