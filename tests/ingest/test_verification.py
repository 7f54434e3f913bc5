"""What is proven before a sequence is finalised, by revision of the platform."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.bags import load_recording
from bridge.cli import write_drive
from bridge.client import SequenceWriter, TopicHandler, TopicReceipt
from bridge.errors import VerificationError
from bridge.ingest import Identity, IngestOptions, VerificationLevel, ingest
from tests.ingest.platforms import platform

START_NS = 1_760_000_000_000_000_000


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drive")
    return write_drive(folder, name="drive", start_ns=START_NS, duration_s=0.5, splits=1)


@pytest.mark.parametrize(
    ("revision", "most"),
    [
        ("G1.0", VerificationLevel.CLOSED),
        pytest.param("G1.1", VerificationLevel.CLOSED, marks=pytest.mark.slow),
        ("G1.2", VerificationLevel.RANGE),
        pytest.param("G2a", VerificationLevel.RANGE, marks=pytest.mark.slow),
        pytest.param("G2b", VerificationLevel.RANGE, marks=pytest.mark.slow),
        ("G2c", VerificationLevel.COUNTS),
        ("G2d", VerificationLevel.COUNTS),
        pytest.param("G3b", VerificationLevel.COUNTS, marks=pytest.mark.slow),
    ],
)
def test_as_much_is_proven_as_the_revision_tells(
    revision: str, most: VerificationLevel, tmp_path: Path
) -> None:
    """A level that the platform cannot prove is not claimed; reading back proves it everywhere."""
    order = list(VerificationLevel)
    with platform(revision, tmp_path / "platform") as client:
        for number, wanted in enumerate(order[1:]):
            start_ns = 1_760_000_000_000_000_000 + number * 10**12
            drive = write_drive(tmp_path, name=wanted, start_ns=start_ns, duration_s=0.3)
            options = IngestOptions(identity=Identity(instance="test"), verification=wanted)
            report = ingest(load_recording(drive), client=client, options=options)
            proven = (
                wanted
                if wanted is VerificationLevel.READBACK
                else min(wanted, most, key=order.index)
            )

            assert report.verification is proven
            assert report.complete


@pytest.mark.parametrize(
    ("level", "untrue", "told"),
    [
        ("closed", {"locked": False}, "not closed"),
        ("range", {"end_ns": 5}, "5"),
        ("counts", {"row_count": 1}, "has 1"),
        ("readback", {"row_count": 1}, "has 1"),
    ],
)
def test_a_difference_is_an_error_with_both_figures(
    level: str,
    untrue: dict[str, Any],
    told: str,
    drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the platform holds otherwise than it was sent is never finalised."""
    honest = SequenceWriter.receipts

    def lying(writer: SequenceWriter) -> dict[str, TopicReceipt]:
        return {
            name: replace(receipt, **untrue) if name == "/odom" else receipt
            for name, receipt in honest(writer).items()
        }

    monkeypatch.setattr(SequenceWriter, "receipts", lying)
    options = IngestOptions(
        identity=Identity(instance="test"), verification=VerificationLevel(level)
    )
    with platform("G2d", tmp_path) as client:
        with pytest.raises(VerificationError) as caught:
            ingest(load_recording(drive), client=client, options=options)

        assert caught.value.topic == "/odom"
        assert told in caught.value.message
        assert client.list_sequences() == []


def test_rows_lost_on_the_platform_are_found_by_reading_back(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that counts rows it cannot give out is caught by `readback`, and only by that."""
    whole = TopicHandler.batches
    monkeypatch.setattr(
        TopicHandler, "batches", lambda handler: (batch.slice(1) for batch in whole(handler))
    )
    for level in ("counts", "readback"):
        options = IngestOptions(
            identity=Identity(instance="test"), verification=VerificationLevel(level)
        )
        with platform("G2d", tmp_path / level) as client:
            if level == "counts":
                assert ingest(load_recording(drive), client=client, options=options).complete
                continue
            with pytest.raises(VerificationError, match="read back"):
                ingest(load_recording(drive), client=client, options=options)
