"""Markdown tables of figures, and the machine they were taken on."""

import os
import platform
from collections.abc import Sequence

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


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Make a table; the first column is text, the others are figures."""
    lines = [
        f"### {title}",
        "",
        "| " + " | ".join(columns) + " |",
        "|---|" + "--:|" * (len(columns) - 1),
        *("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


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
