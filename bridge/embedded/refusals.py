"""How the server says no: one exception with a status, and its translation for pyarrow.

Handlers raise `Refusal`; `as_flight_error` turns it, at the door, into the pyarrow exception whose
gRPC status is that of the platform. Some statuses cannot be produced by a pyarrow server:
ALREADY_EXISTS, FAILED_PRECONDITION and OUT_OF_RANGE go out as INVALID_ARGUMENT with the platform's
text, which pyarrow clients see as `ArrowInvalid` in the last two cases anyway. And a put without a
message or a descriptor never gets here: pyarrow refuses it itself, as UNKNOWN and in its own words.

pyarrow appends the Python traceback, with file paths, to the message of every exception that is
not a Flight error, and the Flight errors have no class for INVALID_ARGUMENT and NOT_FOUND. The
classes here keep the status and lose the traceback: see `_Untraced`.
"""

from enum import Enum
from typing import NoReturn

import pyarrow as pa
import pyarrow.flight

TEXT_CHARACTERS_MAX = 1000
"""gRPC drops the status of a call whose trailers exceed some KiB, so longer texts are cut."""


class Status(Enum):
    """The gRPC statuses the platform answers with."""

    INVALID_ARGUMENT = "invalid argument"
    NOT_FOUND = "not found"
    ALREADY_EXISTS = "already exists"
    FAILED_PRECONDITION = "failed precondition"
    PERMISSION_DENIED = "permission denied"
    CANCELLED = "cancelled"
    ABORTED = "aborted"
    INTERNAL = "internal"


class Refusal(Exception):  # noqa: N818 - what the server does, not something that went wrong in it
    """The server will not do what was asked.

    Attributes:
        status: The platform's gRPC status.
        text: The platform's message.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def not_found(name: str) -> Refusal:
    """Refuse because a resource does not exist."""
    return Refusal(Status.NOT_FOUND, f"{name} not found.")


def never_put(locator: str) -> Refusal:
    """Refuse because a topic has no data and never had an empty put."""
    return Refusal(
        Status.FAILED_PRECONDITION,
        f"DoPut not called for topic `{locator}`. At least one with an empty batch is required"
        " to finalize the topic.",
    )


def still_uploading(locator: str) -> Refusal:
    """Refuse because a put of a topic has begun and has not ended cleanly."""
    return Refusal(Status.FAILED_PRECONDITION, f"Topic `{locator}` is already uploading data.")


def too_large(size_bytes: int, limit_bytes: int) -> str:
    """Say that a message is over the limit, in gRPC's words; clients know them by heart."""
    return (
        f"decoded message length too large: found {size_bytes} bytes, the limit is:"
        f" {limit_bytes} bytes"
    )


class _Untraced:
    """Keeps the traceback of this exception out of the message that leaves the server.

    pyarrow formats the traceback with `traceback.format_exception` and, when that fails, names
    the class alone. Formatting looks at `__cause__` first, so it fails here and nowhere else:
    these exceptions go straight from the door into pyarrow, and nobody else sees them.
    """

    @property
    def __cause__(self) -> NoReturn:
        raise LookupError("the cause stays in the server")


class InvalidArgument(_Untraced, pa.ArrowInvalid):  # type: ignore[misc]
    """Becomes INVALID_ARGUMENT on the wire."""


class NotFound(_Untraced, pa.lib.ArrowKeyError):  # type: ignore[misc]
    """Becomes NOT_FOUND on the wire."""


class Internal(_Untraced, pyarrow.flight.FlightInternalError):  # type: ignore[misc]
    """Becomes INTERNAL on the wire; UNKNOWN in GetSchema, for which pyarrow knows no better."""


_FLIGHT_ERRORS: dict[Status, type[Exception]] = {
    Status.INVALID_ARGUMENT: InvalidArgument,
    Status.NOT_FOUND: NotFound,
    Status.ALREADY_EXISTS: InvalidArgument,
    Status.FAILED_PRECONDITION: InvalidArgument,
    Status.PERMISSION_DENIED: pyarrow.flight.FlightUnauthorizedError,
    Status.CANCELLED: pyarrow.flight.FlightCancelledError,
    Status.ABORTED: pyarrow.flight.FlightInternalError,
    Status.INTERNAL: Internal,
}


def as_flight_error(refusal: Refusal) -> Exception:
    """Give the exception that makes pyarrow answer with the refusal's status and text."""
    # What a client sent may be in it: halves of surrogate pairs and NUL are no text for the wire.
    text = refusal.text.encode(errors="replace").decode().replace("\x00", "\ufffd")
    if len(text) > TEXT_CHARACTERS_MAX:
        text = f"{text[:TEXT_CHARACTERS_MAX]}…"
    return _FLIGHT_ERRORS[refusal.status](text)
