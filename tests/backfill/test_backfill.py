"""An archive goes onto the platform once, whatever it is made of and however often it is asked."""

import json
import logging
import re
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pyarrow as pa
import pytest
from pydantic import SecretStr

from bridge.backfill import ArchivedRecording, Result, RunMetrics, list_archive
from bridge.backfill.scratch import copy, identity_of
from bridge.backfill.store import open_store
from bridge.backfill.task import failed
from bridge.bags import content_of, find_recordings, load_recording
from bridge.cli import main
from bridge.client import MosaicoClient
from bridge.config import BackfillSettings
from bridge.daemon import Failure
from bridge.embedded import EmbeddedServer
from bridge.errors import RecordingChangedError, RecordingVanishedError
from tests.backfill import archives
from tests.backfill.archives import (
    ROOT,
    SECRET_KEY,
    Ended,
    Store,
    arrived,
    backfill,
    command,
    ended,
    environment,
    make_old,
    s3_server,
    sequences,
    words,
    write_archive,
    write_bag,
    write_db3_folder,
    write_mcap,
    write_mcap_folder,
)
from tests.waiting import HeldPort

pytest.importorskip("moto", reason="no S3 server to test against")

SHORT = {"MOSAICO_BRIDGE_SERVER__TIMEOUT_S": "0.5"}
"""So little patience with a platform that does not answer."""


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with s3_server() as running:
        yield running


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "platform") as server:
        yield server


Run = Callable[..., Ended]


