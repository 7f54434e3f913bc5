"""The error tree: what can go wrong, whether trying again helps, and what a person can do.

    BridgeError
    ├── ConfigError                   a setting is wrong or missing
    ├── UsageError                    the API was used against its rules (also a RuntimeError)
    │   └── CommandLineError          a command lacks something, or its options contradict
    ├── RecordingError                the recording itself                              poison
    │   ├── NotARecordingError        not a bag, or nothing in it that could be one
    │   ├── DamagedRecordingError     a container is cut, torn or inconsistent
    │   ├── DefinitionError           a message definition is missing or cannot be parsed
    │   ├── DecodeError               payloads do not fit their definition
    │   ├── EmptyRecordingError       nothing in it can become a topic
    │   ├── RecordingLimitError       a claimed size is beyond the configured limits
    │   ├── RecordingChangedError     a file changed while it was read                  transient
    │   └── RecordingVanishedError    a file disappeared before it was read
    ├── ServerError                   the platform, or the way to it
    │   ├── OfflineError              nobody answers (also a ConnectionError)           offline
    │   │   └── DatabaseAwayError     the platform answers, its database does not
    │   ├── RefusedError              bad key, missing permission, wrong TLS            refused
    │   │   └── ServerFullError       the server's disk is full
    │   ├── TransientError            internal error, timeout                           transient
    │   │   ├── BrokenLinkError       the connection broke or hung while in use         offline
    │   │   ├── PlatformBusyError     its database or its pool: nobody's content is to blame
    │   │   └── UploadGoneError       what was sent so far was deleted meanwhile
    │   ├── RejectedError             this content will never be accepted               rejected
    │   │   ├── AlreadyExistsError
    │   │   │   └── BusyElsewhereError  another bridge is sending it                    transient
    │   │   ├── NotFoundError
    │   │   └── PreconditionError     the resource is in a state that forbids the call
    │   │       └── NestedTopicError  its deletion would take the data of topics below it
    │   └── ProtocolError             an answer that the protocol does not know         refused
    │       ├── UnknownActionError        the server has no such action
    │       ├── UnknownDescriptorError    it does not take descriptors of this kind
    │       └── UnreadableRequestError    it cannot decode the request
    ├── VerificationError             the platform holds something else than was sent   transient
    ├── ScratchSpaceError             no room for working copies                        transient
    ├── UnreadableStorageError        the disk or its mount gives no bytes now          transient
    └── JournalError                  the daemon's own state cannot be read or written

Code that handles an error decides by `trouble` and `retryable`, never by its text.
"""

from enum import StrEnum
from pathlib import Path
from typing import ClassVar


class Trouble(StrEnum):
    """The kinds of trouble that the daemon treats differently."""

    OFFLINE = "offline"
    REFUSED = "refused"
    TRANSIENT = "transient"
    REJECTED = "rejected"
    POISON = "poison"
    INTERNAL = "internal"


SHUT_OUT = frozenset({Trouble.OFFLINE, Trouble.REFUSED})
"""Trouble that meets every recording alike: nobody answers, or we are not let in."""


class BridgeError(Exception):
    """Root of the tree.

    Attributes:
        message: What happened, as a sentence for a person.
        hint: What the operator can do about it; empty when there is nothing to do.
        trouble: The kind of trouble, which decides how the daemon goes on.
        retryable: Whether the same call can succeed later without anybody acting.
    """

    trouble: ClassVar[Trouble] = Trouble.INTERNAL
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def facts(self) -> dict[str, str]:
        """Give the error as flat text facts, for logs, reports and the journal."""
        named = {
            name: str(value)
            for name, value in vars(self).items()
            # What libraries hang onto an exception, as that of the command line does, is no fact.
            if name not in {"message", "hint"} and not name.startswith("_")
            if value is not None and value != ""
        }
        if notes := getattr(self, "__notes__", None):
            named["notes"] = "; ".join(notes)
        return {"error": type(self).__name__, "message": self.message, "hint": self.hint} | named


