"""API keys: the form of tokens, what each permission opens, and the order of checks."""

import contextlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from bridge.client import MosaicoClient
from bridge.embedded import ApiKey, EmbeddedServer, Permission
from bridge.errors import ConfigError, RefusedError
from tests.contract.wire import Wire, batch, command, refused


def token(letter: str) -> str:
    payload = letter * 32
    return f"msco_{payload}_{zlib.crc32(payload.encode()):08x}"


TOKENS = {permission: token(permission.name[0].lower()) for permission in Permission}


class Header(flight.ClientMiddleware):  # type: ignore[misc]
    def __init__(self, value: str | None) -> None:
        self.value = value

    def sending_headers(self) -> dict[str, str]:
        return {} if self.value is None else {"mosaico-api-key-token": self.value}


class WithKey(flight.ClientMiddlewareFactory):  # type: ignore[misc]
    def __init__(self, value: str | None) -> None:
        self.value = value

    def start_call(self, info: object) -> Header:  # noqa: ARG002 - pyarrow's signature
        return Header(self.value)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give a server with a key of each permission, and one finalized sequence."""
    keys = {token: permission.name.lower() for permission, token in TOKENS.items()}
    with EmbeddedServer(tmp_path_factory.mktemp("keys"), api_keys=keys) as server:
        wire = connected(f"grpc://{server.address}", TOKENS[Permission.MANAGE])
        wire.recorded("run", imu=batch(1))
        wire.close()
        yield f"grpc://{server.address}"


def connected(url: str, key: str | None) -> Wire:
    return Wire(url, middleware=[WithKey(key)])


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[str | None], Wire]]:
    opened: list[Wire] = []

    def connect(key: str | None) -> Wire:
        opened.append(connected(url, key))
        return opened[-1]

    yield connect
    for wire in opened:
        wire.close()


@pytest.mark.parametrize(
    ("key", "status", "text"),
    [
        (None, "PERMISSION_DENIED", "Missing API key in request header."),
        ("", "PERMISSION_DENIED", "Missing API key in request header."),
        ("msco", "INVALID_ARGUMENT", "Bad request: the token is incomplete."),
        ("abcd_" + "a" * 32 + "_00000000", "INVALID_ARGUMENT", "Bad request: bad header."),
        ("msco_short_00000000", "INVALID_ARGUMENT", "Bad request: bad length."),
        ("msco_" + "A" * 32 + "_00000000", "INVALID_ARGUMENT", "Bad request: bad payload."),
        ("msco_" + "a" * 32 + "_0000000Z", "INVALID_ARGUMENT", "Bad request: bad fingerprint."),
        ("msco_" + "a" * 32 + "_00000000", "INVALID_ARGUMENT", "fingerprint mismatch."),
        (token("x"), "PERMISSION_DENIED", "Unauthorized: API key does not exist."),
    ],
)
def test_bad_key_opens_nothing(
    connect: Callable[[str | None], Wire], key: str | None, status: str, text: str
) -> None:
    """Without a good key every kind of call is refused, for the reason that is."""
    wire = connect(key)
    for call in calls(wire):
        with refused(status, text):
            call()
    # pyarrow's client has no class of its own for a denied GetSchema.
    with pytest.raises((OSError, pa.ArrowInvalid), match=re.escape(text)):
        wire.client.get_schema(command(resource_locator="run/imu"))
    with refused(status, text):
        wire.do("info")


def calls(wire: Wire) -> list[Callable[[], Any]]:
    """Give one call of each RPC but GetSchema, the put last."""
    ticket = flight.Ticket(b'{"resource_locator":"run/imu"}')
    return [
        lambda: list(wire.client.list_flights()),
        lambda: wire.info("run"),
        lambda: wire.client.do_get(ticket).read_all(),
        lambda: wire.put(("run/none", "x"), batch(1)),
    ]


READING = ["info", "query", "topic_filter_clusterize", "topic_filter_intersect"]
READING += ["sequence_notification_list", "topic_notification_list"]
WRITING = ["sequence_create", "session_create", "session_finalize", "topic_create"]
WRITING += ["sequence_notification_create", "topic_notification_create"]
DELETING = ["sequence_delete", "session_delete", "topic_delete"]
DELETING += ["sequence_notification_purge", "topic_notification_purge"]
NEEDS = (
    dict.fromkeys(READING, Permission.READ)
    | dict.fromkeys(WRITING, Permission.WRITE)
    | dict.fromkeys(DELETING, Permission.DELETE)
)

# Complete requests, so that the permission is reached; they name nothing that exists.
REQUEST = {
    "locator": "a b",
    "session_uuid": "x",
    "user_metadata": {},
    "serialization_format": "default",
    "ontology_tag": "T",
    "notification_type": "error",
    "msg": "",
    "clustering_dt_ns": 0,
    "ontology": {},
    "topics": [],
    "intersect_dt_ns": 0,
}


@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("action", NEEDS)
def test_actions_need_their_permission(
    connect: Callable[[str | None], Wire], permission: Permission, action: str
) -> None:
    """An action is refused to a weaker key, by the action's name in camel case."""
    wire = connect(TOKENS[permission])
    body = json.dumps(REQUEST).encode()
    if permission >= NEEDS[action]:
        with contextlib.suppress(pa.ArrowInvalid):
            wire.results(action, body)
        return
    camel = "".join(word.capitalize() for word in action.split("_"))
    with refused(
        "PERMISSION_DENIED",
        f"Unauthorized: provided API key has not enough permissions to execute {camel} action.",
    ):
        wire.results(action, body)


