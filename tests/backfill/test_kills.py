"""Whatever dies during a backfill, every message arrives once; counted by reading back."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped] # ships no types
import pytest

from bridge.bags.scratch import FREE_BYTES_MIN
from bridge.embedded import EmbeddedServer
from tests.backfill.archives import (
    ROOT,
    Ended,
    Store,
    arrived,
    backfill,
    command,
    ended,
    environment,
    s3_server,
    sequences,
    words,
    write_archive,
    write_mcap,
)
from tests.waiting import HeldPort, wait_for

pytest.importorskip("moto", reason="no S3 server to test against")
pytestmark = pytest.mark.slow

PADDING = 200_000
MESSAGES = 30


@pytest.fixture
def store() -> Iterator[Store]:
    with s3_server() as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "platform") as server:
        yield server


class Running:
    """The command in a process of its own."""

    def __init__(
        self, url: str, port: int, state: Path, *options: str, more: dict[str, str]
    ) -> None:
        self.process = subprocess.Popen(
            command(url, port, state, *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=state.parent,
            env=environment(more),
        )

    def end(self) -> Ended:
        output, errors = self.process.communicate(timeout=280)
        return ended(self.process.returncode, output, errors)


def sending(port: int, *, finished: int = 0) -> bool:
    """Say whether a platform has a sequence that is being written, and so many that are whole."""
    found = sequences(port).values()
    return False in found and sum(found) >= finished


def test_a_driver_that_is_killed_and_started_again(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """The next run goes on, removes what was half sent, and leaves no copy behind."""
    written = write_archive(tmp_path / "archive", 8, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    state = tmp_path / "state"
    for finished in (1, 3):
        run = Running(url, platform.port, state, "--jobs", "2", more=store.settings)
        wait_for(partial(sending, platform.port, finished=finished))
        children = psutil.Process(run.process.pid).children(recursive=True)
        run.process.kill()
        run.process.communicate()
        psutil.wait_procs(children, timeout=20)
        assert not any(child.is_running() for child in children)
    done = backfill(url, platform.port, state, "--jobs", "2", more=store.settings)
    assert done.code == 0, done.errors
    assert len(done.by_result["held"]) >= 3
    assert arrived(platform.port) == written
    assert len(sequences(platform.port)) == 8
    assert not [path for path in (state / "backfill").iterdir() if path.is_dir()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_stopped_says_so(
    store: Store, platform: EmbeddedServer, tmp_path: Path, number: signal.Signals
) -> None:
    """A signal ends the run soon, with its own exit code, and what was not reached is listed."""
    written = write_archive(tmp_path / "archive", 6, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    run = Running(url, platform.port, tmp_path / "state", more=store.settings)
    wait_for(lambda: sending(platform.port, finished=1))
    children = psutil.Process(run.process.pid).children(recursive=True)
    run.process.send_signal(number)
    stopped = run.end()
    assert not any(child.is_running() for child in children)
    scratch = tmp_path / "state" / "backfill"
    assert not [path for path in scratch.iterdir() if path.is_dir()]
    assert stopped.code == 130, stopped.errors
    assert stopped.told["interrupted"]
    assert len(stopped.by_result["not tried"]) + len(stopped.by_result["sent"]) == 6
    done = backfill(url, platform.port, tmp_path / "state", more=store.settings)
    assert done.code == 0, done.errors
    assert arrived(platform.port) == written


def test_two_shards_at_once_over_one_archive(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """Two runs that overlap, with one manifest and with none, leave one sequence of each."""
    written = write_archive(tmp_path / "archive", 10, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    with ExitStack() as ending:
        runs = []
        for number, options in enumerate((("--shard", "0/2"), ("--shard", "1/2"), ())):
            manifest = tmp_path / ("alone" if number == 2 else "shared")
            run = Running(
                url,
                platform.port,
                tmp_path / f"state{number}",
                "--manifest",
                str(manifest),
                *options,
                more=store.settings,
            )
            ending.callback(run.process.kill)
            runs.append(run)
        done = [run.end() for run in runs]
    assert [each.code for each in done] == [0, 0, 0], [each.errors for each in done]
    assert [sum(map(len, each.by_result.values())) for each in done][2] == 10
    assert sum(len(found) for each in done[:2] for found in each.by_result.values()) == 10
    assert arrived(platform.port) == written
    assert len(sequences(platform.port)) == 10


@pytest.mark.parametrize("engine", ["jobs", "dask"])
def test_a_platform_that_is_killed_in_the_middle(store: Store, tmp_path: Path, engine: str) -> None:
    """The jobs wait together until it is back, count nothing against a recording, and go on."""
    written = write_archive(tmp_path / "archive", 6, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    held = HeldPort()
    port = held.number
    with ExitStack() as cluster, serving(tmp_path / "platform", port) as server:
        options: tuple[str, ...] = ("--jobs", "2")
        if engine == "dask":
            pytest.importorskip("distributed", reason="no Dask")
            address, _ = cluster.enter_context(dask_cluster(tmp_path, workers=2))
            # A relative folder is another one for each, as on machines that share nothing.
            options = ("--dask", address, "--scratch", "scratch")
        run = Running(url, port, tmp_path / "state", *options, more=store.settings)
        wait_for(lambda: sending(port, finished=1))
        server.kill()
        server.wait()
        assert run.process.stderr is not None
        while "platform away since" not in (line := run.process.stderr.readline()):
            assert line, "it said nothing and ended"
        assert run.process.poll() is None
        cluster.enter_context(serving(tmp_path / "platform", port))
        done = run.end()
        assert done.code == 0, done.errors
        assert "the platform is there again" in done.errors
        assert done.told["outages"] >= 1
        assert set(done.by_result) <= {"sent", "held"}
        assert arrived(port) == written
        assert len(sequences(port)) == 6


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    script = ROOT / "tests" / "daemon" / "server_process.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(folder), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_scratch_disk_that_is_lost(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """Copies that disappear from under the jobs are made again."""
    written = write_archive(tmp_path / "archive", 6, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    scratch = tmp_path / "scratch"
    run = Running(
        url,
        platform.port,
        tmp_path / "state",
        "--jobs",
        "2",
        "--scratch",
        str(scratch),
        more=store.settings,
    )
    for finished in (0, 2):
        wait_for(partial(sending, platform.port, finished=finished))
        shutil.rmtree(scratch, ignore_errors=True)
    done = run.end()
    assert done.code == 0, done.errors
    assert arrived(platform.port) == written
    assert len(sequences(platform.port)) == 6


def test_a_scratch_disk_that_is_small(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """Jobs share what fits, one after the other; where nothing fits, each is named and stays."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    written = write_archive(tmp_path / "archive", 4, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    mount = f'mount -t tmpfs -o size="$0" tmpfs {scratch} && exec "$@"'
    options = ("--scratch", str(scratch), "--jobs", "2")
    runs = []
    for free_bytes in (1 << 20, FREE_BYTES_MIN + (9 << 20)):
        run = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-c", mount, str(free_bytes)),
                *command(url, platform.port, tmp_path / "state", *options),
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=250, check=False,
            cwd=tmp_path, env=environment(store.settings),
        )  # fmt: skip
        runs.append(ended(run.returncode, run.stdout, run.stderr))
        if free_bytes == 1 << 20:
            assert arrived(platform.port) == Counter()
    assert [(each.code, set(each.by_result)) for each in runs] == [(1, {"failed"}), (0, {"sent"})]
    (failure, *_) = [each["error"] for each in runs[0].told["recordings"]]
    assert "another disk" in failure["hint"]
    assert arrived(platform.port) == written