@pytest.fixture
def command_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Runs the command in this process, which spares the start of another."""

    def call(
        url: str,
        port: int,
        state: Path,
        *options: str,
        more: dict[str, str] | None = None,
        as_json: bool = True,
    ) -> Ended:
        for name, value in environment(more).items():
            monkeypatch.setenv(name, value)
        words = command(url, port, state, *options)[2:]
        monkeypatch.setattr(sys, "argv", [one for one in words if as_json or one != "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        code = int(left.value.code or 0)
        if not as_json:
            return Ended(code=code, told={}, errors=said.err, output=said.out)
        return ended(code, said.out, said.err)

    before = logging.root.handlers[:], logging.root.level
    yield call
    logging.root.handlers[:], level = before
    logging.root.setLevel(level)


def test_an_archive_in_a_store_arrives_once(
    command_line: Run, store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """All formats arrive; a second run, with the manifest or without, sends nothing."""
    written = write_archive(tmp_path / "archive", 4)
    (tmp_path / "archive" / "notes.txt").write_text("of nobody")
    url = store.upload(tmp_path / "archive", to="once")
    state = tmp_path / "state"
    first = command_line(url, platform.port, state, "--jobs", "2", more=store.settings)
    assert (first.code, set(first.by_result)) == (0, {"sent"}), first.errors
    assert arrived(platform.port) == written
    assert first.told["without_owner"] == [f"{url}/notes.txt"]
    assert not [path for path in (state / "backfill").iterdir() if path.is_dir()]
    lines = (state / "backfill.jsonl").read_text().splitlines()
    assert {json.loads(line)["state"] for line in lines} == {"sent"}
    assert sum(json.loads(line)["rows"] for line in lines) == written.total()

    second = command_line(url, platform.port, state, more=store.settings)
    (state / "backfill.jsonl").unlink()
    third = command_line(url, platform.port, state, more=store.settings)
    for run in (second, third):
        assert (run.code, set(run.by_result)) == (0, {"held"})
        assert sum(each["copied_bytes"] for each in run.told["recordings"]) == 0
        assert {each["recording"]: each["sequences"] for each in run.told["recordings"]} == {
            each["recording"]: each["sequences"] for each in first.told["recordings"]
        }
    assert arrived(platform.port) == written


def test_a_folder_is_read_where_it_is(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """What cannot be read or may still be written is named, the rest arrives, none is changed."""
    archive = tmp_path / "archive"
    written = write_archive(archive, 2)
    (archive / "foreign.mcap").write_bytes(b"<html>no recording at all</html>")
    write_mcap(archive / "cut.mcap", cut := words("cut", 50))
    whole = (archive / "cut.mcap").read_bytes()
    (archive / "cut.mcap").write_bytes(whole[: len(whole) // 2])
    (archive / "empty.bag").touch()
    make_old(archive)
    write_mcap(archive / "new.mcap", words("new", 3))
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in archive.rglob("*")}
    run = command_line(str(archive), platform.port, tmp_path / "state")
    assert run.code == 1
    assert {name: sorted(found) for name, found in run.by_result.items()} == {
        "sent": ["drive000", "drive001"],
        "partial": ["cut.mcap"],
        "empty": ["empty.bag"],
        "failed": ["foreign.mcap"],
        "waits": ["new.mcap"],
    }
    assert "foreign.mcap" in run.errors
    assert arrived(platform.port) - Counter(cut) == written
    assert before == {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in archive.rglob("*")
    }
    # Without the manifest the platform's own metadata say the same.
    for manifest in (tmp_path / "state" / "backfill.jsonl", tmp_path / "none"):
        again = command_line(
            str(archive), platform.port, tmp_path / "state", "--manifest", str(manifest)
        )
        assert {name: len(found) for name, found in again.by_result.items()} == {
            "held": 2, "partial": 1, "empty": 1, "failed": 1, "waits": 1,
        }  # fmt: skip
        assert "did not close" in _entry_of(again, "cut.mcap")["reason"]


def _entry_of(run: Ended, name: str) -> dict[str, Any]:
    (entry,) = [each for each in run.told["recordings"] if each["recording"].endswith(name)]
    assert isinstance(entry, dict)
    return entry


@pytest.mark.slow
def test_what_was_deleted_on_the_platform_goes_again(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """The manifest is no proof: what the platform has lost since is sent again."""
    written = write_archive(tmp_path / "archive", 2)
    first = command_line(str(tmp_path / "archive"), platform.port, tmp_path / "state")
    name = first.told["recordings"][0]["sequences"][0]
    with MosaicoClient.connect("127.0.0.1", platform.port) as client:
        client.sequence_delete(name)
    again = command_line(str(tmp_path / "archive"), platform.port, tmp_path / "state")
    assert {kind: len(found) for kind, found in again.by_result.items()} == {"sent": 1, "held": 1}
    assert arrived(platform.port) == written


def test_dry_run_says_and_does_nothing(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """What would be sent is listed by place and time; nothing else happens."""
    write_archive(tmp_path / "archive", 4)
    today = datetime.now(UTC).isoformat()
    for options, count in (
        ((), 4),
        (("--include", "lone/*", "--include", "*.bag"), 2),
        (("--since", "2023-01-01", "--until", today), 4),
        (("--since", today), 0),
    ):
        run = command_line(
            str(tmp_path / "archive"), platform.port, tmp_path / "state", "--dry-run", *options
        )
        assert len(run.by_result.get("would be sent", ())) == count, options
        assert run.told["passed_over"] == 4 - count
    assert sequences(platform.port) == {}
    assert not (tmp_path / "state" / "backfill.jsonl").exists()


def test_a_line_break_in_a_name_is_no_line(command_line: Run, tmp_path: Path) -> None:
    """Each recording has one row in a pipe, and no name makes rows of its own."""
    write_mcap(tmp_path / "archive" / "a\nb.mcap", words("a", 2))
    make_old(tmp_path / "archive")
    run = command_line(
        str(tmp_path / "archive"), 1, tmp_path / "state", "--dry-run", more=SHORT, as_json=False
    )
    rows = [line for line in run.output.splitlines() if "would be sent" in line]
    assert len(rows) == 2
    assert rows[0].startswith(f"{tmp_path}/archive/a\\nb.mcap ")


def test_a_dry_run_needs_no_platform(
    command_line: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one the manifest has the word, and it is said that nobody was asked."""
    write_archive(tmp_path / "archive", 2)
    where = str(tmp_path / "archive")
    with EmbeddedServer(tmp_path / "platform") as server:
        port = server.port
        sent = command_line(where, port, tmp_path / "state")
    assert sent.by_result.keys() == {"sent"}
    write_mcap(tmp_path / "archive" / "more.mcap", words("more", 3))
    make_old(tmp_path / "archive")
    away = command_line(where, port, tmp_path / "state", "--dry-run", more=SHORT)
    assert {name: len(found) for name, found in away.by_result.items()} == {
        "held": 2, "would be sent": 1,
    }  # fmt: skip
    assert (away.code, away.told["platform_asked"]) == (0, False)
    monkeypatch.setattr(archives, "TARGET", ())
    nowhere = command_line(where, port, tmp_path / "new", "--dry-run")
    assert len(nowhere.by_result["would be sent"]) == 3
    assert "no platform is configured" in nowhere.told["why_not_asked"]
    assert not (tmp_path / "new" / "backfill.jsonl").exists()