def test_reading_key_reads(connect: Callable[[str | None], Wire]) -> None:
    """A key that may read can list, describe and read, but not put."""
    wire = connect(TOKENS[Permission.READ])
    *reads, put = calls(wire)
    for call in reads:
        call()
    assert wire.client.get_schema(command(resource_locator="run/imu")).schema.names
    with refused(
        "PERMISSION_DENIED", "Unauthorized: provided API key does not have WRITE permissions."
    ):
        put()


def test_body_is_judged_before_the_permission(connect: Callable[[str | None], Wire]) -> None:
    """An unknown action or a malformed body is told even to a key that is too weak."""
    wire = connect(TOKENS[Permission.READ])
    with refused("INVALID_ARGUMENT", "no available action"):
        wire.results("nothing", b"{}")
    with refused("INVALID_ARGUMENT", "body deserialization error."):
        wire.results("sequence_delete", b"{}")


def test_unknown_permission_is_a_configuration_error(tmp_path: Path) -> None:
    """A permission that does not exist is found before anything starts."""
    with pytest.raises(ConfigError, match="'admin'") as caught:
        EmbeddedServer(tmp_path, api_keys={token("a"): "admin"})
    assert "read, write, delete, manage" in caught.value.hint
    assert token("a") not in str(caught.value)


@pytest.mark.parametrize("wrong", ["secret", token("a")[:-1], token("a").replace("a_", "b_")])
def test_key_that_could_never_match_is_a_configuration_error(tmp_path: Path, wrong: str) -> None:
    """It is told by its place; the key itself is not shown."""
    with pytest.raises(ConfigError, match="API key 2 can never be used") as caught:
        EmbeddedServer(tmp_path, api_keys={token("a"): "read", wrong: "write"})
    assert wrong not in f"{caught.value} {caught.value.hint}"


def test_expired_key_opens_nothing(tmp_path: Path) -> None:
    """A key works until it expires and is refused from then on, on open connections too."""
    lasting_s = 1.0
    expires_ns = time.time_ns() + int(lasting_s * 1e9)
    keys = {
        token("a"): ApiKey(permission=Permission.MANAGE, expires_ns=expires_ns),
        token("b"): ApiKey(permission=Permission.READ, expires_ns=1),
        token("c"): ApiKey(permission=Permission.READ),
    }
    with EmbeddedServer(tmp_path, api_keys=keys) as server:
        url = f"grpc://{server.address}"
        lasting, expired, unlimited = (connected(url, token(letter)) for letter in "abc")
        assert lasting.do("info")
        for call in calls(expired):
            with refused("PERMISSION_DENIED", "Unauthorized: API key is expired."):
                call()
        time.sleep(lasting_s)
        with refused("PERMISSION_DENIED", "Unauthorized: API key is expired."):
            lasting.do("info")
        assert unlimited.do("info")
        with pytest.raises(RefusedError, match="expired") as caught:
            MosaicoClient.connect("127.0.0.1", server.port, api_key=token("b"))
        assert "API key" in caught.value.hint
        for wire in (lasting, expired, unlimited):
            wire.close()
