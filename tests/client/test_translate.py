"""Errors of pyarrow, Flight and gRPC become errors of our tree: all of them."""

import ast
import re

import pyarrow as pa
import pytest
from pyarrow import flight

from bridge.client.translate import FLIGHT_ERRORS, Secret, Translator, translate
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
    Trouble,
    UnknownActionError,
    UnknownDescriptorError,
    UnreadableRequestError,
)
from tests.client.conftest import ROOT

# What each class means when its text says nothing that is known.
EXPECTED: dict[str, type[ServerError]] = {
    "ArrowCancelled": TransientError,
    "ArrowCapacityError": RejectedError,
    "ArrowException": TransientError,
    "ArrowIndexError": RejectedError,
    "ArrowInvalid": RejectedError,
    "ArrowKeyError": NotFoundError,
    "ArrowMemoryError": TransientError,
    "ArrowNotImplementedError": ProtocolError,
    "ArrowSerializationError": RejectedError,
    "ArrowTypeError": RejectedError,
    "FlightCancelledError": TransientError,
    "FlightError": TransientError,
    "FlightInternalError": TransientError,
    "FlightServerError": TransientError,
    "FlightTimedOutError": PlatformBusyError,
    "FlightUnauthenticatedError": RefusedError,
    "FlightUnauthorizedError": RefusedError,
    "FlightUnavailableError": BrokenLinkError,
    "FlightWriteSizeExceededError": RejectedError,
    "OSError": TransientError,
}


