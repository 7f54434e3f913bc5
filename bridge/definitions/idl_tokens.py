"""IDL text -> tokens, without comments and the preprocessor's lines (OMG IDL 4.2, section 7.2)."""

import re
from typing import NamedTuple

from bridge.definitions.syntax import GrammarError

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
