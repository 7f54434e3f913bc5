"""What must be remembered of an upload to take it up again: kept by whoever calls `ingest`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    """An upload that was begun, or is about to begin, and is not finished.

    Attributes:
        sequence: Its name on the platform.
        session_uuid: The right to go on with it (the sequence's key on G1); not to be shown. Empty
            where nobody has heard yet whether the platform has created the sequence.
        session: The session's locator; empty on G1 and G2a.
        tries: Attempts that got as far as sending, this one included.
        rows: Rows of each topic whose stream was sent to its end, by the platform's name of it.
            Whether they arrived, only the platform knows.
    """

    sequence: str
    session_uuid: str = field(default="", repr=False)
    session: str = ""
    tries: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """Whether it can be taken up; otherwise there may be remains, or nothing."""
        return bool(self.session_uuid)

    def as_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return {
            "sequence": self.sequence,
            "session_uuid": self.session_uuid,
            "session": self.session,
            "tries": self.tries,
            "rows": dict(self.rows),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "OpenUpload":
        """Read one back from `as_json`."""
        return cls(
            sequence=str(plain["sequence"]),
            session_uuid=str(plain["session_uuid"]),
            session=str(plain["session"]),
            tries=int(plain["tries"]),
            rows={str(name): int(rows) for name, rows in plain["rows"].items()},
        )


def got_on(before: OpenUpload | None, now: OpenUpload | None) -> bool:
    """Tell whether a try brought topics to their end that were not whole before it."""
    if now is None:
        return False
    return bool(now.rows.keys() - (before.rows.keys() if before is not None else set()))
