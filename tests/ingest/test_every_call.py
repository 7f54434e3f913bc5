"""Every call of an ingest, one at a time: its answer is lost, it never arrives, the database fails.

The calls are those that an undisturbed ingest makes, on small servers of old revisions.
"""

import contextlib
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pyarrow import flight

from bridge.client import MosaicoClient
from bridge.errors import BrokenLinkError, PlatformBusyError
from tests.ingest.test_real_platform import MESSAGES, platform, send, write
from tests.ingest.test_resume import Kept, rows
from tests.servers.old.server import OldServer

TOPICS = {f"/t{number}": "x" for number in range(3)}
TRIES = 4
LINK, DATABASE = "Socket closed", "Internal error: database failure. deadlock detected"
FLIGHT_INFO = "get_flight_info"


class OneFault:
    """Stands before a server's calls, and once lets one of a kind fail."""

    def __init__(self, server: OldServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: set[str] = set()
        self.at, self.words, self.is_late, self.left = "", "", False, 0
        action, info = type(server).do_action, type(server).get_flight_info

        def do_action(server: OldServer, context: Any, asked: Any) -> Iterator[Any]:
            return iter(self.around(asked.type, lambda: list(action(server, context, asked))))

        def get_flight_info(server: OldServer, *arguments: Any) -> Any:
            return self.around(FLIGHT_INFO, lambda: info(server, *arguments))

        monkeypatch.setattr(type(server), "do_action", do_action)
        monkeypatch.setattr(type(server), "get_flight_info", get_flight_info)

    def around(self, name: str, call: Callable[[], Any]) -> Any:
        self.calls.add(name)
        if name != self.at or not self.left:
            return call()
        self.left -= 1
        if self.is_late:
            call()
        raise (
            flight.FlightUnavailableError(LINK)
            if self.words == LINK
            else flight.FlightInternalError(self.words)
        )


def arrives(client: MosaicoClient, bag: Path, words: str) -> str:
    """Send until it is there, as the daemon would; every error is of the fault's own kind."""
    kept, kind = Kept(), BrokenLinkError if words == LINK else PlatformBusyError
    for _ in range(TRIES):
        with contextlib.suppress(kind):
            return send(client, bag, kept).sequence
    raise AssertionError("never arrived")


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["G1.0", "G1.2", "G2a", "G2c"])
def test_a_fault_in_any_call_costs_no_message_and_doubles_none(
    revision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sequence with every message once, whatever call fails, and never a fault of ours."""
    bag = write(tmp_path / "bag.mcap", TOPICS)
    with platform(revision) as (server, client), monkeypatch.context() as patched:
        undisturbed = OneFault(server, patched)
        arrives(client, bag, LINK)
    assert {"sequence_create", "topic_create", FLIGHT_INFO} <= undisturbed.calls

    for at, words, is_late in product(sorted(undisturbed.calls), (LINK, DATABASE), (False, True)):
        with platform(revision) as (server, client), monkeypatch.context() as patched:
            fault = OneFault(server, patched)
            fault.at, fault.words, fault.is_late, fault.left = at, words, is_late, 1
            sequence = arrives(client, bag, words)

            assert fault.left == 0, (at, words, is_late)
            assert list(server.sequences) == [sequence], (at, words, is_late)
            assert rows(client, sequence) == dict.fromkeys(TOPICS, MESSAGES), (at, words, is_late)
