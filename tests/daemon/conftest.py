"""A daemon in a thread with scripted workers, and recordings to drop into its folder."""

import contextlib
import itertools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import Writer as McapWriter

from bridge.config import Settings, load_settings
from bridge.daemon.daemon import Daemon
from bridge.daemon.dispose.proof import Prove
from bridge.daemon.events.events import DaemonObserver
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.watch import folder_scans
from bridge.daemon.work.process import WORKER_COMMAND
from bridge.embedded import EmbeddedServer
from bridge.errors import JournalError, OfflineError
from bridge.ingest import Held, Holding, SequenceContent, VerificationLevel
from tests.daemon.chaos_proxy import ChaosProxy
from tests.daemon.watch.desk import Desk
from tests.servers.served import Revision, embedded_server
from tests.waiting import PATIENCE_S, wait_for

ROOT = Path(__file__).parent.parent.parent
WORKER = (sys.executable, str(Path(__file__).parent / "scripted_worker.py"))


def mcap_bytes(text: str = "", messages: int = 3, topics: int = 1) -> bytes:
    """Make a small recording whose content depends on the text; all topics have all messages."""
    stream = BytesIO()
    writer = McapWriter(stream)
    writer.start(profile="ros2", library=text)
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    names = ["/chatter", *(f"/chatter_{number}" for number in range(1, topics))]
    channels = [writer.register_channel(name, "cdr", schema) for name in names]
    data = len(text.encode()) + 1
    payload = b"\0\1\0\0" + data.to_bytes(4, "little") + text.encode() + b"\0"
    for index, channel in itertools.product(range(messages), channels):
        writer.add_message(channel, log_time=index, publish_time=index, data=payload)
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


class Bridge:
    """One bridge's folders and settings, and a daemon over them."""

    mcap_bytes = staticmethod(mcap_bytes)
    wait_for = staticmethod(wait_for)

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.watched = folder / "watched"
        self.state = folder / "state"
        self.watched.mkdir()
        self.server: tuple[str, int] = ("platform", 1)
        self.worker_command: tuple[str, ...] = WORKER
        self.prove: Prove | None = self._scripted_proof
        self.overrides: dict[str, Any] = {
            "watch.folder": str(self.watched),
            "watch.settle_s": 0.2,
            "watch.stale_s": 0.6,
            "watch.rescan_interval_s": 0.5,
            "state.folder": str(self.state),
            "server.host": "platform",
            "server.port": 1,
            "retry.backoff_initial_s": 0.05,
            "retry.backoff_max_s": 0.2,
            "retry.attempts_max": 3,
        }
        monkeypatch.setenv("MOSAICO_TEST_FOLDER", str(folder))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        for name in [name for name in os.environ if name.startswith("MOSAICO_BRIDGE_")]:
            monkeypatch.delenv(name)

    @property
    def settings(self) -> Settings:
        return load_settings(overrides=self.overrides)

    def daemon(self, observer: DaemonObserver | None = None) -> Daemon:
        return Daemon(
            self.settings,
            server=self.server,
            observer=observer,
            worker_command=self.worker_command,
            prove=self.prove,
        )

    def _scripted_proof(self, contents: Sequence[SequenceContent]) -> dict[str, Holding]:
        """Answer as the platform of the scripted workers, which has all that they sent."""
        if (self.folder / "offline").exists():
            raise OfflineError("nobody answers")
        counts = VerificationLevel.COUNTS
        return {
            one.sequence: Holding(sequence=one.sequence, held=Held.WHOLE, level=counts)
            for one in contents
        }

    def send_to(self, port: int) -> None:
        """Let real workers send to a real server on this machine."""
        self.server = ("127.0.0.1", port)
        self.worker_command = WORKER_COMMAND
        self.prove = None
        self.overrides |= {"server.host": "127.0.0.1", "server.port": port}

    @contextlib.contextmanager
    def platform(self, revision: Revision = "G2d") -> Iterator[EmbeddedServer]:
        """Let real workers send to a real server."""
        with embedded_server(self.folder / "platform", revision) as server:
            self.send_to(server.port)
            yield server

    @contextlib.contextmanager
    def bad_line(self, revision: Revision = "G2d") -> Iterator[ChaosProxy]:
        """Let them send over a line that can be made bad."""
        with self.platform(revision) as server, ChaosProxy(server.port) as proxy:
            self.send_to(proxy.port)
            yield proxy

    @contextlib.contextmanager
    def running(self, observer: DaemonObserver | None = None) -> Iterator[Daemon]:
        """Run a daemon in a thread; what it raises, this raises."""
        daemon = self.daemon(observer)
        errors: list[BaseException] = []

        def run() -> None:
            try:
                daemon.run()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield daemon
        finally:
            daemon.stop()
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), "the daemon does not stop"
        if errors:
            raise errors[0]

    @staticmethod
    def turns(daemon: Daemon, count: int = 3) -> None:
        """Wait until the loop has looked at everything so many times more."""
        for _ in range(count):
            seen = daemon.status
            wait_for(lambda: daemon.status is not seen)  # noqa: B023 - called before the next turn

    def drop(self, name: str, content: bytes | None = None) -> Path:
        """Put a recording into the folder, in one go."""
        path = self.watched / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.folder / "draft"
        draft.write_bytes(mcap_bytes(name) if content is None else content)
        draft.rename(path)
        return path

    def entries(self) -> dict[str, Entry]:
        """Give the journal's entries by file name."""
        with contextlib.suppress(JournalError), Journal.read(self.state) as journal:
            return {entry.path.name: entry for entry in journal.recordings()}
        return {}

    def story(self, name: str) -> list[State]:
        """Give the states a recording went through."""
        with Journal.read(self.state) as journal:
            return [step.after for step in journal.transitions(self.entries()[name].id)]

    def await_state(self, name: str, state: State) -> Entry:
        """Wait until a recording is in a state."""

        def look() -> Entry | None:
            entry = self.entries().get(name)
            return entry if entry is not None and entry.state is state else None

        try:
            found = wait_for(look)
        except AssertionError as error:
            raise AssertionError(f"{name} is {self.entries().get(name)}") from error
        assert isinstance(found, Entry)
        return found

    def log(self, name: str) -> list[str]:
        """Read what the scripted workers noted."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bridge:
    # On a busy machine each look takes long, and tests that wait for the next would wait a minute.
    monkeypatch.setattr(folder_scans, "LOOKING_SHARE_MAX", 1.0)
    return Bridge(tmp_path, monkeypatch)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "watched").mkdir()
    with Journal.own(tmp_path / "state") as journal:
        yield Desk(tmp_path / "watched", journal)
