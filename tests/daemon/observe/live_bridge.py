"""A bridge that really runs, its platform behind a line that can be cut, and faults for both.

Every fault is a context manager: inside it the fault is there, after it all is as before. The names
in `FAULTS` are those of the alerts that a fault has to raise.
"""

import contextlib
import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import psutil  # type: ignore[import-untyped]
import pytest
from mcap.writer import CompressionType, Writer

from bridge.client import MosaicoClient
from tests.daemon.chaos_proxy import ChaosProxy
from tests.waiting import PATIENCE_S, HeldPort, wait_for

ROOT = Path(__file__).parents[3]
DISK_BYTES = 32 << 20
CHUNK_BYTES = 4 << 10

SETTINGS = """\
[watch]
folder = "{base}/watched"
settle_s = 0.2
stale_s = 0.6
rescan_interval_s = 0.5
[state]
folder = "{base}/state"
disk_free_min_bytes = 4000000
[server]
host = "{host}"
port = {port}
probe_interval_s = {probe_s}
api_key_file = "{base}/key"
[http]
port = {http_port}
[retry]
attempts_max = 100
backoff_initial_s = 0.2
backoff_max_s = 1
[notifications]
interval_s = {notifications_s}
[disposal]
archive_folder = "{base}/archive"
emergency = {emergency}
# More than any disk has: where emergencies count at all, this is one.
emergency_free_min_bytes = 1_000_000_000_000_000
[uplink]
bytes_per_second_max = {rate}
"""


def api_key(letter: str) -> str:
    """Make a key of the platform's form: payload and its checksum."""
    payload = letter * 32
    return f"msco_{payload}_{zlib.crc32(payload.encode()):08x}"


KEY, WRONG_KEY = api_key("k"), api_key("w")


def recording(text: str, *, messages: int = 40) -> bytes:
    """Make an MCAP of small chunks whose content depends on the text."""
    stream = BytesIO()
    writer = Writer(stream, chunk_size=CHUNK_BYTES, compression=CompressionType.NONE)
    writer.start(profile="ros2", library=text)
    schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
    channel = writer.register_channel("/chatter", "cdr", schema)
    payload = b"\0\1\0\0" + (1000).to_bytes(4, "little") + text.encode().ljust(999) + b"\0"
    for stamp_ns in range(messages):
        writer.add_message(channel, log_time=stamp_ns, publish_time=stamp_ns, data=payload)
    writer.finish()  # type: ignore[no-untyped-call]  # mcap does not say that it returns nothing
    return stream.getvalue()


class Program:
    """One of our processes; what it says goes into a file."""

    def __init__(self, log: Path, *command: str | Path) -> None:
        environment = {
            name: value for name, value in os.environ.items() if "MOSAICO_BRIDGE" not in name
        }
        with log.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)],
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env=environment,
            )

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)


