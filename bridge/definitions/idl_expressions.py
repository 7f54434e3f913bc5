"""IDL text -> tokens, and what the constant expressions among them come to.

Source: OMG IDL 4.2, sections 7.2 and 7.4.1.4.3.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bridge.definitions.syntax import GrammarError
from bridge.model import Constant

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/|^[ \t]*\#(?:[^\n\\]|\\\n|\\.)*)
    |(?P<text>L?"(?:[^"\\\n]|\\.)*"|L?'(?:[^'\\\n]|\\.)+')
    |(?P<number>(?:0[xX][0-9A-Fa-f]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[fFlLdDuU]*)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<sign>::|<<|[{}()\[\]<>,;:=+\-*/%~|^&@>])""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([A-Za-z0-9_/.]+)\.idl[">]', re.MULTILINE)
_OFFENCE_CHARS = 100

TOKENS_MAX = 1_000_000
"""The most tokens of one text; nobody's definitions come near."""


class Token(NamedTuple):
    """One word, number, text or sign; `kind` is the name of its group, empty at the end."""

    kind: str
    text: str
    at: int


def tokens_of(text: str) -> list[Token]:
    """Cut IDL text into tokens; the last one is empty.

    Raises:
        GrammarError: A character belongs nowhere, or there are too many tokens.
    """
    found: list[Token] = []
    at = 0
    for match in _TOKEN.finditer(text):
        if match.start() != at:
            break
        at = match.end()
        if match.lastgroup != "skip":
            found.append(Token(match.lastgroup or "", match.group(), match.start()))
        if len(found) > TOKENS_MAX:
            raise GrammarError(f"it has more than {TOKENS_MAX} words")
    if at != len(text):
        raise GrammarError(f"not understood: {offence_at(text, at)!r}")
    found.append(Token("", "", len(text)))
    return found


def offence_at(text: str, at: int) -> str:
    """Give the rest of the line at a position, for error messages."""
    return text[at:].split("\n", 1)[0].strip()[:_OFFENCE_CHARS]


def includes_of(text: str) -> tuple[str, ...]:
    """List the files that IDL text includes, without their ending."""
    return tuple(dict.fromkeys(_INCLUDE.findall(text)))


Value = bool | int | float | str

INTEGER_MAX = 1 << 128
"""No intermediate value of an expression is larger, so that none takes long to work out."""

NESTING_MAX = 64
"""The deepest nesting of brackets in an expression."""

_LEVELS = (("|",), ("^",), ("&",), ("<<", ">>"), ("+", "-"), ("*", "/", "%"))
_ESCAPES = {"n": "\n", "t": "\t", "v": "\v", "b": "\b", "r": "\r", "f": "\f", "a": "\a"}
_WORDS: dict[str, Value] = {"TRUE": True, "FALSE": False, "true": True, "false": False}


class UnknownConstantError(GrammarError):
    """An expression names a constant that this text does not declare."""


@dataclass(slots=True)
class Constants:
    """The constants of a text.

    Attributes:
        found: Values by path.
        of_messages: Those that rosidl declares for a message, by the message's path.
    """

    found: dict[str, Value] = field(default_factory=dict)
    of_messages: dict[str, list[Constant]] = field(default_factory=dict)

    def declare(self, scope: Sequence[str], name: str, value: Value) -> None:
        """Note a constant or an enumerator."""
        self.found["/".join((*scope, name))] = value

    def evaluate(
        self,
        tokens: Sequence[Token],
        at: int,
        scope: tuple[str, ...],
        error: Callable[[], GrammarError],
    ) -> tuple[Value, int]:
        """Work out the expression at a position; give its value and where it ends.

        Raises:
            GrammarError: There is no expression, or it has no value.
        """
        walk = _Expression(tokens, at, scope, self.found, error)
        try:
            value = walk.binary(0, 0)
        except (ArithmeticError, TypeError, ValueError) as reason:
            raise GrammarError(f"a constant expression has no value: {reason}") from reason
        return value, walk.at