def pyarrow_exceptions() -> list[type[Exception]]:
    """Every exception class that pyarrow and its Flight define."""
    found = {
        value
        for module in (pa, pa.lib, flight)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    ours = {cls for cls in found if cls.__module__.startswith("pyarrow") or cls is OSError}
    return sorted(ours, key=lambda cls: cls.__name__)


def raised(cls: type[Exception], text: str) -> Exception:
    if cls is flight.FlightWriteSizeExceededError:
        return flight.FlightWriteSizeExceededError(text, 1, 2)
    return cls(text)


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("cls", pyarrow_exceptions(), ids=lambda cls: cls.__name__)
def test_every_exception_of_pyarrow_is_expected_and_translated(cls: type[Exception]) -> None:
    """No class of pyarrow is unknown here, and each leaves the door as the error named above."""
    original = raised(cls, "gibberish")
    with pytest.raises(ServerError) as caught:
        Translator(address="host:1").call("seq/topic", fail, original)
    assert type(caught.value) is EXPECTED[cls.__name__]
    assert caught.value.__cause__ is original
    assert caught.value.address == "host:1"
    assert caught.value.resource == "seq/topic"


def test_walk_is_not_empty() -> None:
    """The walk above sees the classes of both trees, Flight's and Arrow's."""
    names = {cls.__name__ for cls in pyarrow_exceptions()}
    assert names == EXPECTED.keys()
    assert all(issubclass(cls, FLIGHT_ERRORS) for cls in pyarrow_exceptions())


INVALID = "Flight returned invalid argument error, with message: "
INTERNAL = "Flight returned internal error, with message: "


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        # The session generation.
        (
            pa.ArrowInvalid(INVALID + "Bad request: no available action for string `info`."),
            UnknownActionError,
        ),
        (pa.ArrowInvalid(INVALID + "Bad request: the token is incomplete."), RefusedError),
        (pa.ArrowInvalid(INVALID + "Bad request: the token is bad fingerprint."), RefusedError),
        (flight.FlightUnauthorizedError("Missing API key in request header."), RefusedError),
        (flight.FlightUnauthorizedError("Unauthorized: API key is expired."), RefusedError),
        (
            pa.ArrowException("Flight returned already exists error, with message: ."),
            AlreadyExistsError,
        ),
        (
            pa.lib.ArrowKeyError("Flight returned not found error, with message:  not found."),
            NotFoundError,
        ),
        (pa.ArrowInvalid(INVALID + "a.b is not a valid locator."), RejectedError),
        (pa.ArrowInvalid(INVALID + "Bad request: invalid json key: a.b."), RejectedError),
        # A key that is written like the words for other trouble.
        (pa.ArrowInvalid(INVALID + "Bad request: invalid json key: api key."), RejectedError),
        (pa.ArrowInvalid("bad ontology field `x.no space left on device`."), RejectedError),
        (
            flight.FlightUnauthorizedError(
                "Unauthorized: received uuid does not match the topic uuid."
            ),
            NotFoundError,
        ),
        (
            flight.FlightUnauthorizedError(
                "topic locator and session do not share the same sequence."
            ),
            RejectedError,
        ),
        (pa.ArrowInvalid("Session `x` already finalized."), PreconditionError),
        (pa.ArrowInvalid("Session `<loc> is empty.`."), PreconditionError),
        (pa.ArrowInvalid("DoPut not called for topic `a/b`. At least one ..."), PreconditionError),
        (pa.ArrowInvalid("Topic `a/b` is already uploading data."), PreconditionError),
        (
            pa.ArrowInvalid("Topic `a/b` has already been uploaded and finalized."),
            PreconditionError,
        ),
        (
            pa.ArrowInvalid(INVALID + "Unsupported schema: missing timestamp field in schema."),
            RejectedError,
        ),
        (
            flight.FlightCancelledError(
                "Stream error: decoded message length too large: found 9 bytes"
            ),
            RejectedError,
        ),
        (
            flight.FlightCancelledError("Stream error: Column 'x' is declared as non-nullable"),
            RejectedError,
        ),
        (flight.FlightCancelledError("Stream error: broken."), TransientError),
        (pa.ArrowInvalid("decoded message length too large: found 9"), RejectedError),
        (pa.ArrowInvalid("resource exhausted error, with message: too many"), TransientError),
        (
            pa.ArrowInvalid("resource exhausted error: Received message larger than max"),
            RejectedError,
        ),
        (pa.ArrowInvalid("Destination already closed"), TransientError),
        # The keyed generation, where everything is INTERNAL.
        (
            flight.FlightInternalError(
                INTERNAL + "action error :: no available action for string `info`"
            ),
            UnknownActionError,
        ),
        (
            flight.FlightInternalError(INTERNAL + "sequence `run` already exists"),
            AlreadyExistsError,
        ),
        (
            flight.FlightInternalError(
                "no rows returned by a query that expected to return at least one row"
            ),
            NotFoundError,
        ),
        (flight.FlightInternalError("repository error :: not found"), NotFoundError),
        (
            flight.FlightInternalError("facade error :: repository error :: not found"),
            NotFoundError,
        ),
        # Words of absence inside another error are no absence.
        (
            flight.FlightInternalError("store error :: Object at location a/b/data-0 not found"),
            TransientError,
        ),
        (
            flight.FlightInternalError("repository error :: relation topic_t not found in cache"),
            TransientError,
        ),
        (pa.ArrowInvalid(INVALID + "Bad request: key not found in header."), RejectedError),
        # Trouble of the platform's database.
        (flight.FlightInternalError("backend error :: deadlock detected"), PlatformBusyError),
        (
            flight.FlightInternalError("pool timed out while waiting for an open connection"),
            PlatformBusyError,
        ),
        (
            flight.FlightInternalError("could not serialize access due to concurrent update"),
            PlatformBusyError,
        ),
        (
            flight.FlightInternalError("Internal error: database failure. See https://x/."),
            PlatformBusyError,
        ),
        (
            flight.FlightInternalError('invalid byte sequence for encoding "UTF8": 0x00'),
            RejectedError,
        ),
        (flight.FlightInternalError("sequence is locked"), PreconditionError),
        (
            flight.FlightInternalError("facade error :: sequence locked, unable to perform"),
            PreconditionError,
        ),
        (
            flight.FlightInternalError("facade error :: topic unlocked, unable to perform"),
            PreconditionError,
        ),
        (flight.FlightInternalError("bad key"), NotFoundError),
        (flight.FlightInternalError("facade error :: unauthorized"), RejectedError),
        (
            flight.FlightInternalError(
                "sanitization error :: wrong timestamp field type, expected int64"
            ),
            RejectedError,
        ),
        (flight.FlightInternalError("unsupported descriptor type"), UnknownDescriptorError),
        (
            pa.ArrowInvalid(INVALID + "Bad request: body deserialization error."),
            UnreadableRequestError,
        ),
        (pa.ArrowInvalid(INVALID + "Bad request: body decode error."), UnreadableRequestError),
        (
            pa.ArrowInvalid(
                INVALID + "Bad request: failed to decode Protobuf message: buffer underflow."
            ),
            UnreadableRequestError,
        ),
        (
            flight.FlightInternalError(
                "error during data streaming :: decoded message length too large: found 9"
            ),
            RejectedError,
        ),
        (flight.FlightInternalError("error during data streaming :: broken pipe"), TransientError),
        # gRPC itself.
        (
            flight.FlightUnavailableError(
                "failed to connect to all addresses; last error: Connection refused"
            ),
            OfflineError,
        ),
        *(
            (
                flight.FlightUnavailableError(
                    "failed to connect to all addresses; last error: UNAVAILABLE:"
                    f" ipv4:127.0.0.1:1: {reason}"
                ),
                OfflineError,
            )
            for reason in ("recvmsg:Connection reset by peer", "Socket closed", "EOF")
        ),
        (
            flight.FlightUnavailableError("DNS resolution failed for nowhere.invalid:1"),
            OfflineError,
        ),
        (
            flight.FlightUnavailableError("errors resolving nowhere.invalid:1: [field:hostname"),
            OfflineError,
        ),
        (
            flight.FlightUnavailableError(
                "failed to connect to all addresses; Ssl handshake failed"
            ),
            RefusedError,
        ),
        (flight.FlightUnavailableError("Socket closed"), BrokenLinkError),
        (flight.FlightUnavailableError("keepalive watchdog timeout"), BrokenLinkError),
    ],
)
def test_words_of_servers_are_understood(original: Exception, expected: type[ServerError]) -> None:
    """What servers of both generations and gRPC say decides where the class does not."""
    translated = translate(original)
    assert type(translated) is expected


