"""Exactly once, whatever is killed: the real daemon, real workers, the real embedded server."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.client import MosaicoClient
from bridge.daemon.journal.states import State
from bridge.errors import BridgeError
from tests.daemon.conftest import Bridge
from tests.daemon.nobody import NOBODY, as_nobody
from tests.daemon.platforms import PlatformProcess, chatter, rows_on
from tests.daemon.processes import alive, children
from tests.daemon.small_disks import small_disk
from tests.daemon.test_parts import on_platform, once, split_bytes
from tests.daemon.test_splits import metadata

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
POINTS = (
    "discovered", "ready", "sending", "started", "planned:2", "progress", "progress:3",
    "stage-read", "stage-send", "stage-verify", "verified", "stage-finalize", "finalised",
    "finished", "ready:2", "sending:2", "verified:2", "finalised:2",
)  # fmt: skip
# One of each kind: before, in the middle of, and between verifying and committing an upload.
SOME_POINTS = ("ready", "progress", "verified", "stage-finalize")


class Site:
    """A server process, a daemon process, and what can be asked about them afterwards."""

    def __init__(self, bridge: Bridge, server: PlatformProcess) -> None:
        self.bridge = bridge
        self.server = server
        self.messages: dict[str, int] = {}
        self.config = bridge.folder / "bridge.toml"
        self.config.write_text(
            f"""
            [watch]
            folder = "{bridge.watched}"
            settle_s = 0.2
            rescan_interval_s = 1.0
            [state]
            folder = "{bridge.state}"
            [server]
            host = "127.0.0.1"
            port = {server.port}
            stall_timeout_s = 5.0
            [ingest]
            max_batch_size_records = 500
            [retry]
            backoff_initial_s = 0.1
            backoff_max_s = 0.5
            """
        )

    def drop(self, name: str, messages: int) -> None:
        self.messages[name] = messages
        # Where the tests run as root, it belongs to root: the daemon may read it, and no more.
        self.bridge.drop(f"{name}.mcap", self.bridge.mcap_bytes(name * 20, messages))

    @contextlib.contextmanager
    def daemon(self, *, kill_at: str = "") -> Iterator["subprocess.Popen[bytes]"]:
        """Run the daemon as a user of its own; it is killed at the end if it still runs."""
        prefix = as_nobody()
        self.bridge.state.mkdir(exist_ok=True)
        if prefix:
            os.chown(self.bridge.state, NOBODY, NOBODY)
        process = subprocess.Popen(
            [
                *prefix,
                sys.executable,
                str(HERE / "daemon_process.py"),
                str(self.config),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MOSAICO_TEST_KILL_AT": kill_at},
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def settled(self) -> bool:
        """Tell whether every recording has come to rest."""
        states = {name: entry.state for name, entry in self.bridge.entries().items()}
        return states == {f"{name}.mcap": State.FINALISED for name in self.messages}

    def check(self) -> None:
        """Every recording is exactly one whole sequence, and nothing else is on the platform."""
        assert rows_on(self.server.port) == chatter(self.messages)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # Not in pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="site-") as name:
        Path(name).chmod(0o755)
        bridge = Bridge(Path(name), monkeypatch)
        with PlatformProcess(bridge.folder / "platform") as server:
            yield Site(bridge, server)


def finish(site: Site) -> None:
    """Run a daemon undisturbed until everything has come to rest, then check the platform."""
    with site.daemon():
        try:
            site.bridge.wait_for(site.settled)
        except AssertionError as error:
            raise AssertionError(f"not at rest: {site.bridge.entries()}") from error
    site.check()


def test_daemons_killed_at_many_steps_deliver_exactly_once(site: Site) -> None:
    """One daemon after the other dies at another point, with recordings left by the one before."""
    for number, point in enumerate(SOME_POINTS):
        site.drop(f"a{number}", 2000)
        site.drop(f"b{number}", 10)
        with site.daemon(kill_at=point) as process:
            assert process.wait(60) == -signal.SIGKILL, f"{point} was never reached"
    finish(site)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_daemon_killed_at_any_step_delivers_exactly_once(site: Site, point: str) -> None:
    """After a kill at a state or event, the next daemon ends in one whole sequence each."""
    site.drop("a", 3000)
    site.drop("b", 10)
    with site.daemon(kill_at=point) as process:
        assert process.wait(60) == -signal.SIGKILL, f"{point} was never reached"
    finish(site)


def kill_at_random(site: Site, *, rounds: int, seed: int) -> None:
    """Drop recordings while daemon or server are killed at random moments."""
    chance = random.Random(seed)
    for number in range(rounds):
        site.drop(f"r{number}", chance.choice([1, 100, 5000]))
        with site.daemon() as process:
            time.sleep(chance.uniform(0.5, 3.0))
            if chance.random() < 0.3:
                site.server.kill()
                time.sleep(chance.uniform(0.0, 0.5))
                site.server.start()
            process.send_signal(signal.SIGKILL)
            process.wait()
    finish(site)


@pytest.mark.slow
def test_random_kills_deliver_exactly_once(site: Site) -> None:
    """Kills of daemon and server at random moments, with new recordings coming in."""
    kill_at_random(site, rounds=4, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_hundred_random_kills_deliver_exactly_once(site: Site) -> None:
    """The same, a hundred times."""
    kill_at_random(site, rounds=100, seed=2)


def test_killed_server_is_sent_to_again(site: Site) -> None:
    """A platform that dies in the middle of an upload gets the recording whole afterwards."""
    site.drop("a", 200_000)
    with site.daemon():
        site.bridge.wait_for(lambda: sending(site))
        site.server.kill()
        site.bridge.wait_for(lambda: site.bridge.entries()["a.mcap"].state is not State.SENDING)
        site.server.start()
        site.bridge.wait_for(site.settled)
    site.check()


def sending(site: Site) -> bool:
    """Tell whether the platform holds a part of something."""
    with (
        contextlib.suppress(BridgeError),
        MosaicoClient.connect("127.0.0.1", site.server.port) as client,
    ):
        return bool(client.list_sequences())
    return False


def test_no_worker_outlives_its_daemon(site: Site) -> None:
    """Workers of a killed daemon are gone before the next one takes the journal."""
    site.drop("a", 200_000)
    with site.daemon() as process:
        site.bridge.wait_for(lambda: sending(site))
        workers = children(process.pid)
        assert workers
        if as_nobody():
            assert {Path(f"/proc/{pid}").stat().st_uid for pid in (process.pid, *workers)} == {
                NOBODY
            }
        process.kill()
        process.wait()
        site.bridge.wait_for(lambda: not any(alive(worker) for worker in workers), patience_s=5)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["recording", "split"])
@pytest.mark.parametrize("extension", ["mcap", "db3", "bag"])
@pytest.mark.parametrize("archived", [False, True])
def test_killed_between_two_unlinks(
    site: Site, extension: str, unit: str, *, archived: bool
) -> None:
    """What a disposal that was cut off has left is not sent again, and goes in the end."""
    names = [f"drive_{number}.{extension}" for number in range(4)]
    with contextlib.ExitStack() as mounted:
        disposal = '[disposal]\nmode = "delete"\n'
        if archived:
            # Onto another disk, so that files are copied and removed.
            archive = mounted.enter_context(
                small_disk(site.bridge.folder / "archive", size_bytes=4 << 20)
            )
            archive.chmod(0o777)
            disposal = f'[disposal]\nmode = "move"\narchive_folder = "{archive}"\n'
        given = site.config.read_text().replace("[ingest]", f'[ingest]\nunit = "{unit}"')
        # Files that metadata.yaml lists are waited for.
        given = given.replace("settle_s", "stale_s = 1.0\nsettle_s")
        site.config.write_text(given + "\n" + disposal)
        for number, name in enumerate(names):
            site.bridge.drop(f"drive/{name}", split_bytes(number, extension, site.bridge.folder))
        site.bridge.drop("drive/metadata.yaml", metadata(names).encode())
        give_away(site.bridge.watched)
        with site.daemon(kill_at="unlink:3") as process:
            assert process.wait(60) == -signal.SIGKILL
        left = sorted(path.name for path in site.bridge.watched.rglob(f"*.{extension}"))
        assert 0 < len(left) < len(names)
        with site.daemon():
            site.bridge.wait_for(lambda: not (site.bridge.watched / "drive").exists())
        if archived:
            kept = sorted(path.name for path in archive.rglob(f"*.{extension}"))
            assert kept == names
    assert on_platform(site.server.port) == once(0, 1, 2, 3)


def give_away(folder: Path) -> None:
    """Let the daemon's user delete what is in a folder."""
    if as_nobody():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)


@pytest.mark.slow
def test_lost_journal_is_rebuilt_from_the_platform(site: Site) -> None:
    """Without its journal the bridge asks the platform, and sends nothing twice."""
    site.drop("a", 100)
    finish(site)
    shutil.rmtree(site.bridge.state)
    finish(site)
    (entry,) = site.bridge.entries().values()

    assert entry.state is State.FINALISED
    assert entry.messages_sent == 100
