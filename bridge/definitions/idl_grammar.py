"""IDL text, of ROS 2 or of DDS tools -> the types it declares (OMG IDL 4.2, DDS-XTypes 1.3).

What can be declared but not decoded (unions, maps, optional members) is kept with the reason, so
that only a message that uses it is refused.
"""

import re
from dataclasses import dataclass, field, replace

from bridge.definitions.idl_expressions import (
    Constants,
    Token,
    Value,
    includes_of,
    offence_at,
    tokens_of,
)
from bridge.definitions.names import normal_msgtype
from bridge.definitions.syntax import (
    Declared,
    GrammarError,
    ParsedMessage,
    ParsedText,
    RawArray,
    RawSequence,
    RawType,
    Reference,
    Unreadable,
)
from bridge.model import Constant, PrimitiveType

NESTING_MAX = 64
"""The deepest nesting of modules and of template types."""

_CONSTANTS_MODULE = "_Constants"
"""What rosidl puts behind a message's name to name the module of its constants."""

_WORDS = {
    "boolean": "bool", "octet": "byte", "char": "char", "wchar": "wchar", "float": "float32",
    "double": "float64", "short": "int16", "long": "int32", "int8": "int8", "uint8": "uint8",
    "int16": "int16", "uint16": "uint16", "int32": "int32", "uint32": "uint32", "int64": "int64",
    "uint64": "uint64",
}  # fmt: skip
_LONGER = {
    ("long", "long"): "int64", ("long", "double"): "float128",
    ("unsigned", "short"): "uint16", ("unsigned", "long"): "uint32",
}  # fmt: skip
_UNREADABLE = {
    "map": "a map, which is not decoded",
    "fixed": "a fixed-point number, which is not decoded",
    "any": "of any type, so nothing says how it is laid out",
    "Object": "a reference to an object, which no recording holds",
    "ValueBase": "a value type, which is not decoded",
}
_SKIPPED = frozenset({"interface", "valuetype", "exception", "native", "typeid", "import", "local"})
_EXTENSIBILITIES = frozenset({"final", "appendable", "mutable"})
_HOLDERS = (8, 16, 32, 64)
_ENUM_BITS_MAX = 32


@dataclass(slots=True)
class _Annotations:
    """The annotations in front of a declaration: their parameters' text by name."""

    found: dict[str, list[Token]] = field(default_factory=dict)

    def says(self, name: str) -> bool:
        """Tell whether a boolean annotation is set."""
        if name not in self.found:
            return False
        words = [token.text.lower() for token in self.found[name]]
        return "false" not in words and "0" not in words

    @property
    def extensibility(self) -> str:
        """What is said about how the type may grow; empty where nothing is."""
        for name in _EXTENSIBILITIES:
            if name in self.found:
                return name
        words = [token.text.lower() for token in self.found.get("extensibility", ())]
        return next((word for word in words if word in _EXTENSIBILITIES), "")


