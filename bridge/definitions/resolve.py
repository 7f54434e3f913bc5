"""Resolving the types of a recording: each type on its own, wherever it is defined.

A type is taken from the text that the recording embeds for the topic; what that text lacks comes
from the other texts embedded in the recording, the configured folders, the folders of
`AMENT_PREFIX_PATH` and the stock types, in this order.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache

from bridge.definitions.msg_grammar import INTERFACE_PARTS
from bridge.definitions.names import interface_of, missing_definition_hint, normal_msgtype
from bridge.definitions.sources import (
    EVERY_DISTRIBUTION,
    DefinitionSources,
    built_in,
    parse_text,
    with_derived,
)
from bridge.definitions.syntax import (
    Declared,
    GrammarError,
    ParsedMessage,
    ParsedText,
    RawArray,
    RawSequence,
    RawType,
    Reference,
)
from bridge.definitions.tree import ROS1_BUILT_IN, TypeTree
from bridge.errors import DefinitionError
from bridge.model import Definition, MessageType

EMBEDDED = "embedded"
"""Source of types that the recording itself defines."""

TEXTS_KEPT = 512
"""How many definitions a process keeps parsed."""

EMPTY_MD5 = "d41d8cd98f00b204e9800998ecf8427e"
"""That of a message of ROS 1 without fields and constants."""

_KEPT_CHARS_MAX = 256 << 10
_UNKNOWN_MD5 = frozenset({"", "*"})
_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A type with everything it uses.

    Attributes:
        message_type: The tree.
        source: Every place that contributed, in order.
    """

    message_type: MessageType
    source: str


def parse_definition(msgtype: str, definition: Definition) -> MessageType:
    """Parse a definition that defines every type it uses.

    Args:
        msgtype: The type to resolve, as `pkg/msg/Name` or `pkg/Name`.
        definition: Its text, with those of the types it uses.

    Raises:
        DefinitionError: The text cannot be parsed, lacks a type it uses, or describes a message
            that cannot be decoded.
    """
    return TypeResolver(None, ()).resolve(msgtype, definition).message_type


class TypeResolver:
    """Resolves the types of one recording."""

    def __init__(
        self, sources: DefinitionSources | None, embedded: Iterable[tuple[str, Definition]]
    ) -> None:
        """Take note of where to look.

        Args:
            sources: Where to look for what the recording does not define; None for nowhere.
            embedded: Every definition of the recording with the type it is embedded for.
        """
        self._sources = sources
        self._embedded = tuple(dict.fromkeys(embedded))
        self._others: dict[bool, dict[str, Declared | None]] = {}
        self._resolved: dict[tuple[object, ...], Resolved | DefinitionError] = {}

    def resolve(
        self,
        msgtype: str,
        definition: Definition | None,
        *,
        distro: str = "",
        ros1: bool = False,
        md5: str = "",
    ) -> Resolved:
        """Resolve a type.

        Args:
            msgtype: The type's name.
            definition: What is embedded for it, or None.
            distro: The distribution that recorded, where that is known.
            ros1: Whether the recording is of ROS 1.
            md5: The hash that ROS 1 recorded; empty where unknown. It has to fit where the type
                is put together from elsewhere.

        Raises:
            DefinitionError: The type, or one it uses, is defined nowhere, is not what was
                recorded, or cannot be decoded. The error's hint says what to do.
        """
        key = (msgtype, definition, distro, ros1, md5)
        found = self._resolved.get(key)
        if found is None:
            try:
                found = self._resolve(msgtype, definition, distro, ros1=ros1, md5=md5)
            except DefinitionError as error:
                found = error.with_traceback(None)
            self._resolved[key] = found
        if isinstance(found, DefinitionError):
            raise _again(found)
        return found

    def _resolve(
        self, msgtype: str, definition: Definition | None, distro: str, *, ros1: bool, md5: str
    ) -> Resolved:
        name = normal_msgtype(msgtype)
        ros1 = ros1 or (definition is not None and definition.encoding == "ros1msg")
        own, source, broken = _read_own(name, definition)
        if ros1 and _is_hollow(own.get(name), md5):
            own, source = {}, ""
        search = _Search(self, own, distro=distro, ros1=ros1, used=[source] if source else [])
        if not ros1 or md5 in _UNKNOWN_MD5:
            if broken:
                raise broken
            found = _built(msgtype, search)
            if ros1 and search.completed and EVERY_DISTRIBUTION in search.used:
                raise _undefined(msgtype, own)
            return found
        # Texts may be cut, as some recorders leave them; the hash knows better.
        elsewhere = _Search(self, {}, distro=distro, ros1=True, used=[], elsewhere=True)
        try:
            found = _built(msgtype, search, md5)
        except DefinitionError as error:
            with suppress(DefinitionError):
                return _built(msgtype, elsewhere, md5)
            raise broken or error from error
        if not search.completed and md5_of(name, search.found) != md5:
            with suppress(DefinitionError):
                return _built(msgtype, elsewhere, md5)
        return found

    def other(self, name: str, *, ros1: bool) -> Declared | None:
        """Find a type in the texts embedded for other topics; None where they disagree."""
        if ros1 not in self._others:
            self._others[ros1] = self._collect(ros1=ros1)
        return self._others[ros1].get(name)

    def _collect(self, *, ros1: bool) -> dict[str, Declared | None]:
        found: dict[str, Declared | None] = {}
        for name, definition in self._embedded:
            if (definition.encoding == "ros1msg") != ros1:
                continue
            try:
                types = _own_types(normal_msgtype(name), definition).types
            except DefinitionError:
                continue  # reported for the topic that it belongs to
            for key, declared in types.items():
                if not _says_nothing(declared):
                    agree = key not in found or _same_fields(found[key], declared)
                    found[key] = declared if agree else None
        return found

    @property
    def sources(self) -> DefinitionSources | None:
        """Where types are looked for that the recording does not define."""
        return self._sources


