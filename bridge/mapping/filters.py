"""Which topics to take: shell patterns in order, the last one that matches decides."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

EXCLUDE = "!"


class TopicFilter:
    """Patterns such as `/camera/*` and `!/camera/*/raw`, evaluated in order.

    A pattern takes what it matches, one with `!` in front leaves it out. `*` matches anything,
    slashes included, `?` one character, `[..]` one of a set; the whole name must match, and case
    counts. Where all patterns exclude, everything else is taken; no pattern takes everything.
    """

    __slots__ = ("patterns",)

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)

    def selects(self, name: str) -> bool:
        """Tell whether a topic, by its name as recorded, is taken."""
        selected = all(pattern.startswith(EXCLUDE) for pattern in self.patterns)
        for pattern in self.patterns:
            if fnmatchcase(name, pattern.removeprefix(EXCLUDE)):
                selected = not pattern.startswith(EXCLUDE)
        return selected

    def idle_patterns(self, names: Sequence[str]) -> list[str]:
        """Give the patterns that match none of the names, which are probably misspelt."""
        return [
            pattern
            for pattern in self.patterns
            if not any(fnmatchcase(name, pattern.removeprefix(EXCLUDE)) for name in names)
        ]