class LiveBridge:
    """The bridge and its platform, in processes of their own; a context manager."""

    def __init__(self, base: Path) -> None:
        self.base, self.watched, self.state = base, base / "watched", base / "state"
        self.log = base / "bridge.log"
        self.watched.mkdir()
        (base / "archive").mkdir()
        self._held = (HeldPort(), HeldPort())
        self.http_port, self._platform_port = (port.number for port in self._held)
        self.numbers = itertools.count()
        self.set_key(KEY)
        (base / "keys.toml").write_text(f'{KEY} = "manage"\n')
        self.proxy = ChaosProxy(self._platform_port)

    def __enter__(self) -> Self:
        self.start_platform()
        self.proxy.__enter__()
        self.configure()
        self.start()
        try:
            wait_for(self.answers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.stop_platform()
        self.proxy.__exit__()

    def start_platform(self, module: str = "bridge") -> None:
        self._platform = Program(
            self.base / "platform.log", "-m", module, "serve", "--port",
            str(self._platform_port), "--folder", self.base / "platform",
            "--api-keys", self.base / "keys.toml",
        )  # fmt: skip

    def stop_platform(self, number: int = signal.SIGTERM) -> None:
        self._platform.end(number)

    def configure(
        self,
        *,
        host: str = "127.0.0.1",
        rate: int | str = 0,
        emergency: bool = False,
        expect: str = "",
        probe_s: float = 60,
        notifications_s: float = 0.5,
    ) -> None:
        """Write the settings."""
        text = SETTINGS.format(
            base=self.base,
            host=host,
            port=self.proxy.port,
            http_port=self.http_port,
            rate=rate,
            emergency=str(emergency).lower(),
            probe_s=probe_s,
            notifications_s=notifications_s,
        )
        (self.base / "bridge.toml").write_text(f"{text}\n{expect}")

    def start(self) -> None:
        self._bridge = Program(
            self.log, "-m", "bridge", "run", "--config", self.base / "bridge.toml"
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._bridge.end(number)

    def reload(self) -> None:
        self._bridge.process.send_signal(signal.SIGHUP)

    def workers(self) -> list[psutil.Process]:
        children = psutil.Process(self._bridge.process.pid).children()
        return [one for one in children if "bridge.daemon.work" in " ".join(one.cmdline())]

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                return True
        except OSError:
            assert self._bridge.process.poll() is None, self.log.read_text()
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                return True
        except urllib.error.HTTPError:
            return False

    def metric(self, name: str) -> float:
        """Give a metric with its labels, as the bridge exposes it at this moment."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(value)

    def set_key(self, key: str) -> None:
        (self.base / "key").write_text(key)
        (self.base / "key").chmod(0o600)

    def client(self) -> MosaicoClient:
        return MosaicoClient.connect("127.0.0.1", self._platform_port, api_key=KEY)

    def drop(self, content: bytes | None = None) -> Path:
        """Put a recording into the folder in one go, one with new content unless it is given."""
        # Not `drive_1`, `drive_2`: those would be splits of one recording.
        name = f"drive{next(self.numbers)}.mcap"
        draft = self.base / name
        draft.write_bytes(recording(name) if content is None else content)
        return draft.rename(self.watched / name)

    def command(self, *arguments: str | Path) -> None:
        words = [sys.executable, "-m", "bridge", *map(str, arguments)]
        file = ("--config", str(self.base / "bridge.toml"))
        done = subprocess.run(
            [*words, *file], check=False, capture_output=True, text=True, cwd=ROOT, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


# -- faults ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def killed(bridge: LiveBridge) -> Iterator[None]:
    """The bridge dies and is not started again."""
    bridge.stop(signal.SIGKILL)
    try:
        yield
    finally:
        bridge.start()


@contextlib.contextmanager
def parked(bridge: LiveBridge) -> Iterator[None]:
    """The vehicle is switched off with a recording that is not on the platform."""
    bridge.proxy.refuse()
    bridge.drop()
    # So long that it was seen by whoever looks now and then.
    wait_for(lambda: bridge.metric("mosaico_bridge_queue_oldest_age_seconds") > 2)
    bridge.stop()
    try:
        yield
    finally:
        bridge.proxy.accept()
        bridge.start()


@contextlib.contextmanager
def locked_journal(bridge: LiveBridge) -> Iterator[None]:
    """Another program holds the journal's database, so that the loop waits for it."""
    lock = sqlite3.connect(bridge.state / "journal.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    bridge.drop()
    try:
        yield
    finally:
        lock.execute("ROLLBACK")
        lock.close()


@contextlib.contextmanager
def swallowing_line(bridge: LiveBridge) -> Iterator[None]:
    """Nothing gets through any more, and nobody says so, while a recording is in work."""
    bridge.proxy.freeze()
    bridge.drop()
    try:
        yield
    finally:
        bridge.proxy.thaw()


@contextlib.contextmanager
def killed_workers(bridge: LiveBridge) -> Iterator[None]:
    """Something kills the workers again and again, as the kernel does where memory is short."""
    for _ in range(4):
        wait_for(bridge.workers)[0].kill()
        time.sleep(0.5)
    yield


@contextlib.contextmanager
def outage(bridge: LiveBridge) -> Iterator[None]:
    """The platform does not answer."""
    bridge.proxy.refuse()
    bridge.drop()
    try:
        yield
    finally:
        bridge.proxy.accept()


@contextlib.contextmanager
def wrong_key(bridge: LiveBridge) -> Iterator[None]:
    """The bridge is started with a key that the platform does not know."""
    bridge.stop()
    bridge.set_key(WRONG_KEY)
    bridge.start()
    try:
        yield
    finally:
        bridge.set_key(KEY)


@contextlib.contextmanager
def thin_uplink(bridge: LiveBridge) -> Iterator[None]:
    """Recordings come faster than they can be sent; later the link is wide again."""
    bridge.configure(rate=2000)
    bridge.reload()
    with dropping(bridge, every_s=1.0):
        yield
    bridge.configure()
    bridge.reload()


@contextlib.contextmanager
def small_disk(bridge: LiveBridge) -> Iterator[Path]:
    """The archive is on a disk of its own, a small one."""
    mount, folder = shutil.which("mount"), bridge.base / "archive"
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    option = f"size={DISK_BYTES}"
    done = subprocess.run([mount, "-t", "tmpfs", "-o", option, "none", str(folder)], check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder / "somebody-elses"
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def full_disk(bridge: LiveBridge) -> Iterator[None]:
    """Somebody fills the disk of the archive."""
    with small_disk(bridge) as file:
        file.write_bytes(bytes(DISK_BYTES * 97 // 100))
        try:
            yield
        finally:
            file.unlink()


@contextlib.contextmanager
def filling_disk(bridge: LiveBridge) -> Iterator[None]:
    """The disk of the archive gets fuller and fuller; it will not last."""
    with small_disk(bridge) as file:
        file.write_bytes(bytes(DISK_BYTES * 80 // 100))

        def append() -> None:
            with file.open("ab") as more:
                more.write(bytes(64 << 10))

        with repeating(append, every_s=0.5):
            yield
        file.unlink()


@contextlib.contextmanager
def emergency(bridge: LiveBridge) -> Iterator[None]:
    """Nothing can be sent and there is no room: the recorder goes on at the cost of a recording."""
    bridge.stop_platform()
    bridge.configure(emergency=True)
    bridge.reload()
    path = bridge.drop()
    wait_for(lambda: not path.exists())
    bridge.configure()
    bridge.reload()
    bridge.start_platform()
    yield


@contextlib.contextmanager
def missing_folder(bridge: LiveBridge) -> Iterator[None]:
    """The watched folder is not there, as when a disk is not mounted."""
    elsewhere = bridge.base / "elsewhere"
    bridge.watched.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(bridge.watched)


@contextlib.contextmanager
def junk(bridge: LiveBridge) -> Iterator[None]:
    """A file is no recording at all; later it is taken away and forgotten."""
    path = bridge.drop(b"this is no bag\n")
    try:
        yield
    finally:
        path.unlink()
        bridge.command("forget", path)


@contextlib.contextmanager
def cut_recording(bridge: LiveBridge) -> Iterator[None]:
    """The power goes while a recording is written: its end is missing, and part of a chunk."""
    bridge.drop(recording(f"cut{next(bridge.numbers)}")[: 5 * CHUNK_BYTES + 100])
    yield


@contextlib.contextmanager
def lossy_platform(bridge: LiveBridge) -> Iterator[None]:
    """The platform has one row fewer than it was sent; later it is an honest one again."""
    bridge.stop_platform()
    bridge.start_platform("tests.daemon.observe.lossy_platform")
    bridge.drop()
    try:
        yield
    finally:
        bridge.stop_platform()
        bridge.start_platform()


@contextlib.contextmanager
def notification(bridge: LiveBridge) -> Iterator[None]:
    """Somebody attaches an error to a sequence of ours on the platform."""
    bridge.drop()
    with bridge.client() as client:
        sequence = wait_for(client.list_sequences)[-1]
        client.sequence_notify(sequence, "the wheels came off")
    yield


@contextlib.contextmanager
def silent_sensor(bridge: LiveBridge) -> Iterator[None]:
    """A camera is expected, and the drive has none; later nothing is expected any more."""
    bridge.configure(expect='[expect."/camera/*"]\nrequired = true\n')
    bridge.reload()
    try:
        with dropping(bridge, every_s=1):
            yield
    finally:
        bridge.configure()
        bridge.reload()


@contextlib.contextmanager
def nothing_recorded(bridge: LiveBridge) -> Iterator[None]:
    """There was a drive, and then none any more."""
    bridge.drop()
    try:
        yield
    finally:
        bridge.drop()


@contextlib.contextmanager
def forgotten_host(bridge: LiveBridge) -> Iterator[None]:
    """The bridge was started without a platform."""
    bridge.stop()
    bridge.configure(host="")
    bridge.start()
    try:
        yield
    finally:
        bridge.stop()
        bridge.configure()
        bridge.start()


Fault = Callable[[LiveBridge], contextlib.AbstractContextManager[Any]]

FAULTS: tuple[tuple[frozenset[str], Fault], ...] = tuple(
    (frozenset(f"MosaicoBridge{name}" for name in names.split()), fault)
    for names, fault in (
        ("Down Silent", killed),
        ("ParkedWithBacklog", parked),
        ("Stalled", locked_journal),
        ("WorkerStalled", swallowing_line),
        ("WorkersLost", killed_workers),
        ("Offline", outage),
        ("Refused", wrong_key),
        ("BacklogGrowing BacklogOld", thin_uplink),
        ("DiskFull", full_disk),
        ("DiskFilling", filling_disk),
        ("Emergency", emergency),
        ("FolderUnreadable", missing_folder),
        ("NeedsAttention", junk),
        ("RecordingPartial", cut_recording),
        ("VerificationFailed", lossy_platform),
        ("Notified", notification),
        ("ExpectationsFailed", silent_sensor),
        ("NoRecordings", nothing_recorded),
        ("Embedded", forgotten_host),
    )
)


@contextlib.contextmanager
def repeating(act: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Do something again and again meanwhile, from a thread of its own."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(every_s):
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def dropping(bridge: LiveBridge, *, every_s: float) -> contextlib.AbstractContextManager[None]:
    return repeating(bridge.drop, every_s=every_s)
