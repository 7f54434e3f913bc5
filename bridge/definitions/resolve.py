"""Finding message definitions that a recording does not carry.

Looked for in this order, each type on its own: the configured folders, the folders of
`AMENT_PREFIX_PATH`, the stock types of the distribution that the recording names, or else of the
configured one, and last the stock types that are the same in every distribution. A type that none
of them knows, or on which distributions differ, is not guessed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bridge.definitions.names import interface_of, normal_msgtype
from bridge.definitions.texts import (
    SEPARATOR,
    Form,
    idl_as_msg,
    includes_of,
    stock_text,
    types_in,
    undisputed_text,
)
from bridge.model import Definition

FILE_BYTES_MAX = 1 << 20
"""A longer definition file is no definition file."""

TYPES_MAX = 1000
"""The most types that one message type may consist of."""

EVERY_DISTRIBUTION = "every distribution"
"""Source of stock types on which all distributions agree."""

# Names come from recordings and become paths: nothing but plain words may pass.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*/(msg|srv|action)/[A-Za-z][A-Za-z0-9_]*")


class Piece(NamedTuple):
    """The text of one type, without those it uses."""

    form: Form
    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionSources:
    """Where definitions are looked for.

    Attributes:
        folders: Folders that hold packages: `<package>/msg/<Name>.msg` or `.idl`, directly, one
            folder deeper (a workspace of repositories), or below `share`; or a package itself.
        distro: The distribution whose stock types stand in where a recording names none we know.
        ament_prefix_path: The value of `AMENT_PREFIX_PATH`, or empty.
    """

    folders: tuple[Path, ...] = ()
    distro: str = ""
    ament_prefix_path: str = ""

    def resolve(self, msgtype: str, *, distro: str = "") -> Definition | None:
        """Find the definition of a type with everything it uses.

        Args:
            msgtype: `pkg/msg/Name`, or a type derived from a service or an action.
            distro: The distribution that the recording names, where it does.

        Returns:
            The definition, its `source` naming every place that contributed, or None. For a derived
            type it is the text of the service or action, sections divided by `---`, with the types
            it uses: the form in which rosbag2 embeds it.
        """
        msgtype = normal_msgtype(msgtype)
        if not _NAME.fullmatch(msgtype):
            return None
        interface = interface_of(msgtype)
        if interface:
            return self._interface(interface, distro)
        for prefer in (Form.MSG, Form.IDL):
            pieces = self._collect(msgtype, prefer, distro)
            if pieces and {piece.form for piece in pieces.values()} == {prefer}:
                return _joined(pieces)
        return _joined(_as_msg(pieces)) if pieces else None

    def _interface(self, interface: str, distro: str) -> Definition | None:
        """Find the text of a service or action with the types it uses."""
        form = Form.SRV if "/srv/" in interface else Form.ACTION
        own = self._file(interface, form)
        if own is None:
            return None
        pieces = {interface: own}
        for used in types_in(own.text, package=interface.split("/", maxsplit=1)[0]):
            more = self._collect(used, Form.MSG, distro)
            if more is None:
                return None
            pieces |= more
        return _joined(_as_msg(pieces))

    def _collect(self, msgtype: str, prefer: Form, distro: str) -> dict[str, Piece] | None:
        """Find the texts of a type and of all it uses, or None where one is missing."""
        pieces: dict[str, Piece] = {}
        wanted = [msgtype]
        while wanted:
            name = wanted.pop()
            if name in pieces:
                continue
            piece = self._piece(name, prefer, distro)
            if piece is None or len(pieces) == TYPES_MAX:
                return None
            pieces[name] = piece
            if piece.form is Form.IDL:
                wanted += includes_of(piece.text)
            else:
                wanted += types_in(piece.text, package=name.split("/")[0])
        return pieces

    def _piece(self, msgtype: str, prefer: Form, distro: str) -> Piece | None:
        """Find the text of one type, in the preferred form where there is a choice."""
        if not _NAME.fullmatch(msgtype):
            return None
        other = Form.IDL if prefer is Form.MSG else Form.MSG
        found = self._file(msgtype, prefer) or self._file(msgtype, other)
        if found is not None:
            return found
        for name in dict.fromkeys(filter(None, (distro, self.distro))):
            text = stock_text(msgtype, distro=name)
            if text is not None:
                return Piece(Form.MSG, text, name)
        agreed = undisputed_text(msgtype)
        return None if agreed is None else Piece(Form.MSG, agreed, EVERY_DISTRIBUTION)

    def _file(self, name: str, form: Form) -> Piece | None:
        """Find the file of a type; links are followed, for these folders are the operator's."""
        package, kind, own = name.split("/")
        for root, folder in self._packages(package):
            path = folder / kind / f"{own}.{form}"
            try:
                if not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
                    continue
                text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
            except OSError:
                continue
            return Piece(form, text, str(root))
        return None

    def _packages(self, package: str) -> Iterator[tuple[Path, Path]]:
        """Name the folders where a package may be, with the root each belongs to."""
        for root in self.folders:
            if root.name == package:
                yield root, root
            yield root, root / package
            yield root, root / "share" / package
            yield from ((root, folder) for folder in sorted(root.glob(f"*/{package}")))
        for prefix in filter(None, self.ament_prefix_path.split(":")):
            yield Path(prefix), Path(prefix) / "share" / package


def missing_definition_hint(msgtype: str) -> str:
    """Say what an operator can do about a type that nobody defines."""
    name = interface_of(normal_msgtype(msgtype)) or normal_msgtype(msgtype)
    package, _, rest = name.partition("/")
    kind = rest.partition("/")[0] or Form.MSG
    return (
        f"the recording does not carry the definition of {msgtype}: put the package {package!r}"
        f" (its files {package}/{kind}/*.{kind}, and what they use) into a folder and name that"
        " folder in definitions.folders, or name the ROS distribution in definitions.distro"
    )


def _as_msg(pieces: dict[str, Piece]) -> dict[str, Piece]:
    """Bring pieces of several forms into one; nothing where one cannot be converted."""
    converted: dict[str, Piece] = {}
    for name, piece in pieces.items():
        texts = {name: piece.text} if piece.form is not Form.IDL else idl_as_msg(piece.text)
        if name not in texts:
            return {}
        converted |= {found: Piece(Form.MSG, text, piece.source) for found, text in texts.items()}
    return converted


def _joined(pieces: dict[str, Piece]) -> Definition | None:
    """Put the texts together in the form in which rosbag2 embeds them; the first is the type."""
    if not pieces:
        return None
    source = ", ".join(dict.fromkeys(piece.source for piece in pieces.values()))
    form = next(iter(pieces.values())).form
    if form is Form.IDL:
        text = "".join(
            f"{SEPARATOR}\nIDL: {name}\n{_ended(piece.text)}" for name, piece in pieces.items()
        )
        return Definition(encoding="ros2idl", text=text, source=source)
    own, *others = pieces.items()
    text = _ended(own[1].text) + "".join(
        f"{SEPARATOR}\nMSG: {name.replace('/msg/', '/')}\n{_ended(piece.text)}"
        for name, piece in others
    )
    return Definition(encoding="ros2msg", text=text, source=source)


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
