"""Text that the platform can keep: names that it accepts, and values that it can store.

The oldest servers do not refuse a bad character in a name but drop it silently, so that two names
become one; hence every name is checked here before it is sent.

The platform stores names, metadata and notifications as text of its database, PostgreSQL, which
refuses NUL, and so does it with the smallest and the largest text of each batch. One NUL in a frame
id would cost a whole topic, so it is replaced before it is sent. So are halves of surrogate pairs,
which no encoding can carry: Python reads them from file names that are no UTF-8.
"""

import itertools
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from bridge.errors import RejectedError
from bridge.facade import later
from bridge.ontology import has_text, is_text

# A daemon that is parked never needs it: 3 MiB.
pc = later("pyarrow.compute")

NUL = "\x00"
REPLACEMENT = "\ufffd"

_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
# The same in ASCII JSON, and pairs of surrogates that are a character.
_MAY_BE_NO_TEXT = re.compile(r"\\u(?:0000|d[89a-f])")
_FORBIDDEN = frozenset("!\"'*£$%&. :")


def sequence_name(name: str) -> str:
    """Give the locator of a sequence; one leading slash is forgiven.

    Raises:
        RejectedError: No server would take the name as it is.
    """
    bare = name.removeprefix("/")
    if "/" in bare:
        raise _rejected(name, "a sequence name has no slash")
    return _checked(bare, name)


def topic_name(name: str) -> str:
    """Give the name of a topic as users know it, with one leading slash.

    Raises:
        RejectedError: No server would take the name as it is.
    """
    bare = name.removeprefix("/")
    if bare.startswith("/") or bare.endswith("/") or "//" in bare:
        raise _rejected(name, "slashes are only allowed between the parts of a topic name")
    return "/" + _checked(bare, name)


def topic_locator(sequence: str, topic: str) -> str:
    """Join a sequence and a topic into `sequence/topic/path`, both checked."""
    return sequence_name(sequence) + topic_name(topic)


def split_locator(locator: str) -> tuple[str, str]:
    """Split a locator into sequence and topic name; the topic is empty for a sequence's own."""
    sequence, slash, topic = locator.strip("/").partition("/")
    return sequence, f"/{topic}" if slash else ""


def kind_of(locator: str) -> str:
    """Give the kind of resource that a locator names, as in actions: `topic` or `sequence`."""
    return "topic" if "/" in locator else "sequence"


def _checked(bare: str, name: str) -> str:
    if not bare:
        raise _rejected(name, "the name is empty")
    wrong = sorted({sign for sign in bare if sign in _FORBIDDEN or not "!" <= sign <= "~"})
    if wrong:
        raise _rejected(name, f"it contains {' '.join(map(repr, wrong))}")
    return bare


def _rejected(name: str, reason: str) -> RejectedError:
    return RejectedError(
        f"the platform does not accept the name {name!r}: {reason}",
        resource=name,
        hint="use letters, digits, - and _ (and / inside topic names)",
    )


def nul_count(value: Any) -> int:
    """Count the texts in a JSON value that hold NUL, or what is no text, keys included."""
    return _nul_count(value) if _may_hold_nul(value) else 0


def _may_hold_nul(value: Any) -> bool:
    """Look at the whole value at once: what may be odd is always escaped."""
    try:
        return _MAY_BE_NO_TEXT.search(json.dumps(value)) is not None
    except (TypeError, ValueError):
        return True


def _nul_count(value: Any) -> int:
    match value:
        case str():
            return int(_NO_TEXT.search(value) is not None)
        case dict():
            return sum(_nul_count(key) + _nul_count(part) for key, part in value.items())
        case list() | tuple():
            return sum(map(_nul_count, value))
        case _:
            return 0


def holds_texts_of(found: Any, given: Any) -> bool:
    """Whether each text of a JSON value is at its place in another, which may hold more.

    Servers may write numbers in another way, leave nulls out, and add what is theirs.
    """
    match given:
        case str():
            return bool(found == given)
        case dict():
            inside = found if isinstance(found, dict) else {}
            return all(holds_texts_of(inside.get(key), part) for key, part in given.items())
        case list() | tuple():
            items = found if isinstance(found, list) else []
            return all(
                holds_texts_of(item, part) for item, part in itertools.zip_longest(items, given)
            )
        case _:
            return True


