"""A message type -> the steps through its payloads, and the Arrow type they fill; compiled once.

Alignment is worked out here as far as it can be: the plan keeps the position modulo the alignment
it is sure of, folds known padding into runs of fixed fields, and leaves a run-time alignment only
where a string or sequence made the position unknown.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from bridge.cdr.cursor import Cursor, Move
from bridge.cdr.fixed import Absent, FixedLeaf, FixedRun
from bridge.cdr.layout import LENGTH_BYTES, Primitive, Rules, primitive
from bridge.cdr.nested import Delimited, Scattered
from bridge.cdr.sequences import Count, Packed, Strided
from bridge.cdr.source import Source
from bridge.cdr.steps import Shape, Step
from bridge.cdr.text import TextStep, WideTextStep
from bridge.definitions import STRINGS
from bridge.errors import DefinitionError
from bridge.model import (
    DUMMY_MEMBER,
    ArrayType,
    FieldType,
    MessageType,
    PrimitiveType,
    SequenceType,
)

ABSENT_VALUES_MAX = 256
"""The most values a message may have that are not on the wire (empty messages of ROS 1)."""

APPENDABLE = "appendable"
"""The extensibility of messages that start with their size in XCDR2."""

_STRIDE_PROBES = 3
"""Ends of elements to look at: the first is laid out freely, all others repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The way through a value and what it becomes.

    Attributes:
        steps: What to step over, in order.
        shape: How the leaves of the steps make the value.
        bytes_min: The least bytes the value takes, padding aside.
        absent: How many values of it are not on the wire.
    """

    steps: tuple[Step, ...]
    shape: Shape
    bytes_min: int
    absent: int


def compile_plan(message_type: MessageType, rules: Rules) -> Plan:
    """Compile the plan for whole payloads, which begin at the origin of alignment.

    Raises:
        DefinitionError: The message has values without end that take no bytes on the wire.
    """
    builder = _Builder(rules, message_type.name, sure=rules.alignment_max)
    shape = builder.add_root(message_type)
    return builder.finish(shape)


def _element_plan(
    element: FieldType, rules: Rules, name: str, root: str, *, within_array: bool
) -> Plan:
    """Compile the plan for one element of a collection, which may begin anywhere.

    An array within an array is one array of two dimensions, which has one size in front.
    """
    is_inner = within_array and isinstance(element, ArrayType)
    builder = _Builder(rules, root, sure=1, within_array=is_inner)
    shape = builder.add(element, name=name)
    return builder.finish(shape)


@dataclass(slots=True)
class _Run:
    """A run of fixed fields under construction."""

    move: Move
    size_bytes: int = 0
    leaves: list[FixedLeaf] = field(default_factory=list)


@dataclass(slots=True)
class _Builder:
    """Collects steps while walking down a type.

    Attributes:
        rules: The serialisation.
        root: The message that is compiled, for error messages.
        sure: The alignment modulo which the position is known.
        position: The position modulo `sure`.
        bytes_min: Bytes seen so far, padding aside.
        absent: Values seen so far that are not on the wire.
        within_array: Whether this is an array that is the element of another.
        steps: The steps so far.
        run: The open run of fixed fields, or None.
    """

    rules: Rules
    root: str
    sure: int
    position: int = 0
    bytes_min: int = 0
    absent: int = 0
    within_array: bool = False
    steps: list[Step] = field(default_factory=list)
    run: _Run | None = None

    def finish(self, shape: Shape) -> Plan:
        self._close_run()
        return Plan(
            steps=tuple(self.steps), shape=shape, bytes_min=self.bytes_min, absent=self.absent
        )

    def add(self, kind: FieldType, *, name: str) -> Shape:
        """Append the steps of a field and give its shape; `name` is that of the field."""
        if isinstance(kind, MessageType):
            return self._add_message(kind)
        if isinstance(kind, PrimitiveType):
            if kind.name in STRINGS:
                return self._add_text(kind)
            return self._add_fixed(primitive(kind.name, self.rules), length=None)
        element = kind.element
        if isinstance(element, PrimitiveType) and element.name not in STRINGS:
            value = primitive(element.name, self.rules)
            if self.rules.delimited and element.enumerators:
                self._add_size(kind)
            if isinstance(kind, ArrayType):
                return self._add_fixed(value, length=kind.length)
            return self._add_numbers(value, bound=kind.bound)
        return self._add_collection(kind, name=name)

    def add_root(self, message: MessageType) -> Shape:
        """Append the steps of a whole payload."""
        if self.rules.delimited_root:
            return self._add_delimited(message)
        return self._add_members(message)

    def _add_message(self, message: MessageType) -> Shape:
        if self.rules.delimited and (
            message.extensibility == APPENDABLE
            or (self.rules.appendable and not message.extensibility)
        ):
            return self._add_delimited(message)
        return self._add_members(message)

    def _add_delimited(self, message: MessageType) -> Shape:
        """Append a message that starts with its size."""
        self._close_run()
        move = self._align(LENGTH_BYTES)
        inner = _Builder(self.rules, self.root, sure=LENGTH_BYTES)
        shape = inner._add_members(message)
        plan = inner.finish(shape)
        self.steps.append(Delimited(move=move, steps=plan.steps))
        self.bytes_min += LENGTH_BYTES + plan.bytes_min
        self._note_absent(plan.absent, message.name)
        self._behind_anything(1)
        return shape

    def _add_members(self, message: MessageType) -> Shape:
        if is_empty(message) and not self.rules.dummy_member:
            return self._add_zeros()
        members = [(name, self.add(kind, name=name)) for name, kind in message.fields]
        return Shape(
            type=pa.struct([pa.field(name, shape.type) for name, shape in members]),
            members=tuple(shape for _, shape in members),
        )

    def _align(self, alignment: int) -> Move:
        """Tell how to get to an alignment from here, and be there."""
        alignment = min(alignment, self.rules.alignment_max)
        if alignment <= self.sure:
            pad_bytes = -self.position % alignment
            self._moved(pad_bytes)
            return Move(pad_bytes=pad_bytes)
        self.sure, self.position = alignment, 0
        return Move(alignment=alignment)

    def _moved(self, size_bytes: int) -> None:
        self.position = (self.position + size_bytes) % self.sure

    def _behind_anything(self, sure: int) -> None:
        self.sure, self.position = sure, 0

    def _close_run(self) -> None:
        if self.run is not None:
            self.steps.append(
                FixedRun(
                    move=self.run.move,
                    size_bytes=self.run.size_bytes,
                    leaves=tuple(self.run.leaves),
                )
            )
            self.run = None

    def _extend_run(self, alignment: int, size_bytes: int) -> tuple[_Run, int]:
        """Reserve bytes in the open run, or a new one; give it and the offset in it."""
        move = self._align(alignment)
        if self.run is None or move.alignment > 1:
            self._close_run()
            self.run = _Run(move=move)
        else:
            self.run.size_bytes += move.pad_bytes
        offset = self.run.size_bytes
        self.run.size_bytes += size_bytes
        self._moved(size_bytes)
        self.bytes_min += size_bytes
        return self.run, offset

    def _add_fixed(self, value: Primitive, *, length: int | None) -> Shape:
        size_bytes = value.size_bytes * (1 if length is None else length)
        run, offset = self._extend_run(value.alignment, size_bytes)
        leaf = _leaf(value, length=length, offset_bytes=offset)
        run.leaves.append(leaf)
        return Shape(type=leaf.type)

    def _add_text(self, kind: PrimitiveType) -> Shape:
        self._close_run()
        move = self._align(LENGTH_BYTES)
        if kind.name == "wstring":
            self.steps.append(WideTextStep(move=move, layout=self.rules.wide))
        else:
            self.steps.append(TextStep(move=move, terminated=self.rules.terminated))
        self.bytes_min += LENGTH_BYTES
        self._behind_anything(1)
        return Shape(type=pa.string())

    def _add_numbers(self, value: Primitive, *, bound: int) -> Shape:
        self._close_run()
        count = self._count(length=None, bound=bound, element_bytes_min=value.size_bytes)
        alignment = min(value.alignment, self.rules.alignment_max)
        kind = pa.list_(pa.field("item", value.arrow))
        self.steps.append(
            Packed(
                count=count,
                alignment=alignment,
                element_bytes=value.size_bytes,
                leaves=(_leaf(value, length=None, offset_bytes=0),),
                element=Shape(type=value.arrow),
                type=kind,
            )
        )
        self._behind_anything(min(alignment, LENGTH_BYTES))
        return Shape(type=kind)

    def _count(self, *, length: int | None, bound: int, element_bytes_min: int) -> Count:
        if length is not None:
            self.bytes_min += length * element_bytes_min
            return Count(move=Move(), length=length, bound=0, element_bytes_min=element_bytes_min)
        move = self._align(LENGTH_BYTES)
        self.bytes_min += LENGTH_BYTES
        return Count(move=move, length=None, bound=bound, element_bytes_min=element_bytes_min)

    def _add_collection(self, kind: ArrayType | SequenceType, *, name: str) -> Shape:
        """Append an array or sequence of strings or messages."""
        is_array = isinstance(kind, ArrayType)
        if self.rules.delimited and not _is_of_numbers(kind):
            self._add_size(kind)
        self._close_run()
        plan = _element_plan(kind.element, self.rules, name, self.root, within_array=is_array)
        item = pa.field(name if isinstance(kind.element, MessageType) else "item", plan.shape.type)
        if isinstance(kind, ArrayType):
            length, bound, arrow = kind.length, 0, pa.list_(item, kind.length)
            self._note_absent(kind.length * plan.absent, name)
        else:
            length, bound, arrow = None, kind.bound, pa.list_(item)
        count = self._count(length=length, bound=bound, element_bytes_min=plan.bytes_min)
        runs = tuple(step for step in plan.steps if isinstance(step, FixedRun))
        if len(runs) < len(plan.steps):
            step: Step = Scattered(count=count, steps=plan.steps, element=plan.shape, type=arrow)
            sure = 1
        elif len(runs) == 1 and runs[0].size_bytes % runs[0].move.alignment == 0:
            alignment = runs[0].move.alignment
            step = Packed(
                count=count,
                alignment=alignment,
                element_bytes=runs[0].size_bytes,
                leaves=runs[0].leaves,
                element=plan.shape,
                type=arrow,
            )
            sure = alignment if is_array else min(alignment, LENGTH_BYTES)
        else:
            step = Strided(
                count=count,
                runs=runs,
                stride_bytes=_stride_bytes(runs),
                element=plan.shape,
                type=arrow,
            )
            sure = 1
        self.steps.append(step)
        self._behind_anything(min(sure, self.rules.alignment_max))
        return Shape(type=arrow)

    def _add_size(self, kind: ArrayType | SequenceType) -> None:
        """Step over the size in front of a collection."""
        if not (self.within_array and isinstance(kind, ArrayType)):
            self._extend_run(LENGTH_BYTES, LENGTH_BYTES)

    def _note_absent(self, count: int, name: str) -> None:
        """Count values that no payload pays for, and refuse to make them without end."""
        self.absent += count
        if self.absent > ABSENT_VALUES_MAX:
            raise DefinitionError(
                f"The field {name} brings the message to {self.absent} values that take no bytes;"
                f" {ABSENT_VALUES_MAX} is the most.",
                msgtype=self.root,
            )

    def _add_zeros(self) -> Shape:
        """Append the dummy member of an empty message where it is not on the wire."""
        self._close_run()
        self._note_absent(1, DUMMY_MEMBER)
        self.steps.append(Absent())
        return Shape(
            type=pa.struct([pa.field(DUMMY_MEMBER, pa.uint8())]),
            members=(Shape(type=pa.uint8()),),
        )


def _leaf(value: Primitive, *, length: int | None, offset_bytes: int) -> FixedLeaf:
    kind = value.arrow if length is None else pa.list_(pa.field("item", value.arrow), length)
    return FixedLeaf(offset_bytes=offset_bytes, kind=value, length=length, type=kind)


def _is_of_numbers(kind: FieldType) -> bool:
    """Tell whether an array, of one dimension or several, holds nothing but numbers."""
    while isinstance(kind, ArrayType):
        kind = kind.element
    return isinstance(kind, PrimitiveType) and kind.name not in STRINGS and not kind.enumerators


def is_empty(message: MessageType) -> bool:
    """Tell whether a message has no fields but the dummy that ROS 2 puts into it."""
    return len(message.fields) == 1 and message.fields[0][0] == DUMMY_MEMBER


def _stride_bytes(runs: tuple[FixedRun, ...]) -> int:
    """Measure the distance between the ends of two elements, by walking over three."""
    origin = np.zeros(1, dtype=np.int64)
    cursor = Cursor(Source(np.zeros(1, dtype=np.uint8), swap=False), origin, origin, origin.copy())
    ends = []
    for _ in range(_STRIDE_PROBES):
        for run in runs:
            run.advance(cursor)
        ends.append(int(cursor.at[0]))
    return ends[-1] - ends[-2]
