"""The platform as tests of the daemon need it: one that can be killed, and what arrived on one."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from bridge.client import MosaicoClient

SERVER = Path(__file__).parent / "server_process.py"
PORT_PATIENCE_S = 30.0


class PlatformProcess:
    """The embedded server in a process of its own, to be killed and started again on its port.

    Args:
        folder: Where it stores things.

    Attributes:
        port: Where it listens, also after it was started again.
    """

    def __init__(self, folder: Path) -> None:
        self.port = 0
        self._folder = folder
        self._ended = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it; somebody's outgoing connection may have its port for a while."""
        give_up_at_s = time.monotonic() + PORT_PATIENCE_S
        while not (line := self._begin()):
            self.kill()
            assert time.monotonic() < give_up_at_s, "the server does not start"
            time.sleep(0.5)
        self.port = int(line)

    def kill(self) -> None:
        """Kill it, if it runs, and wait until it is gone."""
        self._ended.close()

    def _begin(self) -> str:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(self._folder), str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ended.enter_context(process)
        self._ended.callback(process.kill)
        assert process.stdout is not None
        return process.stdout.readline()


def rows_on(port: int) -> dict[str, dict[str, int]]:
    """Count what arrived: rows by recording and topic.

    Whatever stands on the platform must be whole, and there once.
    """
    found: dict[str, dict[str, int]] = {}
    with MosaicoClient.connect("127.0.0.1", port) as client:
        for sequence in client.list_sequences():
            handler = client.sequence_handler(sequence)
            assert handler is not None
            assert handler.is_locked, f"{sequence} is not finished"
            recording = sequence.rsplit("_", 1)[0]
            assert recording not in found, f"{recording} was sent twice"
            found[recording] = {
                topic: sum(batch.num_rows for batch in handler.topic_handler(topic).batches())
                for topic in handler.topics
            }
    return found


def chatter(messages: dict[str, int]) -> dict[str, dict[str, int]]:
    """Give what `rows_on` finds of recordings made by `mcap_bytes`, by their messages."""
    return {name: {"/chatter": rows} for name, rows in messages.items()}
