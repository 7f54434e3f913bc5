"""What jobs of a machine share, and what each run decides alone."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bridge.backfill.archive import ArchivedRecording, list_archive
from bridge.backfill.driver import Driver
from bridge.backfill.engines import shard_of, this_machine
from bridge.backfill.machine import SharedGate, upload_slot
from bridge.backfill.manifest import Manifest
from bridge.backfill.plan import Choice, Shard, find
from bridge.backfill.scratch import StoppedError, room
from bridge.backfill.store import local_folder
from bridge.backfill.task import Outcome, Result, Watch
from bridge.bags import find_recordings
from bridge.config import BackfillSettings, RetrySettings, load_settings
from bridge.daemon import Failure
from bridge.errors import (
    CommandLineError,
    ConfigError,
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


@pytest.mark.parametrize("text", ["8/8", "-1/8", "8", "a/b", "1/0", "0/0", ""])
def test_what_is_no_shard_is_refused(text: str) -> None:
    """An index beyond the last, or none at all, ends the run early, with what helps."""
    with pytest.raises(CommandLineError) as refused:
        shard_of(text, {})
    assert refused.value.hint


def test_an_index_that_is_no_number_is_blamed_on_its_variable() -> None:
    """The option was right; the scheduler's word is not."""
    with pytest.raises(CommandLineError, match="JOB_COMPLETION_INDEX is 'x'"):
        shard_of("2", {"JOB_COMPLETION_INDEX": "x"})


def test_times_that_no_recording_can_fit_are_refused() -> None:
    """A run that looks at nothing must not look like one with nothing to do."""
    with pytest.raises(CommandLineError, match="--since is not before --until"):
        Choice(urls=("/archive",), since_ns=2, until_ns=2)
    assert Choice(urls=("/archive",), since_ns=1, until_ns=2).until_ns == 2


def test_a_folder_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards and manifest go by it, however the archive is written; nothing is no folder."""
    write_archive(tmp_path / "an archive", 2)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    ways = ("../an archive", f"{tmp_path}//an archive/", f"file://{tmp_path}/an%20archive")
    found = find(Choice(urls=ways), load_settings(None, {}))
    assert [each.url for each in found.recordings] == [
        each.url for each in recordings_of(tmp_path / "an archive")
    ]
    for nothing in ("", "s3://", "gs:///", "file://"):
        with pytest.raises(CommandLineError, match="names no archive"):
            local_folder(nothing)


def test_what_is_no_plain_file_is_listed(tmp_path: Path) -> None:
    """Links and pipes are not followed, as in a watched folder, and not kept quiet about."""
    write_archive(tmp_path / "archive", 1)
    (tmp_path / "archive" / "latest").symlink_to("mcap")
    (tmp_path / "archive" / "gone.mcap").symlink_to("nowhere")
    os.mkfifo(tmp_path / "archive" / "pipe.mcap")
    listed = list_archive(str(tmp_path / "archive"), SETTINGS)
    assert len(listed.recordings) == 1
    assert [Path(each).name for each in listed.others] == ["gone.mcap", "latest", "pipe.mcap"]


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


def test_a_manifest_is_never_written_into_something_else(tmp_path: Path) -> None:
    """A recording that was named by mistake stays as it is; whatever was torn is a manifest."""
    write_mcap(tmp_path / "drive.mcap", words("drive", 2))
    before = (tmp_path / "drive.mcap").read_bytes()
    with pytest.raises(ConfigError, match="is no manifest"):
        Manifest(tmp_path / "drive.mcap", config_hash="").require_writable()
    assert (tmp_path / "drive.mcap").read_bytes() == before
    (tmp_path / "torn").write_bytes(b'{"form')
    for name in ("torn", "new", "folder/new"):
        Manifest(tmp_path / name, config_hash="").require_writable()
    (tmp_path / "file").touch()
    for name in ("folder", "file/new"):
        with pytest.raises(ConfigError) as refused:
            Manifest(tmp_path / name, config_hash="").require_writable()
        assert refused.value.hint


@pytest.mark.parametrize(
    "more", ["", ',"parts":[1]', ',"parts":[{}],"state":"sent"', ',"parts":7,"state":"lost"']
)
def test_a_line_that_is_not_ours_is_found_out_again(tmp_path: Path, more: str) -> None:
    """A manifest that somebody edited costs a look, and ends no run."""
    write_archive(tmp_path / "archive", 1)
    (recording,) = recordings_of(tmp_path / "archive")
    line = f'{{"format_version":1,"key":"{recording.url}"{more}}}\n'
    (tmp_path / "manifest").write_text(f"[]\nnull\n{line}")
    assert Manifest(tmp_path / "manifest", config_hash="").known(recording) is None


def test_a_manifest_that_is_lost_ends_the_run_with_its_summary(tmp_path: Path) -> None:
    """What was decided is told, and the rest is not tried."""
    for number in range(3):
        write_mcap(tmp_path / "archive" / f"young{number}.mcap", words(f"{number}", 2))
    settings = load_settings(None, {"state.folder": tmp_path / "state"})
    found = find(Choice(urls=(str(tmp_path / "archive"),)), settings)
    manifest = Manifest(tmp_path / "manifest", config_hash="")
    (tmp_path / "manifest").mkdir()
    driver = Driver(settings, host="127.0.0.1", port=1, manifest=manifest)
    with this_machine(1, Watch()) as engine:
        summary = driver.run(found.recordings, engine)
    assert summary.ended_by is not None
    assert "the manifest" in summary.ended_by.message
    assert summary.counts == {Result.WAITS: 1, Result.NOT_TRIED: 2}
