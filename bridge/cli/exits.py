"""Exit codes of every command, documented in docs/operations.md."""

from enum import IntEnum

from bridge.errors import BridgeError, ConfigError, RecordingError, ServerError, Trouble


class Exit(IntEnum):
    """What a command says to the shell that ran it; from 64 on as in sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    BAD_RECORDING = 65
    SERVER_UNAVAILABLE = 69
    INTERNAL = 70
    REFUSED = 77
    BAD_CONFIG = 78
    INTERRUPTED = 130


def exit_code(error: BridgeError) -> Exit:
    """Give the exit code that tells this error to a script."""
    if isinstance(error, ConfigError):
        return Exit.BAD_CONFIG
    if isinstance(error, RecordingError):
        return Exit.BAD_RECORDING
    if isinstance(error, ServerError):
        refused = error.trouble in {Trouble.REFUSED, Trouble.REJECTED}
        return Exit.REFUSED if refused else Exit.SERVER_UNAVAILABLE
    return Exit.FAILED
