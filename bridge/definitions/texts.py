"""The text of a definition -> the types it declares: section by section, each parsed once.

Recorders put the texts of several files into one definition, with a line of `=` and a title in
front of each but mostly the first. A process that reads a thousand files of one robot sees the
same few texts again and again, so what was parsed is kept.
"""

import re
from functools import lru_cache

from bridge.definitions.idl_expressions import Constants, UnknownConstantError
from bridge.definitions.idl_grammar import parse_idl
from bridge.definitions.msg_grammar import interface_messages, is_interface_text, parse_msg
from bridge.definitions.names import interface_of, normal_msgtype
from bridge.definitions.syntax import Declared, GrammarError, ParsedText
from bridge.model import Definition

DEFINITION_CHARS_MAX = 4 << 20
"""The longest definition that is parsed at all."""

MSG_ENCODINGS = frozenset({"ros2msg", "ros1msg"})
IDL_ENCODINGS = frozenset({"ros2idl", "omgidl"})
UNDEFINED_ENCODINGS = frozenset({"", "unknown"})
"""What rosbag2 writes for a type whose definition it could not find, or found without others."""

KEPT_CHARS_MAX = 64 << 10
"""Longer sections are not kept."""

_SECTIONS_KEPT = 2048
_SECTION = re.compile(r"={20,}[ \t]*\n[ \t]*(MSG|IDL|SRV|ACTION):[ \t]*(\S+)[ \t]*(?:\n|\Z)")
_STARTS_TITLED = re.compile(r"\s*={20,}[ \t]*\r?\n[ \t]*(MSG|IDL|SRV|ACTION):")


def embedded_definition(encoding: str, text: str) -> Definition | None:
    """Make a definition of what a recording embeds; None where that defines nothing.

    rosbag2 names the encoding of services and actions that use no other type `unknown`, although
    it found their text.
    """
    if encoding in MSG_ENCODINGS | IDL_ENCODINGS:
        return Definition(encoding=encoding, text=text)
    titled = _STARTS_TITLED.match(text) if encoding in UNDEFINED_ENCODINGS else None
    if titled is None:
        return None
    return Definition(encoding="ros2idl" if titled[1] == "IDL" else "ros2msg", text=text)


def parse_text(name: str, definition: Definition) -> ParsedText:
    """Parse all sections of a definition.

    Args:
        name: The type that is defined; the section without a title is its.
        definition: The text.

    Raises:
        GrammarError: A section cannot be understood, or the text is too long.
    """
    if len(definition.text) > DEFINITION_CHARS_MAX:
        raise GrammarError(
            f"it has {len(definition.text)} characters, {DEFINITION_CHARS_MAX} is the most"
        )
    lead, *titled = _SECTION.split(_plain(definition.text))
    sections = list(zip(titled[0::3], titled[1::3], titled[2::3], strict=True))
    ros1 = definition.encoding == "ros1msg"
    types: dict[str, Declared] = {}
    idl = [body for kind, _, body in sections if kind == "IDL"]
    for kind, title, body in sections:
        if kind != "IDL":
            types |= _titled(normal_msgtype(title), body, ros1=ros1)
    if definition.encoding in IDL_ENCODINGS and lead.strip():
        idl.insert(0, lead)
    elif definition.encoding in MSG_ENCODINGS and (lead.strip() or not (types or idl)):
        types |= _titled(name, lead, ros1=ros1)
    return ParsedText(types={**_all_idl(idl), **types})


def parse_file(name: str, ending: str, text: str, *, ros1: bool) -> ParsedText:
    """Parse the text of one file by its ending: `msg`, `idl`, `srv` or `action`.

    Args:
        name: The type or interface that the file is named after.
        ending: The file's ending without the dot.
        text: Its content.
        ros1: Whether it is read for a recording of ROS 1.

    Raises:
        GrammarError: It cannot be understood.
    """
    if ending == "idl":
        return _idl(_plain(text))
    return ParsedText(types=_titled(name, _plain(text), ros1=ros1))


def _titled(name: str, body: str, *, ros1: bool) -> dict[str, Declared]:
    """Parse a section under its title, or the first one under the type's name."""
    if is_interface_text(name, body):
        return interface_messages(interface_of(name) or name, body)
    try:
        parse = _kept_msg if len(body) <= KEPT_CHARS_MAX else parse_msg
        return {name: parse(name, body, ros1=ros1)}
    except GrammarError as error:
        raise GrammarError(f"{name}: {error}") from error


def _all_idl(bodies: list[str]) -> dict[str, Declared]:
    """Parse IDL files that were put together; those behind are used by those before."""
    types: dict[str, Declared] = {}
    try:
        for body in bodies:
            types |= _idl(body).types
    except UnknownConstantError:
        # A length in one file is a constant of another: they are read in one go.
        constants = Constants()
        for body in reversed(bodies):
            types |= parse_idl(body, constants).types
    return types


def _idl(body: str) -> ParsedText:
    return _kept_idl(body) if len(body) <= KEPT_CHARS_MAX else parse_idl(body)


_kept_msg = lru_cache(maxsize=_SECTIONS_KEPT)(parse_msg)
_kept_idl = lru_cache(maxsize=_SECTIONS_KEPT)(parse_idl)


def _plain(text: str) -> str:
    """Give the text with bare newlines and without a byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
