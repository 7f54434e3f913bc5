"""How much a run of the benchmarks measures, which every suite gets."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much to measure.

    Attributes:
        folder: Where recordings are written meanwhile.
        quick: Only see that it works.
        runs: Repetitions of each measurement.
        scale: Share of the recordings.
        names: Names of cases to measure; empty for all.
    """

    folder: Path
    quick: bool = False
    runs: int = 3
    scale: float = 1.0
    names: frozenset[str] = frozenset()

    def wants(self, name: str) -> bool:
        """Return whether a case is to be measured."""
        return not self.names or name in self.names

    def say(self, what: str) -> None:
        """Show what is being done on standard error."""
        print(f"{what} ...", file=sys.stderr, flush=True)
