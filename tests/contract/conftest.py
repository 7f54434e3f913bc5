"""The server under contract: ours by default, any other by `--mosaico-url`."""

import json
import secrets
from collections.abc import Iterator

import pytest

from bridge.embedded import EmbeddedServer
from tests.contract.wire import Wire


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


@pytest.fixture
def wire(server_url: str) -> Iterator[Wire]:
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
