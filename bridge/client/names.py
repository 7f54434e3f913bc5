"""Names of sequences and topics: how they become locators, and what no server accepts.

The oldest servers do not refuse a bad character but drop it silently, so that two names become one;
hence every name is checked here before it is sent.
"""

from bridge.errors import RejectedError

_FORBIDDEN = frozenset("!\"'*£$%&. :")


def sequence_name(name: str) -> str:
    """Give the locator of a sequence; one leading slash is forgiven.

    Raises:
        RejectedError: No server would take the name as it is.
    """
    bare = name.removeprefix("/")
    if "/" in bare:
        raise _rejected(name, "a sequence name has no slash")
    return _checked(bare, name)


def topic_name(name: str) -> str:
    """Give the name of a topic as users know it, with one leading slash.

    Raises:
        RejectedError: No server would take the name as it is.
    """
    bare = name.removeprefix("/")
    if bare.startswith("/") or bare.endswith("/") or "//" in bare:
        raise _rejected(name, "slashes are only allowed between the parts of a topic name")
    return "/" + _checked(bare, name)


def topic_locator(sequence: str, topic: str) -> str:
    """Join a sequence and a topic into `sequence/topic/path`, both checked."""
    return sequence_name(sequence) + topic_name(topic)


def split_locator(locator: str) -> tuple[str, str]:
    """Split a locator into sequence and topic name; the topic is empty for a sequence's own."""
    sequence, slash, topic = locator.strip("/").partition("/")
    return sequence, f"/{topic}" if slash else ""


def kind_of(locator: str) -> str:
    """Give the kind of resource that a locator names, as in actions: `topic` or `sequence`."""
    return "topic" if "/" in locator else "sequence"


def _checked(bare: str, name: str) -> str:
    if not bare:
        raise _rejected(name, "the name is empty")
    wrong = sorted({sign for sign in bare if sign in _FORBIDDEN or not "!" <= sign <= "~"})
    if wrong:
        raise _rejected(name, f"it contains {' '.join(map(repr, wrong))}")
    return bare


def _rejected(name: str, reason: str) -> RejectedError:
    return RejectedError(
        f"the platform does not accept the name {name!r}: {reason}",
        resource=name,
        hint="use letters, digits, - and _ (and / inside topic names)",
    )
