"""Nulls where a schema allows none: how they are found, and how Parquet is kept from losing rows.

The platform judges a batch when it decodes it: a null in a required field breaks the stream, unless
the struct around it is null itself, for then nobody can see it (the platform asks nothing else
of a schema). Parquet has the same view of things except in one place: a required list of fixed size
inside a null struct is written, but cannot be read back. Such lists are stored as optional ones.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc


def null_fault(batch: pa.RecordBatch) -> str:
    """Name the required field, by dotted path, in which a null can be seen; empty if none.

    Cost: a look at each null count; masks are made only of fields that have nulls.
    """
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if fault := _fault(field.name, field, column, None):
            return fault
    return ""


def _fault(path: str, field: pa.Field, values: pa.Array, seen: pa.Array | None) -> str:
    """Look into one field; `seen` masks the rows whose ancestors are all there, None for all."""
    if not field.nullable and values.null_count:
        nulls = values.is_null()
        if pc.any(nulls if seen is None else pc.and_(nulls, seen)).as_py():
            return path
    if pa.types.is_struct(field.type):
        if values.null_count:
            there = values.is_valid()
            seen = there if seen is None else pc.and_(there, seen)
        for index in range(field.type.num_fields):
            inner = field.type.field(index)
            if fault := _fault(f"{path}.{inner.name}", inner, values.field(index), seen):
                return fault
    elif _is_list(field.type) and _may_fault(field.type.value_field):
        return _fault(f"{path}[]", field.type.value_field, values.flatten(), None)
    return ""


def _may_fault(field: pa.Field) -> bool:
    return not field.nullable or pa.types.is_nested(field.type)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def storable(schema: pa.Schema) -> pa.Schema:
    """Give the schema in which a topic is stored, from which `cast` leads back to its own."""
    return pa.schema([_storable(field) for field in schema], metadata=schema.metadata)


def _storable(field: pa.Field) -> pa.Field:
    """Make the lists of fixed size inside structs optional; what is at the top stays."""
    if pa.types.is_struct(field.type):
        inner = [_storable(field.type.field(index)) for index in range(field.type.num_fields)]
        inner = [
            each.with_nullable(nullable=True) if pa.types.is_fixed_size_list(each.type) else each
            for each in inner
        ]
        return field.with_type(pa.struct(inner))
    if pa.types.is_list(field.type):
        return field.with_type(pa.list_(_storable(field.type.value_field)))
    return field


def as_declared(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Give stored batches in the schema they were put with."""
    if storable(schema).equals(schema):
        return iter(batches)
    return (
        pa.record_batch(
            [
                _declared(column, kind)
                for column, kind in zip(batch.columns, schema.types, strict=True)
            ],
            schema=schema,
        )
        for batch in batches
    )


def _declared(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Give values a type that differs in what may be null; a cast refuses even unseen nulls."""
    if values.type.equals(kind):
        return values
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        inner = [_declared(values.field(index), field.type) for index, field in enumerate(fields)]
        mask = values.is_null() if values.null_count else None
        return pa.StructArray.from_arrays(inner, fields=fields, mask=mask)
    if pa.types.is_list(kind):
        items = _declared(values.values, kind.value_type)
        buffers = values.buffers()[:2]
        return pa.Array.from_buffers(
            kind, len(values), buffers, offset=values.offset, children=[items]
        )
    return values.cast(kind)
