"""Trouble that is no attempt: deleted uploads, disks that give no bytes, platforms that differ."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.client import MosaicoClient
from bridge.daemon.events.events import Event, IngestFailed, IngestStarted, WireMoved
from bridge.daemon.journal.entry import Entry, Failure
from bridge.daemon.journal.states import State
from bridge.daemon.work.outcome import UNREADABLE_MAX, after_failure
from bridge.errors import BridgeError, Trouble
from tests.daemon.platforms import chatter, rows_on
from tests.daemon.test_disk_full import noisy_bytes
from tests.daemon.work.test_trouble import RETRY, entry

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge

MESSAGES = 1000


class Deleter:
    """Deletes the sequence soon after its upload began, so many times."""

    def __init__(self, port: int, *, times: int) -> None:
        self.client = MosaicoClient.connect("127.0.0.1", port)
        self.left = times
        self.is_sending = False
        self.failures: list[Failure] = []

    def hear(self, event: Event) -> None:
        match event:
            case IngestStarted():
                self.is_sending = True
            case WireMoved() if self.is_sending and self.left:
                # Comes each second while there is something left to send.
                self.delete()
            case IngestFailed(failure=failure):
                self.failures.append(failure)
            case _:
                pass

    def delete(self) -> None:
        for sequence in self.client.list_sequences():
            with contextlib.suppress(BridgeError):
                self.client.sequence_delete(sequence)
                self.left -= 1


def test_upload_that_is_deleted_begins_again(bridge: "Bridge") -> None:
    """A sequence that the platform loses while it is sent is sent again; no attempt counts."""
    bridge.overrides |= {
        "ingest.max_batch_size_records": 50,
        "retry.attempts_max": 1,
        # The upload takes some seconds, of which the first batches are queued at once.
        "uplink.bytes_per_second_max": 150_000,
    }
    with bridge.platform() as server:
        deleter = Deleter(server.port, times=1)
        bridge.drop("drive.mcap", noisy_bytes("drive", MESSAGES))
        with bridge.running(deleter):
            found = bridge.await_state("drive.mcap", State.FINALISED)
        deleter.client.close()
        arrived = rows_on(server.port)

    assert arrived == chatter({"drive": MESSAGES})
    assert found.attempts == 0
    assert [failure.error for failure in deleter.failures] == ["UploadGoneError"]


def test_disk_that_gives_no_bytes_for_a_while_costs_nothing(bridge: "Bridge") -> None:
    """EIO that passes is waited for: no attempt, no quarantine, and the recording arrives."""
    quarantine = bridge.folder / "quarantine"
    bridge.overrides |= {"retry.attempts_max": 1, "disposal.quarantine_folder": str(quarantine)}
    flag = bridge.folder / "eio"
    with bridge.platform() as server:
        bridge.worker_command = (sys.executable, str(Path(__file__).parent / "eio_worker.py"))
        flag.touch()
        bridge.drop("drive.mcap", bridge.mcap_bytes("drive", 5))
        with bridge.running():
            bridge.wait_for(
                lambda: (
                    bridge.entries().get("drive.mcap")
                    and bridge.story("drive.mcap").count(State.WAITING) >= 3
                )
            )
            assert bridge.entries()["drive.mcap"].attempts == 0
            flag.unlink()
            found = bridge.await_state("drive.mcap", State.FINALISED)
        arrived = rows_on(server.port)

    assert arrived == chatter({"drive": 5})
    assert found.attempts == 0
    assert not quarantine.exists()


@pytest.mark.parametrize("times", range(UNREADABLE_MAX + 1))
def test_disk_that_never_gives_bytes_is_believed_in_the_end(times: int) -> None:
    """Only after several times, minutes apart, the recording is quarantined."""
    failure = Failure(
        error="UnreadableStorageError", message="Input/output error", trouble=Trouble.TRANSIENT
    )  # fmt: skip
    known: Entry = entry(attempts=2)
    decision = after_failure(known, failure, RETRY, began=True, unreadable=times, noise=0.0)

    assert decision.state is (State.QUARANTINED if times >= UNREADABLE_MAX else State.WAITING)
    assert decision.attempts == known.attempts