def clean_batch(batch: pa.RecordBatch, text_columns: Iterable[int]) -> tuple[pa.RecordBatch, int]:
    """Replace NUL in every text of a batch.

    Costs a look at the texts' bytes; what has none is given back as it is.

    Args:
        batch: Any rows.
        text_columns: The columns that are texts or hold some.

    Returns:
        The batch, and how many of its texts were changed.
    """
    dirty = [index for index in text_columns if holds_nul(batch.column(index))]
    if not dirty:
        return batch, 0
    columns, changed = batch.columns, 0
    for index in dirty:
        columns[index], count = _cleaned(columns[index])
        changed += count
    return pa.record_batch(columns, schema=batch.schema), changed


def holds_nul(array: pa.Array) -> bool:
    """Look for NUL; may see one in a value that a null hides, which costs a needless copy."""
    kind = array.type
    if not len(array):
        return False
    if is_text(kind):
        return _bytes_hold_nul(array)
    if pa.types.is_dictionary(kind):
        return has_text(kind) and holds_nul(array.dictionary)
    if pa.types.is_struct(kind):
        return any(holds_nul(array.field(index)) for index in _fields_with_text(kind))
    if pa.types.is_map(kind):
        return holds_nul(array.keys) or holds_nul(array.items)
    return has_text(kind) and holds_nul(array.flatten())


@cache
def _fields_with_text(kind: pa.StructType) -> tuple[int, ...]:
    return tuple(index for index in range(kind.num_fields) if has_text(kind.field(index).type))


def _bytes_hold_nul(array: pa.Array) -> bool:
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    _, offsets, content = array.buffers()
    if content is None or not content.size:
        return False
    width = np.int64 if pa.types.is_large_string(array.type) else np.int32
    bounds = np.frombuffer(offsets, width)[array.offset : array.offset + len(array) + 1]
    part = np.frombuffer(content, np.uint8)[bounds[0] : bounds[-1]]
    return bool(len(part)) and not part.all()


def _cleaned(array: pa.Array) -> tuple[pa.Array, int]:
    kind = array.type
    if not holds_nul(array):
        return array, 0
    if is_text(kind):
        plain = array.cast(pa.large_string())
        changed = pc.sum(pc.match_substring(plain, NUL)).as_py() or 0
        return pc.replace_substring(plain, NUL, REPLACEMENT).cast(kind), changed
    if pa.types.is_dictionary(kind):
        values, changed = _cleaned(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, values, ordered=kind.ordered), changed
    if pa.types.is_struct(kind):
        parts = [_cleaned(array.field(index)) for index in range(kind.num_fields)]
        made = pa.StructArray.from_arrays(
            [part for part, _ in parts], fields=list(kind), mask=array.is_null()
        )
        return made, sum(changed for _, changed in parts)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _cleaned_lists(array)
    # Fixed lists and maps of texts, which no model has: value by value.
    rows = array.to_pylist()
    changed = nul_count(rows)
    return pa.array(clean_value(rows), kind), changed


def _cleaned_lists(array: pa.Array) -> tuple[pa.Array, int]:
    kind = array.type
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    values, changed = _cleaned(array.values.slice(first, last - first))
    offsets = pc.subtract(array.offsets, pa.scalar(first, array.offsets.type))
    maker = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
    mask = array.is_null() if array.null_count else None
    return maker.from_arrays(offsets, values, type=kind, mask=mask), changed


def clean_value(value: Any) -> Any:
    """Replace NUL, and what is no text, in the texts of a JSON value, keys included."""
    return _cleaned_value(value) if _may_hold_nul(value) else value


def _cleaned_value(value: Any) -> Any:
    match value:
        case str():
            return _NO_TEXT.sub(REPLACEMENT, value)
        case dict():
            return {_cleaned_value(key): _cleaned_value(part) for key, part in value.items()}
        case list() | tuple():
            return type(value)(_cleaned_value(part) for part in value)
        case _:
            return value