def test_a_platform_that_is_away_is_said_at_once(command_line: Run, tmp_path: Path) -> None:
    """Since when and until when is a line, not silence; the summary counts it."""
    write_archive(tmp_path / "archive", 1)
    patience = {
        **SHORT,
        "MOSAICO_BRIDGE_BACKFILL__OFFLINE_S": "0.5",
        "MOSAICO_BRIDGE_RETRY__BACKOFF_INITIAL_S": "30",
        "MOSAICO_BRIDGE_RETRY__BACKOFF_MAX_S": "30",
    }
    nobody = HeldPort()
    where = (str(tmp_path / "archive"), nobody.number, tmp_path / "state")
    run = command_line(*where, more=patience)
    assert run.code == 69
    assert run.errors.count("platform away since") == 1
    assert "next try in" in run.errors
    assert run.told["outages"] == 1
    assert run.told["away_s"] > 0.1


@pytest.mark.parametrize("place", ["a file", "/proc/none/at/all"])
def test_scratch_that_cannot_be_used_is_said_before_the_first(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path, place: str
) -> None:
    """Whole and once, with what to do, instead of a failure of each recording."""
    write_archive(tmp_path / "archive", 2)
    (tmp_path / "a file").touch()
    where = (str(tmp_path / "archive"), platform.port, tmp_path / "state")
    scratch = tmp_path / place
    run = command_line(*where, "--scratch", str(scratch), as_json=False)
    assert run.code == 78
    assert f"the scratch folder {scratch} cannot be made or written" in run.errors
    assert "hint: point --scratch" in run.errors
    assert arrived(platform.port) == Counter()


