"""Markdown tables of figures, and the machine they were taken on."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

MEBIBYTE = 1 << 20


def machine() -> str:
    """Say in one line where the figures come from, and how busy it was besides."""
    load, _, _ = os.getloadavg()
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, "
        f"Python {platform.python_version()}, pyarrow {pa.__version__}, numpy {np.__version__}, "
        f"load {load:.1f}"
    )


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of a suite; as text it is Markdown.

    Attributes:
        title: What was measured.
        columns: Titles; the first column is text, the others are figures.
        rows: One for each case.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        lines = [
            f"### {self.title}",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|---|" + "--:|" * (len(self.columns) - 1),
            *("| " + " | ".join(_cell(value) for value in row) + " |" for row in self.rows),
            "",
        ]
        return "\n".join(lines)


def summary(tables: Sequence[Table]) -> Table:
    """Give the lowest and the highest of every ratio, and the cases that they are of.

    A ratio is what stands in a column named `x ...`, `of ...`, `... of ...` or `... / ...`, and in
    a row or a column named `ratio`.
    """
    rows: list[tuple[object, ...]] = []
    for each in tables:
        for place, column in enumerate(each.columns):
            found = [
                (value, str(row[0]))
                for row in each.rows
                if isinstance(value := row[place], float) and (_is_ratio(column, row[0]))
            ]
            if found:
                (low, low_case), (high, high_case) = min(found), max(found)
                rows.append((each.title, column, low, low_case, high, high_case))
    return Table("Ratios", ("table", "ratio", "lowest", "of", "highest", "of"), rows)


def _is_ratio(column: str, case: object) -> bool:
    words = column.split()
    return bool({"x", "of", "/", "ratio", "share"} & set(words)) or case == "ratio"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