class ConfigError(BridgeError):
    """A setting is wrong or missing.

    Attributes:
        key: The dotted name of the setting, where one is to blame.
    """

    trouble = Trouble.REFUSED

    def __init__(self, message: str, *, key: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class UsageError(BridgeError, RuntimeError):
    """The API was used against its rules, for example a writer outside its `with` block."""


class CommandLineError(UsageError):
    """A command lacks something that it needs, or its options contradict each other."""


class RecordingError(BridgeError):
    """The recording itself is the trouble.

    Attributes:
        path: The file or folder concerned.
        topic: The topic concerned, where it is one.
        offset_bytes: Where in the file, where that is known.
    """

    trouble = Trouble.POISON

    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        topic: str = "",
        offset_bytes: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.topic = topic
        self.offset_bytes = offset_bytes


class NotARecordingError(RecordingError):
    """The path is not a bag, or holds nothing that could be one."""


class DamagedRecordingError(RecordingError):
    """A container is cut, torn or contradicts itself."""


class DefinitionError(RecordingError):
    """A message definition is missing or cannot be parsed.

    Attributes:
        msgtype: The message type whose definition is the trouble.
    """

    def __init__(
        self,
        message: str,
        *,
        msgtype: str,
        path: Path | None = None,
        topic: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, path=path, topic=topic, hint=hint)
        self.msgtype = msgtype


class DecodeError(RecordingError):
    """Payloads do not fit their definition."""


class EmptyRecordingError(RecordingError):
    """Nothing in the recording can become a topic."""


class RecordingLimitError(RecordingError):
    """A claimed size is beyond the configured limits, so it was not even tried."""


class RecordingChangedError(RecordingError):
    """A file changed while it was read; what was read of it is worthless."""

    trouble = Trouble.TRANSIENT
    retryable = True


class RecordingVanishedError(RecordingError):
    """A file disappeared before it was read."""


class ServerError(BridgeError):
    """The platform, or the way to it.

    Attributes:
        address: The server concerned, as `host:port`.
        resource: The sequence, topic or action concerned.
    """

    trouble = Trouble.TRANSIENT

    def __init__(
        self, message: str, *, address: str = "", resource: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.address = address
        self.resource = resource


class OfflineError(ServerError, ConnectionError):
    """Nobody answers at the address."""

    trouble = Trouble.OFFLINE
    retryable = True


class DatabaseAwayError(OfflineError):
    """The platform answers, but its database does not: nothing can be looked up or written."""


class RefusedError(ServerError):
    """The server answers but does not let us in: key, permission or TLS."""

    trouble = Trouble.REFUSED


class ServerFullError(RefusedError):
    """The server answers but has no room: nobody's recording is to blame, and none will fit."""


class TransientError(ServerError):
    """An internal error, a timeout or a broken link; trying again may help."""

    trouble = Trouble.TRANSIENT
    retryable = True


class PlatformBusyError(TransientError):
    """The platform's own trouble: a deadlock, no free connection, a database that fails.

    What was sent is hardly to blame: it is tried again after a pause, and costs no attempt unless
    the same goes on for long.
    """


class BrokenLinkError(TransientError):
    """The connection broke, or nothing got through it, while it was used.

    Whatever was sent is not to blame, so no attempt at it is counted, however often it happens.
    """

    trouble = Trouble.OFFLINE


class UploadGoneError(TransientError):
    """The unfinished sequence was deleted on the platform while it was sent; it is sent again."""


class RejectedError(ServerError):
    """The server will never accept this content: name, schema, size or state."""

    trouble = Trouble.REJECTED


class AlreadyExistsError(RejectedError):
    """The name is taken."""


class BusyElsewhereError(AlreadyExistsError):
    """Another bridge is sending this very content; when it is done there is nothing to do.

    Attributes:
        gives_way: Whether what was sent of it here has to go, so that the other one is finished.
    """

    trouble = Trouble.TRANSIENT
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        address: str = "",
        resource: str = "",
        hint: str = "",
        gives_way: bool = False,
    ) -> None:
        super().__init__(message, address=address, resource=resource, hint=hint)
        self.gives_way = gives_way


class NotFoundError(RejectedError):
    """The platform knows no such resource."""


class PreconditionError(RejectedError):
    """The resource is in a state that forbids the call."""


class NestedTopicError(PreconditionError):
    """The topic cannot be deleted by itself: the platform would delete the data below it, too."""


class ProtocolError(ServerError):
    """An answer that the protocol does not know."""

    trouble = Trouble.REFUSED


class UnknownActionError(ProtocolError):
    """The server has no such action: it speaks another revision."""


class UnknownDescriptorError(ProtocolError):
    """The server does not take descriptors of this kind: it speaks another revision."""


class UnreadableRequestError(ProtocolError):
    """The server cannot decode the request: it speaks another encoding, or another revision."""


class VerificationError(BridgeError):
    """The platform holds something else than was sent.

    Attributes:
        sequence: The sequence concerned.
        topic: The topic concerned, or empty for the whole sequence.
        expected: What was sent.
        actual: What the platform reports.
    """

    trouble = Trouble.TRANSIENT
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        sequence: str,
        topic: str = "",
        expected: str,
        actual: str,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.sequence = sequence
        self.topic = topic
        self.expected = expected
        self.actual = actual


class ScratchSpaceError(BridgeError):
    """There is no room, or no permission, for a working copy of a recording.

    Attributes:
        folder: Where the copy was to be made.
        needed_bytes: How much it would have taken.
    """

    trouble = Trouble.TRANSIENT
    retryable = True

    def __init__(self, message: str, *, folder: Path, needed_bytes: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.folder = folder
        self.needed_bytes = needed_bytes


class UnreadableStorageError(BridgeError):
    """The disk, or the way to it, gives no bytes now; that may pass, and damages no recording.

    Attributes:
        path: The file or folder concerned.
        offset_bytes: Where in the file, where that is known.
    """

    trouble = Trouble.TRANSIENT
    retryable = True

    def __init__(
        self, message: str, *, path: Path, offset_bytes: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.offset_bytes = offset_bytes


class JournalError(BridgeError):
    """The daemon's own state cannot be read or written."""
