"""What daemon and worker say to each other: one JSON object a line, and nothing else.

Down (standard input of the worker): jobs, and how much may be sent. Up (its standard output): that
it is ready, how an ingest gets on, and how the job ended. The settings travel down the pipe,
secrets included, and so never stand in an argument list or an environment.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any

from pydantic import SecretStr

from bridge.config import Settings
from bridge.daemon.events.events import Progress
from bridge.daemon.journal.entry import Failure
from bridge.ingest import (
    IngestReport,
    OpenUpload,
    Replacement,
    SequenceContent,
    Superseded,
    TopicOutcome,
    TopicReport,
    VerificationLevel,
)
from bridge.model import Container, Loss, Recording, RecordingFile, Split
from bridge.quality import RecordingQuality, TopicFigures

# A line longer than this is no message of ours; the worker is taken for broken.
LINE_BYTES_MAX = 256 << 20
SHARE_START = b'{"share": '


class JobKind(StrEnum):
    """What a worker can be asked to do."""

    INGEST = "ingest"
    PROBE = "probe"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One thing for a worker to do.

    Attributes:
        kind: Send a recording, only see whether the platform answers, or clear what a recording
            that was given up has left there.
        settings: The settings in force.
        host: Where the platform is; the embedded server's is not in the settings.
        port: Its port.
        instance_id: This bridge's own name.
        path: The recording.
        seen: The recording by the names of its files, as the last scan saw it.
        fingerprint: What its content must be, or the job fails.
        parts: Identities of the parts that it had when it was identified; a rest of these will do.
        attempt: Which attempt this is, from 1.
        final: Whether it is the last one before the give-up.
        upload: What an earlier attempt reported, to be taken up or cleared; or None.
        supersedes: The sequence that the recording's older content became, or None.
        reason: Why it was given up, for `CLEAR`.
        resend: Whether the platform's sequence is replaced where it differs from the recording.
        remembered: Where parts of it are on the platform by the journal.
    """

    kind: JobKind
    settings: Settings
    host: str
    port: int
    instance_id: str
    path: Path = Path()
    seen: Recording | None = None
    fingerprint: str = ""
    parts: tuple[str, ...] = ()
    attempt: int = 1
    final: bool = False
    upload: OpenUpload | None = None
    supersedes: Superseded | None = None
    reason: str = ""
    resend: bool = False
    remembered: tuple[SequenceContent, ...] = ()

    def encoded(self) -> bytes:
        """Give the job as a line."""
        plain = {
            "kind": self.kind,
            "settings": self.settings.model_dump(),
            "host": self.host,
            "port": self.port,
            "instance_id": self.instance_id,
            "path": str(self.path),
            "seen": None if self.seen is None else _seen_fields(self.seen),
            "fingerprint": self.fingerprint,
            "parts": self.parts,
            "attempt": self.attempt,
            "final": self.final,
            "upload": None if self.upload is None else self.upload.as_json(),
            "supersedes": None if self.supersedes is None else self.supersedes.as_json(),
            "reason": self.reason,
            "resend": self.resend,
            "remembered": [content.as_json() for content in self.remembered],
        }
        return json.dumps(plain, default=_revealed).encode() + b"\n"

    @classmethod
    def decoded(cls, line: bytes) -> "Job":
        """Read one back."""
        plain = json.loads(line)
        return cls(
            kind=JobKind(plain["kind"]),
            settings=Settings.model_validate(plain["settings"]),
            host=plain["host"],
            port=plain["port"],
            instance_id=plain["instance_id"],
            path=Path(plain["path"]),
            seen=None if plain["seen"] is None else _seen(plain["seen"]),
            fingerprint=plain["fingerprint"],
            parts=tuple(plain["parts"]),
            attempt=plain["attempt"],
            final=plain["final"],
            upload=None if plain["upload"] is None else OpenUpload.from_json(plain["upload"]),
            supersedes=None if plain["supersedes"] is None else Superseded(**plain["supersedes"]),
            reason=plain["reason"],
            resend=plain["resend"],
            remembered=tuple(SequenceContent.from_json(each) for each in plain["remembered"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much a worker may send from now on.

    Attributes:
        bytes_per_second: The most; 0 for nothing, None without limit.
    """

    bytes_per_second: int | None

    def encoded(self) -> bytes:
        """Give it as a line, which no job looks like."""
        return SHARE_START + json.dumps(self.bytes_per_second).encode() + b"}\n"

    @classmethod
    def decoded(cls, line: bytes) -> "Share | None":
        """Read one back; None when the line is a job."""
        if not line.startswith(SHARE_START):
            return None
        return cls(bytes_per_second=json.loads(line)["share"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker has loaded everything and waits for a job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An ingest has begun."""

    sequence: str
    size_bytes: int
    message_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlanned:
    """It is decided what happens to a topic."""

    topic: TopicReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """An ingest got on."""

    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class WireMoved:
    """So much went over the wire, or nothing because nothing may be sent."""

    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadChanged:
    """An upload is about to start, has started or got on; see `IngestEvents.upload_changed`."""

    upload: OpenUpload


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished:
    """A stage took this long."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The job is done; a probe has no report."""

    report: IngestReport | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The job came to nothing."""

    failure: Failure


Message = (
    Ready
    | Started
    | TopicPlanned
    | Progressed
    | WireMoved
    | UploadChanged
    | StageFinished
    | Succeeded
    | Failed
)


def encode(message: Message) -> bytes:
    """Give a message as a line."""
    match message:
        case Ready():
            plain: dict[str, Any] = {"kind": "ready"}
        case Started():
            plain = {
                "kind": "started",
                "sequence": message.sequence,
                "size_bytes": message.size_bytes,
                "message_count": message.message_count,
            }
        case TopicPlanned():
            plain = {"kind": "topic", "topic": _topic_fields(message.topic)}
        case Progressed():
            progress = message.progress
            plain = {
                "kind": "progress",
                "recorded_bytes": progress.recorded_bytes,
                "messages": dict(progress.messages),
                "read": dict(progress.read),
                "arrow_bytes": dict(progress.arrow_bytes),
                "batches": dict(progress.batches),
                "skipped": [[*who, count] for who, count in progress.skipped.items()],
            }
        case WireMoved():
            plain = {
                "kind": "wire",
                "sent_bytes": message.sent_bytes,
                "received_bytes": message.received_bytes,
            }
        case UploadChanged():
            plain = {"kind": "upload", "upload": message.upload.as_json()}
        case StageFinished():
            plain = {"kind": "stage", "stage": message.stage, "seconds": message.seconds}
        case Succeeded():
            report = None if message.report is None else message.report.as_json()
            plain = {"kind": "succeeded", "report": report}
        case Failed():
            plain = {"kind": "failed", "failure": message.failure.as_json()}
    return json.dumps(plain).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read a message back.

    Raises:
        ValueError: The line is no JSON; also KeyError and TypeError where parts are missing.
    """
    plain = json.loads(line)
    return DECODERS[plain["kind"]](plain)


def _started(plain: Mapping[str, Any]) -> Message:
    return Started(
        sequence=plain["sequence"],
        size_bytes=plain["size_bytes"],
        message_count=plain["message_count"],
    )


def _progressed(plain: Mapping[str, Any]) -> Message:
    return Progressed(
        progress=Progress(
            recorded_bytes=plain["recorded_bytes"],
            messages=plain["messages"],
            read=plain["read"],
            arrow_bytes=plain["arrow_bytes"],
            batches=plain["batches"],
            skipped={(topic, why): count for topic, why, count in plain["skipped"]},
        )
    )


def _succeeded(plain: Mapping[str, Any]) -> Message:
    report = plain["report"]
    return Succeeded(report=None if report is None else report_from_json(report))


DECODERS: Mapping[str, Callable[[Mapping[str, Any]], Message]] = {
    "ready": lambda _: Ready(),
    "started": _started,
    "topic": lambda plain: TopicPlanned(topic=_topic(plain["topic"])),
    "progress": _progressed,
    "wire": lambda plain: WireMoved(
        sent_bytes=plain["sent_bytes"], received_bytes=plain["received_bytes"]
    ),
    "upload": lambda plain: UploadChanged(upload=OpenUpload.from_json(plain["upload"])),
    "stage": lambda plain: StageFinished(stage=plain["stage"], seconds=plain["seconds"]),
    "succeeded": _succeeded,
    "failed": lambda plain: Failed(failure=Failure.from_json(plain["failure"])),
}


def report_from_json(plain: Mapping[str, Any]) -> IngestReport:
    """Read a report back from `IngestReport.as_json`."""
    return IngestReport(
        recording=plain["recording"],
        sequence=plain["sequence"],
        fingerprint=plain["fingerprint"],
        sha256=plain["sha256"],
        topics=[_topic(topic) for topic in plain["topics"]],
        losses=[Loss(**{**loss, "path": Path(loss["path"])}) for loss in plain["losses"]],
        healthy=plain["healthy"],
        # Reports in journals of before these fields were there lack them.
        contradictions=dict(plain.get("contradictions", {})),
        messages_unverifiable=plain.get("messages_unverifiable", 0),
        verification=VerificationLevel(plain["verification"]),
        recorded_bytes=plain["recorded_bytes"],
        seconds=plain["seconds"],
        notes=list(plain["notes"]),
        replaced=Replacement.from_json(plain["replaced"]),
        contents=[SequenceContent.from_json(each) for each in plain.get("contents", ())],
        parts=plain.get("parts", 0),
        parts_before=plain.get("parts_before", 0),
        missing=list(plain.get("missing", ())),
        already_there=plain.get("already_there", False),
        quality=RecordingQuality.from_json(plain.get("quality")),
    )


def _seen_fields(seen: Recording) -> dict[str, Any]:
    """Give what names alone tell of a recording; what is in `metadata.yaml` is read again."""
    split = seen.split
    return {
        "path": str(seen.path),
        "name": seen.name,
        "files": [
            {
                **{name: getattr(file, name) for name in RecordingFile.__dataclass_fields__},
                "path": str(file.path),
            }
            for file in seen.files
        ],
        "split": None
        if split is None
        else {
            "recording": split.recording,
            "folder": str(split.folder),
            "index": split.index,
            "followed": split.followed,
        },
    }


def _seen(plain: Mapping[str, Any]) -> Recording:
    split = plain["split"]
    return Recording(
        path=Path(plain["path"]),
        name=plain["name"],
        files=tuple(
            RecordingFile(
                **{**file, "path": Path(file["path"]), "container": Container(file["container"])}
            )
            for file in plain["files"]
        ),
        split=None if split is None else Split(**{**split, "folder": Path(split["folder"])}),
    )


def _topic(plain: Mapping[str, Any]) -> TopicReport:
    figures = TopicFigures.from_json(plain.get("quality"))
    return TopicReport(
        **{**plain, "outcome": TopicOutcome(plain["outcome"]), "quality": figures},
    )


def _topic_fields(topic: TopicReport) -> dict[str, Any]:
    return {name: getattr(topic, name) for name in TopicReport.__dataclass_fields__}


def _revealed(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a job")
