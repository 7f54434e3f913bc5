"""Every type that no table lists: the message's own fields, verbatim, as the topic's columns.

The decoder already yields types and values together, so nothing is converted here; only names
that the envelope claims for itself give way, and a message without fields gets one to stand on.
"""

import pyarrow as pa

from bridge.mapping.columns import zeros
from bridge.mapping.pieces import Columns
from bridge.mapping.source import Source
from bridge.mapping.table import Mapping
from bridge.ontology import TIMESTAMP_COLUMN, Model

EMPTY_MEMBER = "structure_needs_at_least_one_member"
"""What rosidl puts into a message that has no fields."""


def generic_mapping(ros_type: str, arrow_type: pa.StructType) -> tuple[Mapping, dict[str, str]]:
    """Make the mapping of a type that has no model of its own.

    Args:
        ros_type: The ROS type; its last part becomes the tag, as on the rest of the platform.
        arrow_type: The decoded fields.

    Returns:
        The mapping, and the fields that had to be renamed: column name -> field name.
    """
    names = [arrow_type.field(index).name for index in range(arrow_type.num_fields)]
    columns = _column_names(names)
    fields = [
        pa.field(column, arrow_type.field(index).type) for index, column in enumerate(columns)
    ] or [pa.field(EMPTY_MEMBER, pa.uint8())]

    def build(source: Source) -> Columns:
        if not columns:
            return {EMPTY_MEMBER: zeros(pa.uint8(), source.rows)}
        return {column: source.array.field(index) for index, column in enumerate(columns)}

    model = Model(tag=ros_type.rsplit("/", maxsplit=1)[-1], fields=tuple(fields))
    renamed = {column: name for column, name in zip(columns, names, strict=True) if column != name}
    return Mapping(ros_type, model, build), renamed


def _column_names(names: list[str]) -> list[str]:
    """Keep the names, but not the one of the envelope; new names collide with none."""
    columns: list[str] = []
    for name in names:
        column = name
        while column == TIMESTAMP_COLUMN or (column != name and column in names):
            column += "_"
        columns.append(column)
    return columns
