"""`mosaico-bridge check`: would the bridge work here? What it finds, as values."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bridge.cli.terminal import Exit

# Which exit code wins where several things fail.
GRAVITY = (Exit.BAD_CONFIG, Exit.REFUSED, Exit.SERVER_UNAVAILABLE, Exit.FAILED)


class Grade(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What, in a word or two.
        grade: How it came out.
        detail: What was found, as a sentence.
        hint: What to do; empty where nothing is to be done.
        exit: The exit code that it leads to by itself.
    """

    name: str
    grade: Grade
    detail: str
    hint: str = ""
    exit: Exit = Exit.OK


def ok(name: str, detail: str) -> Finding:
    """Report that something is as it should be."""
    return Finding(name=name, grade=Grade.OK, detail=detail)


def warn(name: str, detail: str, *, hint: str = "") -> Finding:
    """Report what works but will be regretted."""
    return Finding(name=name, grade=Grade.WARN, detail=detail, hint=hint)


def fail(name: str, detail: str, *, hint: str = "", code: Exit = Exit.FAILED) -> Finding:
    """Report what keeps the bridge from its work."""
    return Finding(name=name, grade=Grade.FAIL, detail=detail, hint=hint, exit=code)


def worst(findings: Sequence[Finding]) -> Exit:
    """Give the exit code of several findings; warnings do not count."""
    codes = {finding.exit for finding in findings if finding.grade is Grade.FAIL}
    return next((code for code in GRAVITY if code in codes), Exit.OK)