def test_only_what_helps_later_is_retryable() -> None:
    """Each kind of trouble says by attribute whether trying again can help."""
    troubles = {
        cls: (cls.trouble, cls.retryable)
        for cls in (OfflineError, RefusedError, TransientError, RejectedError, ProtocolError)
    }
    assert troubles == {
        OfflineError: (Trouble.OFFLINE, True),
        RefusedError: (Trouble.REFUSED, False),
        TransientError: (Trouble.TRANSIENT, True),
        RejectedError: (Trouble.REJECTED, False),
        ProtocolError: (Trouble.REFUSED, False),
    }


def test_wrapping_of_pyarrow_is_cut_off() -> None:
    """What is shown are the server's words, without what gRPC and pyarrow put around them."""
    text = f"{INVALID}a.b is not a valid locator. gRPC client debug context: UNKNOWN {{x}}. Client"
    assert translate(pa.ArrowInvalid(text), resource="a.b").message == (
        "a.b: a.b is not a valid locator."
    )


def test_our_own_errors_pass_unchanged() -> None:
    """An error of our tree that is also an OSError is not translated again."""
    ours = OfflineError("nobody there")
    with pytest.raises(OfflineError) as caught:
        Translator(address="host:1").call("x", fail, ours)
    assert caught.value is ours


def test_secret_shows_stars() -> None:
    """However a secret is printed, it is stars; an error that contains it is no cause."""
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret!s}"
    translator = Translator(address="host:1", secret=secret)
    assert "hunter2" not in repr(translator)
    with pytest.raises(RejectedError) as caught:
        translator.call("x", fail, pa.ArrowInvalid("what is hunter2?"))
    assert caught.value.message == "x: what is ***?"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def words_looked_at(tree: ast.Module) -> list[int]:
    """Find the lines that decide by the text of an exception they have caught."""
    lines = []
    for handler in (node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)):
        for node in ast.walk(handler):
            # Comparisons, and methods such as startswith, whose subject is not only printed.
            if isinstance(node, ast.Compare):
                subjects = [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                deciding = node.func.attr in {"startswith", "endswith", "find", "search", "match"}
                subjects = [node.func.value, *node.args] if deciding else []
            else:
                continue
            text = " ".join(map(ast.unparse, subjects))
            if handler.name and re.search(
                rf"\b{handler.name}\.message|str\({handler.name}\)", text
            ):
                lines.append(node.lineno)
    return lines


def test_nobody_else_decides_by_words() -> None:
    """Outside the translator no error is told from another by its text."""
    found = [
        f"{file.name}:{line}"
        for part in ("client", "ingest", "daemon", "cli")
        for file in (ROOT / "bridge" / part).rglob("*.py")
        if file.name != "translate.py"
        for line in words_looked_at(ast.parse(file.read_text(encoding="utf-8")))
    ]
    # Not an error told from another, but a path that need not be said twice.
    assert [place for place in found if not place.startswith("terminal.py")] == []


def test_deciding_by_words_would_be_found() -> None:
    """The search above sees what it looks for."""
    sample = (
        "try:\n    f()\nexcept E as error:\n    if 'x' in error.message.lower():\n        raise\n"
    )
    assert words_looked_at(ast.parse(sample)) == [4]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Failed parsing HTTP/2 (Frame size 11757329 is larger than max 4194304)", BrokenLinkError),
        ("Stream removed (recvmsg:Connection reset by peer)", BrokenLinkError),
        ("Internal error: OSError: [Errno 28] Error writing bytes to file", ServerFullError),
        ("Internal error: No space left on device (os error 28)", ServerFullError),
        ("database or disk is full", ServerFullError),
    ],
)
def test_noise_on_the_line_and_full_disks_blame_no_content(
    said: str, expected: type[ServerError]
) -> None:
    """Neither a garbled answer nor a server without room says anything about what was sent."""
    for kind in (flight.FlightInternalError, flight.FlightServerError, pa.ArrowInvalid, OSError):
        assert type(translate(kind(said))) is expected
