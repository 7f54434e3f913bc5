"""How the keyed generation says no: nearly everything is INTERNAL."""

import uuid

from bridge.embedded.refusals import Refusal, Status


def refuse(text: str) -> Refusal:
    """Make a refusal of this generation."""
    return Refusal(Status.INTERNAL, text)


def no_rows() -> Refusal:
    """Refuse because an action or put names what does not exist."""
    return refuse(
        "facade error :: repository error :: backend error :: no rows returned by a query that"
        " expected to return at least one row"
    )


def sequence_is_locked() -> Refusal:
    """Refuse to remove a locked sequence; of a locked topic the platform says the same."""
    return refuse("sequence is locked")


def locked(kind: str) -> Refusal:
    """Refuse to change a locked `sequence` or `topic`."""
    return refuse(f"facade error :: {kind} locked, unable to perform modifications")


def undecodable(reason: str) -> Refusal:
    """Refuse JSON that is not what was wanted."""
    return refuse(f"marshal error :: deserialization error :: {reason}")


def require_key(text: str, expected: str) -> None:
    """Check the write token of a resource.

    Raises:
        Refusal: The text is no uuid, or another one.
    """
    if parse_key(text) != expected:
        raise refuse("bad key")


def parse_key(text: str) -> str:
    """Give a key in its canonical form.

    Raises:
        Refusal: The text is no uuid.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise refuse(f"malformed key :: {error}") from None
