"""Salvaging a sqlite3 file page by page: every row whose own bytes are intact, each once.

Tables are recognised by the shape of their rows, since the list of tables may be damaged itself.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.bags.container import ReadLimits
from bridge.bags.sqlite.cells import Text, Value, cells, is_sound, whole_number
from bridge.bags.sqlite.pages import (
    PAGE_SIZES,
    PageFile,
    claim_free_pages,
    open_pages,
    read_header,
)
from bridge.bags.sqlite.rows import Row, RowContents, SeenRows
from bridge.bags.sqlite.schema import MessageTable, Schema, TopicRow, check_topics, schema_of
from bridge.definitions import embedded_definition, normal_msgtype
from bridge.model import Definition, Loss

ROW_BYTES_SLACK = 1 << 10
"""What a row takes beside its payload."""

PROBED_BYTES = 1 << 20
"""How much of a file is looked at to find out how big its pages are."""

CUT = "the file is cut"
UNCLAIMED = "pages that belong to no table"


def probed_pages(descriptor: int, *, row_bytes_max: int) -> tuple[PageFile, NDArray[np.bool_]]:
    """Look at a file as pages of the size that fits most of its leaves.

    What the header says of pages wins a draw, with and then without bytes reserved in each.

    Returns:
        The pages, and which of them are free: bool, shape (pages + 1,).
    """
    header = read_header(descriptor)
    sizes = dict.fromkeys(size for size in (header.page_bytes, *PAGE_SIZES) if size)
    guesses = [
        replace(header, page_bytes=size, reserved_bytes=reserved)
        for size in sizes
        for reserved in dict.fromkeys((header.reserved_bytes, 0))
    ]
    best = max(guesses, key=lambda guess: _score(open_pages(descriptor, guess)))
    file = open_pages(descriptor, best, row_bytes_max=row_bytes_max)
    return file, claim_free_pages(file, header)


def _score(file: PageFile) -> int:
    """Count the leaves at the file's start whose cells all start within them.

    In the same bytes for every size of pages. A size too small has the cells at the end of a page
    outside of it; a size too big sees fewer pages.
    """
    probed = takewhile(lambda leaf: leaf[0] * file.page_bytes <= PROBED_BYTES, file.leaves())
    return sum(is_sound(file, number, data) for number, data in probed)


def salvaged_rows(
    descriptor: int,
    *,
    path: Path,
    table: MessageTable,
    limits: ReadLimits,
    seen: SeenRows,
    losses: list[Loss],
) -> Iterator[Row]:
    """Yield the rows of `messages` that are intact, page after page.

    Costs about 10 microseconds a row, whatever is in the file: each page is looked at once.

    Args:
        descriptor: The database.
        path: The file, for reports.
        table: How the table of messages is stored.
        limits: The longest payload.
        seen: The rows that were read already; those that are yielded are added.
        losses: Where damaged parts of the file are noted.

    Yields:
        Row id, topic id, time, payload; in the order of pages.
    """
    file, free = probed_pages(descriptor, row_bytes_max=limits.message_bytes_max + ROW_BYTES_SLACK)
    contents = RowContents(file.size_bytes)
    for number, data in file.leaves(keyed=not table.rowid):
        if free[number]:
            continue
        found = list(cells(file, number, data))
        rows = [
            row
            for cell in found
            if cell is not None and (row := _message(*cell, table)) is not None
        ]
        yield from (row for row in rows if contents.is_new(row, row[0], first=seen.add(row[0])))
        damaged = found.count(None)
        file.claimed[number] = damaged < len(found) or not found
        if 0 < damaged < len(found):
            reason = f"{damaged} of {len(found)} rows of a page are damaged"
            losses.append(_loss(path, file, number, number + 1, reason))
    losses += _lost_pages(file, path, reason=UNCLAIMED)


def _message(rowid: int, values: list[Value], table: MessageTable) -> Row | None:
    """Take the values of a row of `messages`; None for rows of other tables."""
    # Columns that were added later are missing in the rows before.
    if not max(table.places) < len(values) <= table.columns:
        return None
    topic_id, time_ns, payload = (values[place] for place in table.places)
    if isinstance(topic_id, int) and isinstance(time_ns, int) and isinstance(payload, bytes):
        return rowid, topic_id, time_ns, payload
    # Numbers kept as text, by other makers. No other table has values that are no text.
    numbers = whole_number(topic_id) is not None and whole_number(time_ns) is not None
    return (rowid, topic_id, time_ns, payload) if numbers and type(payload) is bytes else None


def salvaged_schema(descriptor: int, *, table: MessageTable, limits: ReadLimits) -> Schema:
    """Read what is left of the small tables.

    Raises:
        RecordingLimitError: More topics than allowed.
    """
    file, free = probed_pages(
        descriptor, row_bytes_max=limits.definition_bytes_max + ROW_BYTES_SLACK
    )
    topics: dict[int, TopicRow] = {}
    definitions: dict[str, Definition] = {}
    notes: dict[int, str] = {}
    version, distro = 0, ""
    for rowid, words in _small_rows(file, free, table, read_header(descriptor).encoding):
        match words:
            case [_, str(msgtype), str(encoding), str(text), str()] if (
                definition := embedded_definition(encoding, text)
            ):
                definitions.setdefault(normal_msgtype(msgtype), definition)
            case [_, str(), str(msgtype), str(), *others] if "/" in msgtype and all(
                isinstance(other, str) for other in others
            ):
                topics.setdefault(rowid, TopicRow(rowid, *words[1:6]))
                check_topics(len(topics), limits)
            case [_, int(), str(text)]:
                notes[rowid] = text
            case [None | int() as number, str(text)]:
                version, distro = number or rowid, text
    return schema_of(
        [topics[topic_id] for topic_id in sorted(topics)],
        definitions=definitions,
        notes=tuple(notes[rowid] for rowid in sorted(notes)),
        version=version,
        distro=distro,
    )


def _small_rows(
    file: PageFile, free: NDArray[np.bool_], table: MessageTable, encoding: str
) -> Iterator[tuple[int, list[Any]]]:
    """Yield row id and values of all rows but messages; a page holds rows of one table."""
    for number, data in file.leaves():
        if free[number]:
            continue
        for cell in cells(file, number, data):
            if cell is None:
                continue
            if _message(*cell, table) is not None:
                break
            yield cell[0], [_word(value, encoding) for value in cell[1]]


def _word(value: Value, encoding: str) -> Any:
    """Decode a text; other values stay as they are.

    Names have a NUL in each letter in UTF-16, whatever a damaged header says of the encoding.
    """
    if not isinstance(value, Text):
        return value
    return value.decode(encoding if 0 in value else "utf-8", "replace")


def _lost_pages(file: PageFile, path: Path, *, reason: str) -> list[Loss]:
    """List the pages that belong to nothing, and the bytes that are missing at the end."""
    edges = np.flatnonzero(np.diff(file.claimed, prepend=True, append=True))
    lost = [_loss(path, file, int(start), int(end), reason) for start, end in edges.reshape(-1, 2)]
    whole_bytes = file.pages * file.page_bytes
    end_bytes = max(file.told_pages * file.page_bytes, file.size_bytes)
    if end_bytes > whole_bytes:
        lost.append(
            Loss(
                path=path,
                start_bytes=whole_bytes,
                end_bytes=end_bytes,
                reason=CUT,
                verifiable=False,
            )
        )
    return lost


def _loss(path: Path, file: PageFile, start: int, end: int, reason: str) -> Loss:
    return Loss(
        path=path,
        start_bytes=(start - 1) * file.page_bytes,
        end_bytes=(end - 1) * file.page_bytes,
        reason=reason,
        verifiable=False,
    )