@dataclass(slots=True)
class _Expression:
    tokens: Sequence[Token]
    at: int
    scope: tuple[str, ...]
    found: dict[str, Value]
    error: Callable[[], GrammarError]

    def binary(self, level: int, depth: int) -> Value:
        if depth > NESTING_MAX:
            raise GrammarError(f"an expression is nested more than {NESTING_MAX} deep")
        if level == len(_LEVELS):
            return self.unary(depth)
        value = self.binary(level + 1, depth)
        while (sign := self.sign()) in _LEVELS[level]:
            self.at += 2 if sign == ">>" else 1
            value = _combined(sign, value, self.binary(level + 1, depth))
        return value

    def sign(self) -> str:
        """Give the sign here; a shift to the right is two signs, for `>` also closes templates."""
        token = self.tokens[self.at]
        if token.text == ">" and token.kind == "sign":
            following = self.tokens[self.at + 1]
            # `sequence<sequence<long, 3>>` closes twice; a shift goes on with a number or a name.
            behind = self.tokens[self.at + 2 : self.at + 3]
            is_shift = (
                following.text == ">"
                and following.at == token.at + 1
                and bool(behind)
                and (behind[0].kind == "number" or behind[0].text == "(")
            )
            return ">>" if is_shift else ""
        return token.text if token.kind == "sign" else ""

    def unary(self, depth: int) -> Value:
        token = self.tokens[self.at]
        if token.kind == "sign" and token.text in {"-", "+", "~", "("}:
            self.at += 1
            if token.text == "(":
                value = self.binary(0, depth + 1)
                if self.tokens[self.at].text != ")":
                    raise self.error()
                self.at += 1
                return value
            if depth > NESTING_MAX:
                raise GrammarError(f"an expression is nested more than {NESTING_MAX} deep")
            return _signed(token.text, self.unary(depth + 1))
        if token.kind == "number":
            self.at += 1
            return _number(token.text)
        if token.kind == "text":
            return self.text()
        return self.named()

    def text(self) -> str:
        """Read string literals side by side as one."""
        pieces = []
        while self.tokens[self.at].kind == "text":
            pieces.append(_literal(self.tokens[self.at].text))
            self.at += 1
        return "".join(pieces)

    def named(self) -> Value:
        parts: list[str] = []
        first = self.at
        absolute = self.tokens[self.at].text == "::"
        self.at += absolute
        while self.tokens[self.at].kind == "word":
            parts.append(self.tokens[self.at].text.removeprefix("_"))
            self.at += 1
            if self.tokens[self.at].text != "::":
                break
            self.at += 1
        if not parts:
            self.at = first
            raise self.error()
        name = "/".join(parts)
        for depth in [0] if absolute else range(len(self.scope), -1, -1):
            path = "/".join((*self.scope[:depth], name))
            if path in self.found:
                return self.found[path]
        if name in _WORDS:
            return _WORDS[name]
        # An enumerator may be named with its enumeration in front, which has no scope of its own.
        if len(parts) > 1:
            short = {path: value for path, value in self.found.items() if path.endswith(parts[-1])}
            for depth in range(len(self.scope), -1, -1):
                path = "/".join((*self.scope[:depth], *parts[:-2], parts[-1]))
                if path in short:
                    return short[path]
        raise UnknownConstantError(f"{name} is not declared anywhere")


def _number(text: str) -> int | float:
    if text[:2] in {"0x", "0X"}:
        return int(text.rstrip("lLuU"), 16)
    bare = text.rstrip("fFlLdDuU")
    if "." in bare or "e" in bare.lower():
        return float(bare)
    if text != bare and set(text[len(bare) :]) & set("fFdD"):
        return float(bare)
    return int(bare, 8) if len(bare) > 1 and bare.startswith("0") else int(bare)


def _literal(text: str) -> str:
    """Read a string or character literal, wide or not."""
    inner = text.removeprefix("L")[1:-1]
    pieces = []
    at = 0
    while at < len(inner):
        letter = inner[at]
        at += 1
        if letter != "\\":
            pieces.append(letter)
            continue
        escape, at = inner[at : at + 1], at + 1
        if escape in {"x", "u"}:
            digits = inner[at : at + (2 if escape == "x" else 4)]
            digits = digits[: len(digits) - len(digits.lstrip("0123456789abcdefABCDEF"))]
            at += len(digits)
            pieces.append(chr(int(digits, 16)) if digits else escape)
        elif escape.isdigit():
            digits = inner[at - 1 : at + 2]
            digits = digits[: len(digits) - len(digits.lstrip("01234567"))] or "0"
            at += len(digits) - 1
            pieces.append(chr(int(digits, 8)))
        else:
            pieces.append(_ESCAPES.get(escape, escape))
    return "".join(pieces)


def _signed(sign: str, value: Value) -> Value:
    if isinstance(value, str):
        raise TypeError(f"{sign} before a text")
    if sign == "~":
        if isinstance(value, float):
            raise TypeError("~ before a fraction")
        return ~value
    return -value if sign == "-" else +value


def _combined(sign: str, left: Value, right: Value) -> Value:
    if isinstance(left, str) or isinstance(right, str):
        raise TypeError(f"{sign} between texts")
    value = _combined_numbers(sign, left, right)
    if not math.isfinite(value) or abs(value) > INTEGER_MAX:
        raise OverflowError("it is too large")
    return value


def _combined_numbers(sign: str, left: float, right: float) -> float:
    if sign in {"+", "-", "*"}:
        return left + right if sign == "+" else left - right if sign == "-" else left * right
    if sign in {"/", "%"}:
        if isinstance(left, int) and isinstance(right, int):
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            return quotient if sign == "/" else left - quotient * right
        return left / right if sign == "/" else math.fmod(left, right)
    if not isinstance(left, int) or not isinstance(right, int):
        raise TypeError(f"{sign} between fractions")
    if sign in {"<<", ">>"}:
        if not 0 <= right < INTEGER_MAX.bit_length():
            raise OverflowError(f"a shift by {right}")
        return left << right if sign == "<<" else left >> right
    return left | right if sign == "|" else left ^ right if sign == "^" else left & right
