"""What the platform has already is compared with the recording before it is believed."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.bags import load_recording
from bridge.cli import write_drive
from bridge.errors import PreconditionError
from bridge.ingest import (
    Identity,
    IngestOptions,
    Sender,
    TopicOptions,
    VerificationLevel,
    ingest,
)
from tests.ingest.platforms import platform
from tests.ingest.test_resume import rows, yields
from tests.waiting import wait_for

OPTIONS = IngestOptions(identity=Identity(instance="test"))
THINNED = replace(OPTIONS, topic_options={"/imu/*": TopicOptions(every_nth=2)})
LEVELS = pytest.mark.parametrize(
    ("revision", "level"), [("G1.2", VerificationLevel.RANGE), ("G2d", VerificationLevel.COUNTS)]
)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    return write_drive(folder, name="drive", start_ns=1_760_000_000_000_000_000, duration_s=0.5)


@LEVELS
@pytest.mark.parametrize("options", [OPTIONS, THINNED], ids=["whole", "thinned"])
def test_what_is_there_whole_is_proven_as_far_as_the_platform_tells(
    revision: str, level: VerificationLevel, options: IngestOptions, drive: Path, tmp_path: Path
) -> None:
    """By the container's counts where both sides count, else by what the recording yields."""
    with platform(revision, tmp_path) as client:
        first = ingest(load_recording(drive), client=client, options=options)
        again = ingest(load_recording(drive), client=client, options=options)

    assert again.complete
    assert again.verification is level
    assert again.notes == ["the platform had this recording already; nothing was sent"]
    if revision == "G2d":
        assert again.messages_sent == first.messages_sent


@LEVELS
def test_what_differs_is_replaced_on_request_or_told(
    revision: str, level: VerificationLevel, drive: Path, tmp_path: Path
) -> None:
    """Without a request it stays and is reported; with one it is replaced, if it may be removed."""
    with platform(revision, tmp_path) as client:
        ingest(load_recording(drive), client=client, options=THINNED)
        told = ingest(load_recording(drive), client=client, options=OPTIONS)
        name = told.sequence
        before = rows(client, name)

        assert told.verification is VerificationLevel.NONE
        assert not told.complete
        assert any("/imu/data" in note and "the platform has" in note for note in told.notes)
        if revision == "G1.2":
            with pytest.raises(PreconditionError, match="/imu/data") as caught:
                ingest(load_recording(drive), client=client, options=OPTIONS, resend=True)
            assert "cannot be removed" in caught.value.message
            assert rows(client, name) == before
            return
        report = ingest(load_recording(drive), client=client, options=OPTIONS, resend=True)

        assert report.verification is level
        assert rows(client, name) == yields(report)
        assert client.list_sequences() == [name]


@pytest.mark.parametrize("revision", ["G1.2", "G2d", pytest.param("G3b", marks=pytest.mark.slow)])
def test_content_under_another_name_is_recognised(
    revision: str, drive: Path, tmp_path: Path
) -> None:
    """A recording renamed while no journal knew it is not sent twice; other content is sent."""
    renamed = tmp_path / "renamed"
    shutil.copytree(drive, renamed)
    other = write_drive(tmp_path, name="other", start_ns=1_770_000_000_000_000_000, duration_s=0.5)
    daemons = replace(OPTIONS, identity=Identity(instance="test", resumes=True))
    with platform(revision, tmp_path / "platform") as client:
        first = ingest(load_recording(drive), client=client, options=daemons)
        again = ingest(load_recording(renamed), client=client, options=daemons)
        new = ingest(load_recording(other), client=client, options=daemons)

        assert again.sequence == first.sequence
        assert again.complete
        assert "nothing was sent" in again.notes[-1]
        assert client.list_sequences() == sorted([first.sequence, new.sequence])


def test_a_sender_that_has_ended_is_not_at_work() -> None:
    """Not even where nobody asks how it ended, as in a container without an init."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None

        def field(number: int) -> str:
            text = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
            return text.rpartition(")")[2].split()[number]

        sender = replace(Sender.here(), process=f"{process.pid} {field(19)}")
        assert not sender.left(journalled=True)
        process.stdin.close()
        wait_for(lambda: field(0) == "Z")
        assert sender.left(journalled=False)
