"""The one place where errors of pyarrow, Flight and gRPC become errors of our tree.

pyarrow spreads one server's answers over `ValueError`, `KeyError`, `OSError` and three trees of its
own, so nothing outside this file catches or names them. Connection states are recognised by class;
what a server says is recognised by its words first (the platform's older generations answer
everything with the status INTERNAL) and by class where the words are unknown.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import flight

from bridge.errors import (
    AlreadyExistsError,
    BrokenLinkError,
    NotFoundError,
    OfflineError,
    PlatformBusyError,
    PreconditionError,
    ProtocolError,
    RefusedError,
    RejectedError,
    ServerError,
    ServerFullError,
    TransientError,
    UnknownActionError,
    UnknownDescriptorError,
    UnreadableRequestError,
)

FLIGHT_ERRORS = (pa.ArrowException, flight.FlightError, OSError, MemoryError)
"""Everything pyarrow raises for a call: `FlightError` alone is no `ArrowException`, and
`ArrowIOError` is plain `OSError`."""

_Told = tuple[tuple[str, ...], type[ServerError], str]

REACH_HINT = "check that the server runs and can be reached"
PATIENCE_HINT = "; a slow line may need a longer server.timeout_s"

# gRPC has tried one address after the other, and says so of the last.
_PREAMBLE = re.compile(r"failed to connect to all addresses; last error: \w+: \S+ ")

# What gRPC says when the server is unavailable; anything else is a link that broke.
_LINK: tuple[_Told, ...] = (
    (
        ("handshake", "certificate", "ssl_error", "wrong_version_number", "tsi_"),
        RefusedError,
        "check the TLS settings of both sides",
    ),
    (("remote host: timeout occurred",), OfflineError, REACH_HINT + PATIENCE_HINT),
    (
        (
            "failed to connect",
            "connection refused",
            "dns resolution",
            "errors resolving",
            "no route to host",
            "is unreachable",
            "name resolution",
        ),
        OfflineError,
        REACH_HINT,
    ),
)

TOO_LARGE_TO_READ = "one row of this topic is larger than a message of the server may be"
SMALLER_BATCHES = "one message is larger than the server accepts; send smaller batches"

# How the keyed generation says that something does not exist. Nothing else that contains "not
# found" says so: a lost file does, too.
_NO_ROW = "expected to return at least one row"
_NO_RESOURCE = "repository error :: not found"

# What servers say, in the order in which it is looked for; the first match decides.
_WORDS: tuple[_Told, ...] = (
    # Before all others, because it may quote what it could not parse: frame sizes, for one.
    (
        (
            "failed parsing http/2",
            "stream removed",
            "socket closed",
            "error in http transport",
        ),
        BrokenLinkError,
        "the link to the server breaks, or something on it garbles the stream",
    ),
    # These quote a key that somebody chose, which may be written like anything below.
    (
        ("invalid json key", "invalid key in user metadata", "bad ontology field"),
        RejectedError,
        "",
    ),
    (
        (
            "no space left on device",
            "[errno 28]",
            "os error 28",
            "disk quota exceeded",
            "database or disk is full",
        ),
        ServerFullError,
        "make room on the server's disk; sending goes on by itself then",
    ),
    (
        (
            "deadlock detected",
            "pool timed out",
            "could not serialize",
            "database failure",
            "canceling statement due to",
            "too many clients",
            "remaining connection slots",
            "the database system is",
            "terminating connection due to",
            "error communicating with database",
        ),
        PlatformBusyError,
        "the platform's database has trouble; look there if it goes on",
    ),
    (
        (
            "api key",
            "the token is ",
            "fingerprint mismatch",
            "bad request: bad header",
            "bad request: bad payload",
            "bad request: bad fingerprint",
            "bad request: bad length",
        ),
        RefusedError,
        "check the API key and its permissions",
    ),
    (("no available action",), UnknownActionError, "the server speaks another protocol revision"),
    (
        ("message length too large", "larger than max", "exceeded limit"),
        RejectedError,
        SMALLER_BATCHES,
    ),
    (("already exists",), AlreadyExistsError, ""),
    # Another has the name by now: what was created, and gave out this uuid or key, is no more.
    (
        ("does not match the topic uuid", "bad key"),
        NotFoundError,
        "somebody deleted what was sent meanwhile",
    ),
    (
        (
            "already finalized",
            "has already been uploaded",
            "is already uploading",
            "is empty.",
            "doput not called",
            "precondition failed error",
            "sequence is locked",
            "sequence locked",
            "topic locked",
            "topic unlocked",
        ),
        PreconditionError,
        "",
    ),
    (
        (
            "do not share the same sequence",
            "facade error :: unauthorized",
            "malformed key",
            "is not a valid uuid",
        ),
        RejectedError,
        "",
    ),
    (
        ("unsupported descriptor",),
        UnknownDescriptorError,
        "the server speaks another protocol revision",
    ),
    (
        (
            "body decode error",
            "body deserialization error",
            "bad command",
            "failed to decode protobuf message",
        ),
        UnreadableRequestError,
        "the server speaks another revision than when it was connected to; connect again",
    ),
    (
        (
            "sanitization error",
            "unsupported schema",
            "is not a valid",
            "non-nullable",
            "invalid byte sequence for encoding",
        ),
        RejectedError,
        "",
    ),
    (("resource exhausted",), TransientError, "the server is short of resources"),
    (("destination already closed",), TransientError, "the server ended the stream early"),
)

# What a class means where its words are unknown; the first match decides.
_CLASSES: tuple[tuple[type[BaseException], type[ServerError]], ...] = (
    (flight.FlightWriteSizeExceededError, RejectedError),
    (flight.FlightUnauthenticatedError, RefusedError),
    (flight.FlightUnauthorizedError, RefusedError),
    (flight.FlightCancelledError, TransientError),
    (flight.FlightInternalError, TransientError),
    (flight.FlightServerError, TransientError),
    (flight.FlightUnavailableError, BrokenLinkError),
    (pa.ArrowKeyError, NotFoundError),
    (pa.ArrowNotImplementedError, ProtocolError),
    (pa.ArrowMemoryError, TransientError),
    (pa.ArrowCancelled, TransientError),
    (pa.ArrowInvalid, RejectedError),
    (pa.lib.ArrowTypeError, RejectedError),
    (pa.lib.ArrowIndexError, RejectedError),
    (pa.lib.ArrowCapacityError, RejectedError),
    (pa.ArrowSerializationError, RejectedError),
    (pa.ArrowException, TransientError),
    (flight.FlightError, TransientError),
    (OSError, TransientError),
    (MemoryError, TransientError),
)


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that must not be seen: it prints as stars wherever it is shown.

    Attributes:
        value: The text itself, for the one place that sends it.
    """

    value: str = field(repr=False)

    @classmethod
    def of(cls, value: "str | Secret") -> "Secret":
        """Wrap a text, unless it is wrapped already."""
        return value if isinstance(value, Secret) else cls(value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def scrub(self, text: str) -> str:
        """Replace the secret by stars wherever it occurs in *text*."""
        return text.replace(self.value, "***") if self.value else text


NO_SECRET = Secret("")


def translate(
    error: BaseException, *, address: str = "", resource: str = "", secret: Secret = NO_SECRET
) -> ServerError:
    """Turn any error of pyarrow, Flight or gRPC into one of our tree.

    Args:
        error: What pyarrow raised.
        address: The server, as `host:port`.
        resource: The sequence, topic or action the call was about.
        secret: What must not appear in the message even if the server echoes it.

    Returns:
        The error to raise, with the server's own words as far as they are useful.
    """
    said = _without_context(secret.scrub(str(error)))
    chosen, hint = _classify(error, said.lower())
    words = _PREAMBLE.sub("", said.split("with message: ", 1)[-1]).strip() or type(error).__name__
    prefix = f"{resource}: " if resource else ""
    return chosen(f"{prefix}{words}", address=address, resource=resource, hint=hint)


def _classify(error: BaseException, words: str) -> tuple[type[ServerError], str]:
    if isinstance(error, flight.FlightTimedOutError):
        return PlatformBusyError, "the platform is slow; server.call_timeout_s allows it more time"
    is_link = isinstance(error, flight.FlightUnavailableError)
    if not is_link and _is_absence(error, words):
        return NotFoundError, ""
    table = _LINK if is_link else _WORDS
    for signs, chosen, hint in table:
        if any(sign in words for sign in signs):
            return chosen, hint
    for base, chosen in _CLASSES:
        if isinstance(error, base):
            return chosen, ""
    return TransientError, ""


def advise_reader(error: ServerError) -> None:
    """Replace advice for writing in an error of a read."""
    if error.hint == SMALLER_BATCHES:
        error.hint = TOO_LARGE_TO_READ


def _is_absence(error: BaseException, words: str) -> bool:
    """Whether the server says that what was asked for does not exist, and nothing else."""
    if isinstance(error, pa.ArrowKeyError):
        return True
    return _NO_ROW in words or words.rstrip(" .").endswith(_NO_RESOURCE)


def _without_context(text: str) -> str:
    """Cut what gRPC and a pyarrow server append to the server's words."""
    text = text.partition("gRPC client debug context:")[0]
    text = " ".join(text.split())
    return text.partition(". Detail: ")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Translator:
    """Translates whatever pyarrow raises while talking to one server.

    Attributes:
        address: The server, as `host:port`.
        secret: The API key, which no message may contain.
    """

    address: str
    secret: Secret = NO_SECRET

    def error(self, error: BaseException, resource: str) -> ServerError:
        """Give our error for *error*, raised by a call about *resource*."""
        return translate(error, address=self.address, resource=resource, secret=self.secret)

    def call(self, resource: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of pyarrow's, with its errors translated.

        The original stays attached as the cause, unless it contains the API key.

        Args:
            resource: What the call is about, for the error.
            function: What to call.
            *arguments: What to call it with.
        """
        try:
            return function(*arguments)
        except FLIGHT_ERRORS as error:
            if isinstance(error, ServerError):
                raise
            failure = self.error(error, resource)
            cause = self._harmless(error)
        # Outside the handler, where neither the context nor a local variable holds the original.
        raise failure from cause

    def _harmless(self, error: BaseException) -> BaseException | None:
        """Give *error* to be attached as a cause, or None where it would show the API key."""
        shown = f"{error} {error!r}"
        return None if self.secret.scrub(shown) != shown else error