@dataclass(slots=True)
class _Search:
    """Looks types up for one tree, and notes where they came from.

    Attributes:
        used: The places that contributed.
        elsewhere: Whether the texts of other topics are ignored.
        completed: Whether any type came from outside of the topic's own text.
        found: All types of the tree that was built, by name.
    """

    resolver: TypeResolver
    own: Mapping[str, Declared]
    distro: str
    ros1: bool
    used: list[str]
    elsewhere: bool = False
    completed: bool = False
    found: Mapping[str, Declared] = field(default_factory=dict)
    beside: dict[str, Declared] = field(default_factory=dict)
    includes: list[str] = field(default_factory=list)

    def find(self, name: str) -> Declared | None:
        """Find what a name stands for."""
        known = self.own.get(name) or self.beside.get(name)
        if known is None and interface_of(name):
            known = with_derived(self.own, name).get(name)
        if known is not None:
            return known
        other = None if self.elsewhere else self.resolver.other(name, ros1=self.ros1)
        if other is not None:
            self.completed = True
            self.used.append(EMBEDDED)
            return other
        return self._outside(name) or built_in(name, ros1=self.ros1) or INTERFACE_PARTS.get(name)

    def _outside(self, name: str) -> Declared | None:
        sources = self.resolver.sources
        if sources is None:
            return None
        if self.used == [EMBEDDED] and built_in(name, ros1=self.ros1) is not None:
            return None  # recorders leave these out because they are the same everywhere
        found = sources.find(name, distro=self.distro, ros1=self.ros1)
        while found is None and self.includes:
            found = sources.included(self.includes.pop(0))
            if found is not None:
                self._note(found.text)
                found = found if name in found.text.types else None
        if found is None:
            return None
        self.completed = True
        self.used.append(found.source)
        self._note(found.text)
        return found.text.types[name]

    def _note(self, text: ParsedText) -> None:
        """Keep what a file declares beside the type that was asked for."""
        self.beside |= {key: each for key, each in text.types.items() if key not in self.beside}
        self.includes += text.includes


def _built(msgtype: str, search: _Search, md5: str = "") -> Resolved:
    """Build the tree of a type; of one that is put together, with the md5 that was recorded.

    Raises:
        DefinitionError: Something is missing, cannot be decoded, or is not what was recorded.
    """
    name = normal_msgtype(msgtype)
    tree = TypeTree(name, search.find)
    try:
        message_type = tree.build()
    except DefinitionError as error:
        if tree.missing == name:
            raise _undefined(msgtype, search.own) from error
        raise
    search.found = tree.used
    if md5 and search.completed:
        _check_md5(name, tree.used, md5, search.used)
    return Resolved(message_type=message_type, source=", ".join(dict.fromkeys(search.used)))


def _read_own(
    name: str, definition: Definition | None
) -> tuple[Mapping[str, Declared], str, DefinitionError | None]:
    """Give what a definition declares, where it is from, and why it cannot be parsed if so."""
    if definition is None:
        return {}, "", None
    try:
        return _under_its_name(name, _own_types(name, definition).types), definition.source, None
    except DefinitionError as error:
        return {}, "", error