def test_a_store_that_changes_an_object_meanwhile(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """What is copied is what was identified, or it waits for the next run."""
    archive = tmp_path / "archive"
    for name in "abc":
        write_mcap(archive / f"{name}.mcap", words(name, MESSAGES, padding=PADDING))
    url = store.upload(archive, to="x")
    run = Running(url, platform.port, tmp_path / "state", more=store.settings)
    wait_for(lambda: sending(platform.port))
    other = words("d", MESSAGES, padding=PADDING)
    write_mcap(archive / "c.mcap", other)
    store.upload(archive, to="x")
    first = run.end()
    done = backfill(url, platform.port, tmp_path / "state", more=store.settings)
    assert done.code == 0, (done.errors, first.errors)
    found = arrived(platform.port)
    expected = Counter(
        words("a", MESSAGES, padding=PADDING) + words("b", MESSAGES, padding=PADDING) + other
    )
    assert expected - found == Counter()
    assert max(found.values()) == 1


def test_what_another_machine_left_is_taken_over(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """An unfinished upload by a sender that nobody can look for is removed once it rests."""
    written = write_archive(tmp_path / "archive", 1, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    foreign = {**store.settings, "MOSAICO_BRIDGE_BACKFILL__TAKEOVER_S": "2"}
    run = Running(url, platform.port, tmp_path / "state", more=foreign)
    wait_for(lambda: sending(platform.port))
    children = psutil.Process(run.process.pid).children(recursive=True)
    # Neither dead nor alive: as a machine that is cut off looks from here.
    for process in (*children, psutil.Process(run.process.pid)):
        process.suspend()
    try:
        done = backfill(url, platform.port, tmp_path / "other", more=foreign)
        assert done.code == 0, done.errors
        assert arrived(platform.port) == written
    finally:
        for process in (psutil.Process(run.process.pid), *children):
            process.resume()
    late = run.end()
    assert arrived(platform.port) == written
    assert len(sequences(platform.port)) == 1
    assert late.code == 0, late.errors


def test_a_sender_that_ends_while_another_waits_for_it(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """Its remains are taken over at once on the same machine, however long others may rest."""
    written = write_archive(tmp_path / "archive", 1, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    run = Running(url, platform.port, tmp_path / "state", more=store.settings)
    wait_for(lambda: sending(platform.port))
    children = psutil.Process(run.process.pid).children(recursive=True)
    for process in (*children, psutil.Process(run.process.pid)):
        process.suspend()
    other = Running(url, platform.port, tmp_path / "other", more=store.settings)
    # It has looked, and found the first at work.
    wait_for(lambda: psutil.Process(other.process.pid).children())
    wait_for(lambda: not psutil.Process(other.process.pid).children())
    for process in (psutil.Process(run.process.pid), *children):
        process.kill()
    run.process.communicate()
    done = other.end()
    assert done.code == 0, done.errors
    assert arrived(platform.port) == written
    assert len(sequences(platform.port)) == 1


def test_a_recording_that_takes_too_much_memory(platform: EmbeddedServer, tmp_path: Path) -> None:
    """The limits of workers hold here, too: it costs its worker and itself, and nothing else."""
    write_mcap(tmp_path / "archive" / "huge.mcap", words("huge", 1, padding=250 << 20))
    written = write_archive(tmp_path / "archive", 2)
    limits = {"MOSAICO_BRIDGE_WORKERS__MEMORY_LIMIT_BYTES": str(512 << 20)}
    done = backfill(str(tmp_path / "archive"), platform.port, tmp_path / "state", more=limits)
    assert done.code == 1, done.errors
    assert {name: len(found) for name, found in done.by_result.items()} == {"sent": 2, "failed": 1}
    (failure,) = [each["error"] for each in done.told["recordings"] if each["error"]]
    assert failure["error"] == "OutOfMemory"
    assert arrived(platform.port) == written
    assert set(sequences(platform.port).values()) == {True}


def test_a_dask_worker_that_is_killed_during_a_task(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """The scheduler gives its task to the other worker, and every recording is there once."""
    pytest.importorskip("distributed", reason="no Dask")
    written = write_archive(tmp_path / "archive", 8, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    with dask_cluster(tmp_path, workers=2) as (address, workers):
        run = Running(
            url, platform.port, tmp_path / "state", "--dask", address, more=store.settings
        )
        wait_for(lambda: sending(platform.port, finished=1))
        busy = wait_for(lambda: [each for each in workers if psutil.Process(each.pid).children()])
        children = psutil.Process(busy[0].pid).children(recursive=True)
        busy[0].kill()
        psutil.wait_procs(children, timeout=20)
        assert not any(child.is_running() for child in children)
        done = run.end()
    assert done.code == 0, done.errors
    assert arrived(platform.port) == written
    assert len(sequences(platform.port)) == 8


def test_a_cluster_sends_no_more_at_a_time_than_is_allowed(
    store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """The bound holds over workers that share nothing, each with a scratch folder of its own."""
    pytest.importorskip("distributed", reason="no Dask")
    written = write_archive(tmp_path / "archive", 8, messages=MESSAGES, padding=PADDING)
    url = store.upload(tmp_path / "archive", to="x")
    most = 0
    with dask_cluster(tmp_path, workers=2) as (address, _):
        # A relative folder is another one for each worker.
        options = ("--dask", address, "--max-uploads", "1", "--scratch", "scratch")
        run = Running(url, platform.port, tmp_path / "state", *options, more=store.settings)
        while run.process.poll() is None:
            most = max(most, list(sequences(platform.port).values()).count(False))
        done = run.end()
    assert done.code == 0, done.errors
    assert most == 1
    assert {path.parent.name for path in tmp_path.glob("*/scratch")} >= {"worker0", "worker1"}
    assert arrived(platform.port) == written


@contextmanager
def dask_cluster(
    folder: Path, *, workers: int
) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """Run a scheduler and workers without a nanny, as processes that can be killed."""
    file = folder / "scheduler.json"
    started: list[subprocess.Popen[str]] = []

    def start(kind: str, *options: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        with (folder / f"{kind}{len(started)}.log").open("w") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore", "-m", f"distributed.cli.dask_{kind}"),
                    *("--scheduler-file", str(file), "--no-dashboard", *options),
                ],
                stdout=log,
                stderr=log,
                text=True,
                cwd=cwd or folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        started.append(process)
        return process

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", "0")
        wait_for(lambda: file.exists() and file.read_text().strip().endswith("}"))
        address = json.loads(file.read_text())["address"]
        spawned = []
        for number in range(workers):
            (folder / f"worker{number}").mkdir()
            options = ("--no-nanny", "--nthreads", "1", "--name", str(number))
            spawned.append(start("worker", *options, cwd=folder / f"worker{number}"))
        yield address, spawned
    finally:
        for process in started:
            process.kill()
            process.wait()
