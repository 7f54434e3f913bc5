"""What a backfill knows of each recording: one JSON line each, durable before it counts.

A later line of a recording replaces an earlier one. Several runs may write to one file: each line
is added whole, under a lock. It saves work and proves nothing: whether what it names is still there
is asked of the platform.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bridge.backfill.archive import ArchivedRecording
from bridge.backfill.scratch import locked
from bridge.backfill.task import Outcome, Result
from bridge.errors import ConfigError, Trouble
from bridge.files import sync_folder
from bridge.version import __version__

FORMAT_VERSION = 1
START = b'{"format_version":'
"""What the first line of every manifest starts with."""

OWN_FAULT = frozenset({str(Trouble.POISON), str(Trouble.REJECTED)})
ARRIVED = frozenset({Result.SENT, Result.HELD, Result.PARTIAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the manifest says of a recording whose files have not changed since.

    Attributes:
        result: What became of it then.
        reason: Why, where that needed one.
        fingerprint: Identity of its content.
        parts: Identities of its files, in order.
        marks: The store's mark of each file's content.
        held: The sequences that hold it, each with the identities that lead to it: those of the
            parts of it in there, and of all of them together.
        rows: Its rows on the platform.
        is_final: Whether trying again would come to the same: it arrived, is empty, or failed by
            its own fault with this version and these settings.
        failure: The failure then, or None.
    """

    result: Result
    reason: str
    fingerprint: str
    parts: tuple[str, ...]
    marks: tuple[str, ...]
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: int = 0
    is_final: bool = False
    failure: Mapping[str, Any] | None = None


class Manifest:
    """The manifest of a run, or none; for one thread.

    Args:
        path: The file, made if need be; None to keep nothing.
        config_hash: Identifies the settings that decide what arrives.

    Raises:
        ConfigError: The file cannot be read.
    """

    def __init__(self, path: Path | None, *, config_hash: str) -> None:
        self._path = path
        self._config_hash = config_hash
        self._lines: dict[str, Mapping[str, Any]] = {}
        if path is None:
            return
        try:
            with path.open(encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    self._take(line)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ConfigError(
                f"the manifest {path} cannot be read: {error.strerror}",
                key="--manifest",
                hint="name another file; what arrived is not sent again without one either",
            ) from error

    def require_writable(self) -> None:
        """Make sure, before anything is sent, that lines can be added; adds none.

        Raises:
            ConfigError: They cannot be, or the file is something else, which is left as it is.
        """
        if self._path is None:
            return
        try:
            with locked(self._lock), self._path.open("ab+") as stream:
                stream.seek(0)
                head = stream.read(len(START))
        except OSError as error:
            raise self._unwritable(error) from error
        # The first line may be torn, too.
        if not START.startswith(head.strip()):
            raise ConfigError(
                f"{self._path} is no manifest, and is left as it is",
                key="--manifest",
                hint="name a file that does not exist yet, or that of an earlier run",
            )

    @property
    def _lock(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + ".lock")

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"the manifest {self._path} cannot be written: {error.strerror}",
            key="--manifest",
            hint="free some space, get permission, or name another file; what arrived is not "
            "sent again",
        )

    def _take(self, line: str) -> None:
        try:
            plain = json.loads(line)
            if plain["format_version"] == FORMAT_VERSION:
                self._lines[plain["key"]] = plain
        except (ValueError, KeyError, TypeError):
            # Torn by a kill, or by a full disk: what it said is found out again.
            return

    def known(self, recording: ArchivedRecording) -> Known | None:
        """Give what is known of a recording; None for nothing, or where its files have changed."""
        try:
            return self._known(recording)
        except (AttributeError, KeyError, TypeError, ValueError):
            # Not written by us, or edited: what it said is found out again.
            return None

    def _known(self, recording: ArchivedRecording) -> Known | None:
        plain = self._lines.get(recording.url)
        if plain is None or not plain["parts"]:
            return None
        files = [(file.name, file.size_bytes, file.modified_ns) for file in recording.files]
        told = [(part["name"], part["size_bytes"], part["modified_ns"]) for part in plain["parts"]]
        if told != files:
            return None
        result = Result(plain["state"])
        error = plain["error"]
        own_fault = (
            error is not None
            and error["trouble"] in OWN_FAULT
            and (plain["version"], plain["config_hash"]) == (__version__, self._config_hash)
        )
        return Known(
            result=result,
            reason=plain["reason"],
            fingerprint=plain["fingerprint"],
            parts=tuple(part["identity"] for part in plain["parts"]),
            marks=tuple(part["etag"] for part in plain["parts"]),
            held={name: tuple(parts) for name, parts in plain["sequences"].items()},
            rows=plain["rows"],
            is_final=result in ARRIVED or own_fault,
            failure=error,
        )

    def note(
        self,
        recording: ArchivedRecording,
        outcome: Outcome,
        *,
        fingerprint: str,
        parts: Sequence[str],
        marks: Sequence[str],
        held: Mapping[str, Sequence[str]],
    ) -> None:
        """Write down what became of a recording; durable on return.

        Args:
            recording: The recording.
            outcome: What became of it.
            fingerprint: Identity of its content.
            parts: Identities of its files, in order; empty where they could not be read.
            marks: The store's mark of each file's content.
            held: The sequences that hold it, as `Known.held`.

        Raises:
            ConfigError: It cannot be written.
        """
        if self._path is None:
            return
        plain = {
            "format_version": FORMAT_VERSION,
            "key": recording.url,
            "state": str(outcome.result),
            "reason": outcome.reason,
            "fingerprint": fingerprint,
            "size_bytes": sum(file.size_bytes for file in recording.files),
            "parts": [
                {
                    "name": file.name,
                    "size_bytes": file.size_bytes,
                    "modified_ns": file.modified_ns,
                    "etag": mark,
                    "identity": identity,
                }
                for file, identity, mark in zip(recording.files, parts, marks, strict=True)
            ]
            if parts
            else [],
            "sequences": {name: list(identities) for name, identities in held.items()},
            "rows": 0 if outcome.report is None else outcome.report["messages_sent"],
            "error": outcome.failure,
            "version": __version__,
            "config_hash": self._config_hash,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._add(json.dumps(plain, separators=(",", ":")).encode() + b"\n")

    def _add(self, line: bytes) -> None:
        assert self._path is not None
        try:
            with locked(self._lock):
                new = not self._path.exists()
                descriptor = os.open(
                    self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644
                )
                with os.fdopen(descriptor, "ab") as stream:
                    size = os.fstat(descriptor).st_size
                    # What a kill has torn must not swallow the line behind it.
                    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                    stream.write(b"\n" + line if torn else line)
                    stream.flush()
                    os.fsync(descriptor)
                if new:
                    sync_folder(self._path.parent)
        except OSError as error:
            raise self._unwritable(error) from error