def _own_types(name: str, definition: Definition) -> ParsedText:
    """Parse a definition, once for all files that carry it.

    Raises:
        DefinitionError: It cannot be parsed.
    """
    is_kept = len(definition.text) <= _KEPT_CHARS_MAX
    parsed = (_kept if is_kept else _parse)(name, definition.encoding, definition.text)
    if isinstance(parsed, str):
        raise DefinitionError(f"The definition of {name} cannot be parsed: {parsed}", msgtype=name)
    return parsed


def _parse(name: str, encoding: str, text: str) -> ParsedText | str:
    """Parse a definition; a text that cannot be parsed gives the reason."""
    try:
        return parse_text(name, Definition(encoding=encoding, text=text))
    except GrammarError as error:
        return str(error)


_kept = lru_cache(maxsize=TEXTS_KEPT)(_parse)


def _under_its_name(name: str, own: Mapping[str, Declared]) -> Mapping[str, Declared]:
    """Take the only type of that name, where the recorder or the text leaves its package out."""
    if name in own:
        return own
    last = name.rpartition("/")[2]
    same = [key for key in own if key.rpartition("/")[2] == last]
    if len(same) != 1 or ("/" in name and "/" in same[0]):
        return own
    return {**own, name: own[same[0]]}


def _undefined(msgtype: str, own: Mapping[str, Declared]) -> DefinitionError:
    return DefinitionError(
        f"The definition of {msgtype} defines {_listed(own)} instead."
        if own
        else f"no definition of {msgtype} was found",
        msgtype=msgtype,
        hint=missing_definition_hint(msgtype),
    )


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names)[:_NAMES_SHOWN]
    return ", ".join(shown) or "nothing"


def _is_hollow(declared: Declared | None, md5: str) -> bool:
    """Tell whether a ROS 1 definition says nothing although the message is not empty."""
    return declared is not None and _says_nothing(declared) and md5 not in {"", EMPTY_MD5}


def _says_nothing(declared: Declared) -> bool:
    return isinstance(declared, ParsedMessage) and not (declared.fields or declared.constants)


def _same_fields(left: Declared | None, right: Declared) -> bool:
    if isinstance(left, ParsedMessage) and isinstance(right, ParsedMessage):
        return left.fields == right.fields
    return left == right


def _check_md5(name: str, used: Mapping[str, Declared], md5: str, places: list[str]) -> None:
    """Make sure that a ROS 1 type which was put together is the one that was recorded.

    Raises:
        DefinitionError: It is another.
    """
    known = md5_of(name, used)
    if known != md5:
        where = ", ".join(dict.fromkeys(places))
        raise DefinitionError(
            f"the {name} that was recorded has the md5 {md5}, the one of {where} has {known}",
            msgtype=name,
            hint=missing_definition_hint(name),
        )


def md5_of(name: str, types: Mapping[str, Declared]) -> str:
    """Compute the md5 of a ROS 1 type as genmsg does, as hex: equal where two types are one.

    Args:
        name: The type.
        types: It and all that it uses, by full name.

    Raises:
        KeyError: A type is missing.
    """
    declared = types[name]
    assert isinstance(declared, ParsedMessage), "ROS 1 has nothing but messages"
    lines = [
        f"{constant.type_name} {constant.name}={written}"
        for constant, written in zip(declared.constants, declared.written, strict=True)
    ]
    lines += [f"{_md5_text(kind, types)} {field}" for field, kind in declared.fields]
    # The hash is part of the format, not a matter of security.
    return hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest()


def _md5_text(kind: RawType, types: Mapping[str, Declared]) -> str:
    """Write a field's type: messages by their own md5, whether one or many."""
    element, suffix = kind, ""
    if isinstance(kind, RawArray):
        element, suffix = kind.element, f"[{kind.length}]"
    elif isinstance(kind, RawSequence):
        element, suffix = kind.element, "[]"
    if not isinstance(element, Reference):
        return f"{getattr(element, 'name', '')}{suffix}"
    name = next(each for each in element.candidates if each in types or each in ROS1_BUILT_IN)
    if name in ROS1_BUILT_IN:
        return f"{ROS1_BUILT_IN[name]}{suffix}"
    return md5_of(name, types)


def _again(error: DefinitionError) -> DefinitionError:
    """Make the same error again; an error that is raised twice collects tracebacks."""
    return DefinitionError(error.message, msgtype=error.msgtype, hint=error.hint)