def test_a_file_that_is_no_recording_is_not_nothing(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """Named as an archive it is listed among the files that belong to no recording."""
    text = tmp_path / "notes.txt"
    text.write_text("no recording\n", encoding="ascii")
    where = (str(text), platform.port, tmp_path / "state")
    assert command_line(*where).told["without_owner"] == [str(text)]
    assert command_line(*where, "--dry-run").told["without_owner"] == [str(text)]


def test_what_was_sent_compressed_is_held_plain(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """The same content in another form is not sent, not called so, and not opened twice."""
    texts = words("drive", 4)
    write_mcap(tmp_path / "plain" / "drive.mcap", texts)
    packed = tmp_path / "packed" / "drive.mcap.zstd"
    packed.parent.mkdir()
    plain = (tmp_path / "plain" / "drive.mcap").read_bytes()
    packed.write_bytes(pa.Codec("zstd").compress(plain, asbytes=True))
    make_old(tmp_path / "packed")
    make_old(tmp_path / "plain")
    state = tmp_path / "state"
    sent = command_line(str(packed.parent), platform.port, state)
    first = command_line(str(tmp_path / "plain"), platform.port, state)
    second = command_line(str(tmp_path / "plain"), platform.port, state)
    assert [*sent.by_result] == ["sent"]
    assert [*first.by_result] == [*second.by_result] == ["held"]
    assert first.told["recordings"][0]["seconds"] > 0
    assert second.told["recordings"][0]["seconds"] == 0, "by the manifest, without a look"
    assert second.told["rows"] == len(texts)
    assert arrived(platform.port) == Counter(texts)


def test_a_reason_is_said_once(command_line: Run, platform: EmbeddedServer, tmp_path: Path) -> None:
    """Recordings that fail alike are one paragraph with what helps, and the manifest has each."""
    for number in range(4):
        foreign = tmp_path / "archive" / f"foreign{number}.mcap"
        foreign.parent.mkdir(exist_ok=True)
        foreign.write_bytes(b"<html>no recording" + b"!" * number)
    make_old(tmp_path / "archive")
    state = tmp_path / "state"
    run = command_line(str(tmp_path / "archive"), platform.port, state, as_json=False)
    assert run.errors.count("failed ") == 4
    assert run.errors.count(": as ") == 3
    manifest = [json.loads(line) for line in (state / "backfill.jsonl").read_text().splitlines()]
    reason = manifest[0]["reason"]
    assert {line["reason"] for line in manifest} == {reason}
    assert run.output.count(reason) == 1
    assert "failed 4 recordings" in run.output
    assert "and 1 more" in run.output


def test_secrets_of_the_archive_are_never_shown(
    command_line: Run, store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """No run shows the key, whether it works or fails, and no URL may hold one."""
    write_mcap(tmp_path / "archive" / "one.mcap", words("one", 3))
    url = store.upload(tmp_path / "archive", to="secret")
    shown = ""
    for place in (url, f"{url}/nothing"):
        debug = {**store.settings, "MOSAICO_BRIDGE_LOG__LEVEL": "debug"}
        run = command_line(place, platform.port, tmp_path / "state", more=debug)
        shown += f"{run.told}{run.errors}"
    shown += (tmp_path / "state" / "backfill.jsonl").read_text()
    assert SECRET_KEY not in shown
    refused = command_line(f"s3://key:{SECRET_KEY}@bucket/x", platform.port, tmp_path / "state")
    assert refused.code == 2
    assert SECRET_KEY not in refused.errors
    assert "secret_key_file" in refused.errors


def test_what_is_copied_is_what_was_identified(store: Store, tmp_path: Path) -> None:
    """An object that was replaced by another of the same size is not taken for the first."""
    settings = settings_of(store)
    for name in ("one", "two"):
        write_mcap(tmp_path / "archive" / "x.mcap", words(name, 5))
        url = store.upload(tmp_path / "archive", to="changes")
        (recording,) = list_archive(url, settings).recordings
        if name == "one":
            content, marks = identity_of(recording, open_store(url, settings))
            assert content == content_of(load_recording(tmp_path / "archive" / "x.mcap"))
    stopped = threading.Event()
    arguments = (recording, open_store(url, settings), tmp_path / "copy")
    with pytest.raises(RecordingChangedError):
        copy(*arguments, marks=marks, moved=lambda _: None, stopped=stopped)
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(RecordingVanishedError) as raised:
        copy(
            gone_from(recording), *arguments[1:], marks=("",), moved=lambda _: None, stopped=stopped
        )
    assert failed("x", Failure.of(raised.value)).result is Result.WAITS
    shutil.rmtree(tmp_path / "copy")
    copied = copy(*arguments, marks=("",), moved=lambda _: None, stopped=stopped)
    original = (tmp_path / "archive" / "x.mcap").read_bytes()
    assert copied.files[0].path.read_bytes() == original


def gone_from(recording: ArchivedRecording) -> ArchivedRecording:
    """Give a recording whose file is not in the store any more."""
    (file,) = recording.files
    return replace(recording, files=(replace(file, key=f"{file.key}.gone"),))


def settings_of(store: Store) -> BackfillSettings:
    return BackfillSettings(
        endpoint=store.settings["MOSAICO_BRIDGE_BACKFILL__ENDPOINT"],
        access_key="reader",
        secret_key=SecretStr(SECRET_KEY),
    )


def test_a_store_has_the_recordings_that_a_watched_folder_would_have(
    store: Store, tmp_path: Path
) -> None:
    """Numbers in names are no evidence in a store either: two robots record at one time."""
    write_archive(tmp_path / "archive", 4)
    for robot in (1, 2):
        write_bag(tmp_path / "archive" / f"robot_{robot}.bag", words(f"r{robot}", 300))
    for half in (1, 2):
        texts = words(f"half{half}", 300)
        write_bag(tmp_path / "archive" / f"split_{half}.bag", texts, first=300 * half)
        write_mcap(tmp_path / "archive" / "m" / f"m_{half}.mcap", texts, first=0)
        for name, first in (("d", 300 * half), ("e", 0)):
            # As a recorder leaves them that is killed before it writes its metadata.yaml.
            write_db3_folder(tmp_path / "own" / f"{name}{half}", texts, first=first)
            target = tmp_path / "archive" / name / f"{name}_{half - 1}.db3"
            target.parent.mkdir(exist_ok=True)
            (tmp_path / "own" / f"{name}{half}" / f"{name}{half}.db3").replace(target)
    url = store.upload(tmp_path / "archive", to="grouped")
    listed = {
        each.place: [file.name for file in each.files]
        for each in list_archive(url, settings_of(store)).recordings
    }
    watched = {
        str(each.path.relative_to(tmp_path / "archive")): [file.path.name for file in each.files]
        for each in find_recordings(tmp_path / "archive")
    }
    assert listed == watched
    assert {"robot_1.bag", "robot_2.bag", "split_1.bag"} <= listed.keys()
    assert "split_2.bag" not in listed
    assert listed["d"] == ["d_0.db3", "d_1.db3"]
    assert {"e/e_0.db3", "e/e_1.db3"} <= listed.keys()


@pytest.mark.slow
def test_two_hundred_recordings(store: Store, platform: EmbeddedServer, tmp_path: Path) -> None:
    """All formats, splits, damaged and foreign files among them, from a store, each once."""
    archive = tmp_path / "archive"
    written = write_archive(archive, 196, messages=40, padding=50_000)
    for number in range(2):
        (archive / f"foreign{number}.db3").write_bytes(b"\x00no database" * 100)
        write_mcap(archive / f"cut{number}.mcap", words(f"cut{number}", 40, padding=50_000))
        whole = (archive / f"cut{number}.mcap").read_bytes()
        (archive / f"cut{number}.mcap").write_bytes(whole[: len(whole) // 2])
    make_old(archive)
    url = store.upload(archive, to="many")
    run = backfill(url, platform.port, tmp_path / "state", "--jobs", "2", more=store.settings)
    counts = {name: len(found) for name, found in run.by_result.items()}
    assert counts == {"sent": 196, "partial": 2, "failed": 2}
    found = arrived(platform.port)
    assert Counter({text: n for text, n in found.items() if text.startswith("drive")}) == written
    assert max(found.values()) == 1


@pytest.mark.slow
def test_big_objects_come_in_parts(
    command_line: Run, store: Store, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """An object that was uploaded in parts and is larger than a range arrives whole."""
    texts = words("big", 12, padding=1 << 20)
    write_mcap_folder(tmp_path / "archive" / "big", texts, splits=1)
    url = store.upload(tmp_path / "archive", to="big")
    run = command_line(url, platform.port, tmp_path / "state", more=store.settings)
    assert run.by_result == {"sent": ["big"]}, run.errors
    assert arrived(platform.port) == Counter(texts)
    line = json.loads((tmp_path / "state" / "backfill.jsonl").read_text())
    assert line["parts"][0]["etag"].endswith(("-2", "-3"))
    assert line["size_bytes"] > 8 << 20


def test_fail_fast_ends_at_the_first_failure(
    command_line: Run, platform: EmbeddedServer, tmp_path: Path
) -> None:
    """Without it a failing recording stops nothing; with it the rest is not tried."""
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "a.mcap").write_bytes(b"<html>no recording at all</html>")
    for name in "bcd":
        write_mcap(tmp_path / "archive" / f"{name}.mcap", words(name, 3))
    make_old(tmp_path / "archive")
    where = (str(tmp_path / "archive"), platform.port, tmp_path / "state")
    fast = command_line(*where, "--fail-fast", "--jobs", "1")
    assert fast.code == 1
    assert len(fast.by_result["not tried"]) >= 2
    assert "not" in fast.told["ended_by"]["message"]
    slow = command_line(*where, "--jobs", "1")
    assert slow.code == 1
    assert sum(arrived(platform.port).values()) == 9
    assert slow.told["ended_by"] is None


def test_the_metrics_of_a_run_are_served() -> None:
    """What became of recordings is counted by result; the documents list what there is."""
    metrics = RunMetrics()
    metrics.started(recordings=3, size_bytes=10)
    with metrics.served("127.0.0.1", 0) as port, urlopen(f"http://127.0.0.1:{port}") as answer:
        text = answer.read().decode()
    assert "mosaico_bridge_backfill_recordings_wanted 3.0" in text
    served = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    page = (ROOT / "docs" / "backfill.md").read_text()
    listed = re.findall(r"^\| `(mosaico_bridge_\w+)` \| (\w+) \|", page, re.MULTILINE)
    assert sorted(one for one in served if not one[0].endswith("_created")) == sorted(listed)
    assert 'mosaico_bridge_backfill_recordings_total{result="not_tried"} 0.0' in text
