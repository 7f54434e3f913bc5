"""What jobs of a machine share, and what each run decides alone."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bridge.backfill.archive import ArchivedRecording, list_archive
from bridge.backfill.engines import shard_of
from bridge.backfill.machine import SharedGate, upload_slot
from bridge.backfill.manifest import Manifest
from bridge.backfill.plan import Shard
from bridge.backfill.scratch import StoppedError, room
from bridge.backfill.task import Outcome, Result
from bridge.bags import find_recordings
from bridge.config import BackfillSettings, RetrySettings
from bridge.daemon import Failure
from bridge.errors import (
    CommandLineError,
    OfflineError,
    RefusedError,
    ScratchSpaceError,
    Trouble,
)
from bridge.model import Recording
from tests.backfill.archives import ROOT, make_old, words, write_archive, write_mcap
from tests.waiting import wait_for

SETTINGS = BackfillSettings()
AWAY = Failure(error="OfflineError", message="nobody answers", trouble=Trouble.OFFLINE)
RETRY = RetrySettings(backoff_initial_s=0.05, backoff_max_s=0.1)


def recordings_of(folder: Path) -> tuple[ArchivedRecording, ...]:
    return list_archive(str(folder), SETTINGS).recordings


def test_an_archive_has_the_recordings_that_a_watched_folder_would_have(tmp_path: Path) -> None:
    """The same files are the same recordings, in the same order, with what belongs to them."""
    write_archive(tmp_path, 8)
    write_mcap(tmp_path / "a" / "b" / "20240102_101112.mcap", words("date", 2))
    (tmp_path / "lone" / "drive003.mcap.json").write_text("{}")
    (tmp_path / ".hidden").mkdir()
    write_mcap(tmp_path / ".hidden" / "x.mcap", words("x", 2))
    listed = list_archive(str(tmp_path), SETTINGS)
    watched = find_recordings(tmp_path)
    assert [each.recording for each in sorted(listed.recordings, key=lambda one: one.url)] == (
        sorted(watched, key=lambda one: str(one.path))
    )
    beside = {each.place: [file.name for file in each.beside] for each in listed.recordings}
    assert beside["lone/drive003.mcap"] == ["drive003.mcap.json"]
    assert beside["db3/drive001"] == ["metadata.yaml"]
    assert listed.others == ()
    (alone,) = list_archive(f"{tmp_path}/lone/drive003.mcap", SETTINGS).recordings
    assert (alone.recording, alone.beside) == next(
        (each.recording, each.beside) for each in listed.recordings if each.url == alone.url
    )
    splits = list_archive(str(tmp_path / "mcap"), SETTINGS, by_split=True).recordings
    assert [each.place for each in splits[:2]] == [
        "drive000/drive000_0.mcap",
        "drive000/drive000_1.mcap",
    ]


def test_every_recording_is_in_one_shard() -> None:
    """Shards have no recording in common and all of them together, whatever else is listed."""
    folder = Path(__file__).parent
    urls = [f"s3://bucket/{number}.mcap" for number in range(300)]
    found = [
        sum(Shard(index=index, count=7).has(_at(url, folder)) for index in range(7)) for url in urls
    ]
    assert set(found) == {1}
    sizes = [sum(Shard(index=i, count=7).has(_at(url, folder)) for url in urls) for i in range(7)]
    assert min(sizes) > 20


def _at(url: str, folder: Path) -> ArchivedRecording:
    recording = Recording(path=folder, name="x", files=())
    return ArchivedRecording(archive="", url=url, place=url, recording=recording, files=())


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        ("0/8", {}, (0, 8)),
        ("7/8", {"JOB_COMPLETION_INDEX": "1"}, (7, 8)),
        ("8", {"JOB_COMPLETION_INDEX": "3"}, (3, 8)),
        ("/8", {"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, (0, 8)),
        ("8", {"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_MIN": "1"}, (7, 8)),
    ],
)
def test_a_shard_is_given_or_told_by_a_scheduler(
    text: str, environment: dict[str, str], shard: tuple[int, int]
) -> None:
    """The index is the option's, or else the scheduler's."""
    found = shard_of(text, environment)
    assert (found.index, found.count) == shard


@pytest.mark.parametrize("text", ["8/8", "-1/8", "8", "a/b", "1/0", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    """An index beyond the last, or none at all, ends the run before it starts."""
    with pytest.raises(CommandLineError):
        shard_of(text, {})


def test_scratch_space_is_shared_within_its_bound(tmp_path: Path) -> None:
    """Whoever does not fit waits for others, and never takes more than is allowed together."""
    stopped, taken, most, guard = threading.Event(), [0], [0], threading.Lock()

    def job() -> None:
        with room(tmp_path, wanted_bytes=40, bytes_max=100, stopped=stopped) as folder:
            with guard:
                taken[0] += 40
                most[0] = max(most[0], taken[0])
            (folder / "copy").write_bytes(b"x" * 40)
            time.sleep(0.01)
            with guard:
                taken[0] -= 40

    threads = [threading.Thread(target=job) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 80
    with (
        pytest.raises(ScratchSpaceError, match="101 bytes of scratch space are needed"),
        room(tmp_path, wanted_bytes=101, bytes_max=100, stopped=stopped),
    ):
        pass
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_room_of_a_killed_job_is_given_back(tmp_path: Path) -> None:
    """What a job held that was killed is free for the next, and its copy is gone."""
    script = (
        "import sys, threading\nfrom pathlib import Path\n"
        "from bridge.backfill.scratch import room\n"
        "with room(Path(sys.argv[1]), wanted_bytes=90, bytes_max=100, stopped=threading.Event()):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
        with room(tmp_path, wanted_bytes=90, bytes_max=100, stopped=threading.Event()) as folder:
            assert [path for path in tmp_path.iterdir() if path.is_dir()] == [folder]


def test_only_so_many_send_at_a_time(tmp_path: Path) -> None:
    """Slots are shared by all who use the folder; whoever waits can be stopped."""
    stopped = threading.Event()
    with (
        upload_slot(tmp_path, count=2, stopped=stopped),
        upload_slot(tmp_path, count=2, stopped=stopped),
    ):
        stopped.set()
        with pytest.raises(StoppedError), upload_slot(tmp_path, count=2, stopped=stopped):
            pass


def test_one_job_asks_whether_the_platform_is_back(tmp_path: Path) -> None:
    """After a failure everybody waits; one asks, and all go on when it is there."""
    asked: list[str] = []
    there = threading.Event()

    def probe() -> None:
        asked.append(threading.current_thread().name)
        if not there.is_set():
            raise OfflineError("nobody answers")

    SharedGate(tmp_path, RETRY, offline_s=30).closed_by(AWAY)
    passed: list[int] = []

    def job(number: int) -> None:
        gate = SharedGate(tmp_path, RETRY, offline_s=30)
        gate.wait(probe, stopped=threading.Event())
        passed.append(number)

    threads = [threading.Thread(target=job, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(asked) >= 2)
    assert passed == []
    there.set()
    for thread in threads:
        thread.join()
    assert sorted(passed) == [0, 1, 2, 3]
    before = len(asked)
    job(4)
    assert len(asked) == before


def test_a_platform_that_stays_away_or_refuses_ends_the_waiting(tmp_path: Path) -> None:
    """Patience has an end, and a wrong key needs none."""

    def away() -> None:
        raise OfflineError("nobody answers")

    def refuses() -> None:
        raise RefusedError("wrong key")

    for probe, error, patience_s in ((away, OfflineError, 0.2), (refuses, RefusedError, 30)):
        gate = SharedGate(tmp_path, RETRY, offline_s=patience_s)
        gate.closed_by(AWAY)
        with pytest.raises(error):
            gate.wait(probe, stopped=threading.Event())


def test_a_torn_line_of_the_manifest_costs_itself_alone(tmp_path: Path) -> None:
    """What a kill left of a line is passed over, and swallows no line behind it."""
    write_archive(tmp_path / "archive", 2)
    first, second = recordings_of(tmp_path / "archive")
    file = tmp_path / "manifest"

    def note(recording: ArchivedRecording) -> None:
        Manifest(file, config_hash="").note(
            recording,
            Outcome(url=recording.url, result=Result.SENT),
            fingerprint="f",
            parts=["p"] * len(recording.files),
            marks=["m"] * len(recording.files),
            held={"sequence": ("f", "p")},
        )

    note(first)
    file.write_bytes(file.read_bytes() + b'{"format_version":1,"key":"torn')
    note(second)
    known = Manifest(file, config_hash="")
    assert all(known.known(each) is not None for each in (first, second))
    make_old(tmp_path / "archive")
    os.utime(second.files[0].key, (5, 5))
    assert known.known(recordings_of(tmp_path / "archive")[1]) is None