@dataclass(slots=True)
class _Parser:
    """Walks over the tokens once.

    Attributes:
        text: The text, for error messages.
        tokens: Its tokens.
        types: What was declared so far, by path.
        constants: The constants so far; also knows the scope.
    """

    text: str
    tokens: list[Token]
    at: int = 0
    types: dict[str, Declared] = field(default_factory=dict)
    constants: Constants = field(default_factory=Constants)
    scope: tuple[str, ...] = ()
    depth: int = 0

    # Tokens

    @property
    def word(self) -> str:
        return self.tokens[self.at].text

    def take(self) -> Token:
        token = self.tokens[self.at]
        if not token.kind:
            raise GrammarError("it ends in the middle of a declaration")
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.word == text and self.tokens[self.at].kind in {"word", "sign"}:
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error()

    def name(self) -> str:
        token = self.take()
        if token.kind != "word":
            self.at -= 1
            raise self.error()
        return token.text.removeprefix("_")

    def error(self) -> GrammarError:
        token = self.tokens[self.at]
        if not token.kind:
            return GrammarError("it ends in the middle of a declaration")
        return GrammarError(f"not understood: {offence_at(self.text, token.at)!r}")

    def skip_balanced(self, opening: str, closing: str) -> list[Token]:
        """Step over a pair of brackets and give what is in between."""
        self.expect(opening)
        first, depth = self.at, 1
        while depth:
            token = self.take()
            depth += (token.text == opening) - (token.text == closing)
        return self.tokens[first : self.at - 1]

    def skip_declaration(self) -> None:
        """Step behind the end of a declaration that is of no use here."""
        while not self.accept(";"):
            if self.word == "{":
                self.skip_balanced("{", "}")
            else:
                self.take()

    # Declarations

    def definitions(self, *, until: str) -> None:
        while (token := self.tokens[self.at]).kind:
            if until and token.text == until and token.kind == "sign":
                return
            if not self.accept(";"):
                self.definition()
        if until:
            raise self.error()

    def definition(self) -> None:
        annotations = self.annotations()
        keyword = self.take().text
        if keyword == "module":
            self.module()
            return
        if keyword == "struct":
            self.struct(annotations)
        elif keyword == "typedef":
            self.typedef(annotations)
        elif keyword == "const":
            self.constant()
        elif keyword == "enum":
            self.enumeration(annotations)
        elif keyword == "bitmask":
            self.bitmask(annotations)
        elif keyword in {"union", "bitset"}:
            self.types[self.path(self.name())] = Unreadable(f"a {keyword}, which is not decoded")
            self.skip_declaration()
            return
        elif keyword in _SKIPPED or keyword == "@":
            self.skip_declaration()
            return
        else:
            self.at -= 1
            raise self.error()
        self.expect(";")

    def module(self) -> None:
        name = self.name()
        if len(self.scope) >= NESTING_MAX:
            raise GrammarError(f"modules are nested more than {NESTING_MAX} deep")
        outer, self.scope = self.scope, (*self.scope, name)
        self.expect("{")
        self.definitions(until="}")
        self.expect("}")
        self.accept(";")
        self.scope = outer

    def annotations(self) -> _Annotations:
        found = _Annotations()
        while self.word == "@" and self.tokens[self.at + 1].text != "annotation":
            self.take()
            self.accept("::")
            name = self.name()
            while self.accept("::"):
                name = self.name()
            found.found[name] = self.skip_balanced("(", ")") if self.word == "(" else []
        return found

    def struct(self, annotations: _Annotations) -> None:
        name = self.name()
        if self.word == ";":
            return  # announced here, declared elsewhere
        base = Reference(self.candidates(self.scoped_name())) if self.accept(":") else None
        self.expect("{")
        fields: list[tuple[str, RawType]] = []
        outer, self.scope = self.scope, (*self.scope, name)
        while not self.accept("}"):
            fields += self.members()
        self.scope = outer
        self.types[self.path(name)] = ParsedMessage(
            name=normal_msgtype(self.path(name)),
            fields=tuple(fields),
            extensibility=annotations.extensibility,
            base=base,
        )

    def members(self) -> list[tuple[str, RawType]]:
        annotations = self.annotations()
        kind = self.type_spec()
        if annotations.says("optional"):
            kind = Unreadable("optional, and absent members are not decoded")
        found = [self.declarator(kind)]
        while self.accept(","):
            self.annotations()
            found.append(self.declarator(kind))
        self.expect(";")
        return found

    def declarator(self, kind: RawType) -> tuple[str, RawType]:
        name = self.name()
        lengths = []
        while self.accept("["):
            lengths.append(self.positive())
            self.expect("]")
        if isinstance(kind, Unreadable):
            return name, kind
        for length in reversed(lengths):
            kind = RawArray(kind, length)
        return name, kind

    def typedef(self, annotations: _Annotations) -> None:
        del annotations  # nothing that a name for a type could say
        kind = self.type_spec()
        while True:
            name, declared = self.declarator(kind)
            self.types[self.path(name)] = declared
            if not self.accept(","):
                return

    def constant(self) -> None:
        kind = self.type_spec()
        name = self.name()
        self.expect("=")
        self.constants.declare(self.scope, name, self.value())
        if len(self.scope) and self.scope[-1].endswith(_CONSTANTS_MODULE):
            owner = "/".join(self.scope).removesuffix(_CONSTANTS_MODULE)
            value = self.constants.found["/".join((*self.scope, name))]
            self.constants.of_messages.setdefault(owner, []).append(
                Constant(name=name, type_name=_type_name(kind), value=value)
            )

    def enumeration(self, annotations: _Annotations) -> None:
        name = self.name()
        bits = self.bit_bound(annotations, default=_ENUM_BITS_MAX)
        self.expect("{")
        enumerators: list[tuple[str, int]] = []
        following = 0
        while not self.accept("}"):
            said = self.annotations().found.get("value")
            label = self.name()
            if said is not None:
                following = self.integer_of(said)
            elif self.accept("="):
                following = _integer(self.value())
            enumerators.append((label, following))
            self.constants.declare(self.scope, label, following)
            following += 1
            if not self.accept(","):
                self.expect("}")
                break
        holder = next(size for size in _HOLDERS if bits <= size)
        self.types[self.path(name)] = PrimitiveType(
            name=f"int{holder}", enumerators=tuple(enumerators)
        )

    def bitmask(self, annotations: _Annotations) -> None:
        name = self.name()
        bits = self.bit_bound(annotations, default=_ENUM_BITS_MAX)
        self.expect("{")
        flags: list[tuple[str, int]] = []
        position = 0
        while not self.accept("}"):
            said = self.annotations().found.get("position")
            label = self.name()
            position = position if said is None else self.integer_of(said)
            if not 0 <= position < _HOLDERS[-1]:
                raise GrammarError(f"the bitmask {name} has a bit {position}")
            flags.append((label, 1 << position))
            position += 1
            if not self.accept(","):
                self.expect("}")
                break
        holder = next(size for size in _HOLDERS if bits <= size)
        self.types[self.path(name)] = PrimitiveType(name=f"uint{holder}", enumerators=tuple(flags))

    def bit_bound(self, annotations: _Annotations, *, default: int) -> int:
        said = annotations.found.get("bit_bound")
        bits = default if said is None else self.integer_of(said)
        if not 1 <= bits <= _HOLDERS[-1]:
            raise GrammarError(f"a type has {bits} bits")
        return bits

    def integer_of(self, tokens: list[Token]) -> int:
        """Work out an annotation's parameter: `(3)` or `(value=3)`."""
        inside = tokens[2:] if len(tokens) > 2 and tokens[1].text == "=" else tokens  # noqa: PLR2004
        saved = self.tokens, self.at
        self.tokens, self.at = [*inside, Token("", "", len(self.text))], 0
        value = _integer(self.value())
        self.tokens, self.at = saved
        return value

    # Types

    def type_spec(self) -> RawType:
        self.depth += 1
        if self.depth > NESTING_MAX:
            raise GrammarError(f"types are nested more than {NESTING_MAX} deep")
        try:
            return self._type_spec()
        finally:
            self.depth -= 1

    def _type_spec(self) -> RawType:
        self.annotations()
        number = self.number()
        if number:
            return PrimitiveType(name=number)
        word = self.word
        if word in {"string", "wstring"}:
            return self.string()
        if word == "sequence":
            return self.sequence()
        if word in _UNREADABLE:
            self.take()
            if self.word == "<":
                self.skip_balanced("<", ">")
            return Unreadable(_UNREADABLE[word])
        return Reference(self.candidates(self.scoped_name()))

    def number(self) -> str:
        """Step over the name of a number and give ours; empty where there is none."""
        word = self.word
        pair = (word, self.next_word) if self.tokens[self.at].kind else ("", "")
        if pair in _LONGER:
            self.at += 2
            is_longest = pair == ("unsigned", "long") and self.accept("long")
            return "uint64" if is_longest else _LONGER[pair]
        if word in _WORDS:
            self.at += 1
        return _WORDS.get(word, "")

    def string(self) -> PrimitiveType:
        name, bound = self.take().text, 0
        if self.accept("<"):
            bound = self.positive()
            self.expect(">")
        return PrimitiveType(name=name, bound=bound)

    @property
    def next_word(self) -> str:
        return self.tokens[self.at + 1].text

    def sequence(self) -> RawType:
        self.expect("sequence")
        self.expect("<")
        element = self.type_spec()
        bound = self.positive() if self.accept(",") else 0
        self.expect(">")
        return element if isinstance(element, Unreadable) else RawSequence(element, bound)

    def positive(self) -> int:
        value = _integer(self.value())
        if value < 1:
            raise GrammarError(f"a length of {value} elements is declared")
        return value

    def value(self) -> Value:
        value, self.at = self.constants.evaluate(self.tokens, self.at, self.scope, self.error)
        return value

    def scoped_name(self) -> str:
        """Read a name with its scopes; absolute ones start with a slash."""
        prefix = "/" if self.accept("::") else ""
        parts = [self.name()]
        while self.accept("::"):
            parts.append(self.name())
        return prefix + "/".join(parts)

    def candidates(self, name: str) -> tuple[str, ...]:
        """Give the full names that a name may have here, the innermost scope first."""
        if name.startswith("/"):
            return (normal_msgtype(name),)
        paths = ["/".join((*self.scope[:depth], name)) for depth in range(len(self.scope), -1, -1)]
        return tuple(dict.fromkeys(normal_msgtype(path) for path in paths))

    def path(self, name: str) -> str:
        return "/".join((*self.scope, name))


def parse_idl(text: str, constants: Constants | None = None) -> ParsedText:
    """Parse one IDL text.

    Args:
        text: The text; preprocessor lines are passed over.
        constants: Those of other texts that this one may use; its own are added.

    Raises:
        GrammarError: The text is no IDL, or uses a constant that nobody declares.
    """
    parser = _Parser(text, tokens_of(text), constants=constants or Constants())
    parser.definitions(until="")
    types = dict(parser.types)
    for owner, found in parser.constants.of_messages.items():
        message = types.get(owner)
        if isinstance(message, ParsedMessage) and not message.constants:
            types[owner] = replace(message, constants=tuple(found))
    return ParsedText(
        types={normal_msgtype(path): declared for path, declared in types.items()},
        includes=includes_of(text),
    )


_NAMED = re.compile(r"[^/]+$")


def _type_name(kind: RawType) -> str:
    """Name the type of a constant."""
    if isinstance(kind, PrimitiveType):
        return kind.name
    if isinstance(kind, Reference):
        named = _NAMED.search(kind.candidates[0])
        return named[0] if named else ""
    return "string"


def _integer(value: Value) -> int:
    if not isinstance(value, int):
        raise GrammarError(f"{value!r} is no whole number")
    return int(value)
