"""Query builders: conditions that must all hold, and each revision's spelling of them."""

import re
from typing import Any, ClassVar, Self

from bridge.client.revisions import Revision
from bridge.ontology import Comparable, Condition, Operator, QueryError, Subject

_USER_METADATA = "user_metadata"


class _MetadataKeys:
    """The user metadata of a sequence or topic; `[key]` takes a dotted path into it."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __getitem__(self, key: str) -> Comparable:
        if not key or not all(key.split(".")):
            raise QueryError(f"{key!r} is no path into user metadata")
        return Comparable(self._subject, f"{_USER_METADATA}.{key}")


class SequenceProxy:
    """The fields of a sequence that conditions can be put on.

    Attributes:
        name: Its name.
        created_timestamp: When it was created; nanoseconds since the epoch, or a datetime.
        user_metadata: What its writer attached, by dotted key.
    """

    def __init__(self) -> None:
        self.name = Comparable(Subject.SEQUENCE, "name")
        self.created_timestamp = Comparable(Subject.SEQUENCE, "created_timestamp")
        self.user_metadata = _MetadataKeys(Subject.SEQUENCE)


class TopicProxy:
    """The fields of a topic that conditions can be put on.

    Attributes:
        name: Its name, with the leading slash.
        created_timestamp: When it was created; nanoseconds since the epoch, or a datetime.
        ontology_tag: The tag of its model.
        serialization_format: How it is stored.
        user_metadata: What its writer attached, by dotted key.
    """

    def __init__(self) -> None:
        self.name = Comparable(Subject.TOPIC, "name")
        self.created_timestamp = Comparable(Subject.TOPIC, "created_timestamp")
        self.ontology_tag = Comparable(Subject.TOPIC, "ontology_tag")
        self.serialization_format = Comparable(Subject.TOPIC, "serialization_format")
        self.user_metadata = _MetadataKeys(Subject.TOPIC)


class Sequence:
    """What queries know of sequences: `Sequence.Q.name.eq("run_01")`."""

    Q: ClassVar[SequenceProxy] = SequenceProxy()


class Topic:
    """What queries know of topics: `Topic.Q.ontology_tag.eq("IMU")`."""

    Q: ClassVar[TopicProxy] = TopicProxy()


class QueryPart:
    """Conditions on one subject; each field may be conditioned once.

    Attributes:
        subject: What the conditions are about.
    """

    subject: ClassVar[Subject]

    def __init__(self, *conditions: Condition) -> None:
        self._conditions: dict[str, Condition] = {}
        for condition in conditions:
            self.with_expression(condition)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What must hold."""
        return tuple(self._conditions.values())

    def with_expression(self, condition: Condition) -> Self:
        """Add a condition.

        Raises:
            QueryError: It is about something else, or about a field that has one already. Also a
                `ValueError`.
        """
        if condition.subject is not self.subject:
            raise QueryError(
                f"{type(self).__name__} takes no condition on {condition.subject.value}s"
            )
        if condition.path in self._conditions:
            raise QueryError(
                f"{condition.path} has a condition already", hint="use between for a range"
            )
        self._conditions[condition.path] = condition
        return self


class _NamedPart(QueryPart):
    """What sequences and topics have in common."""

    def with_name(self, name: str) -> Self:
        """Have exactly this name."""
        return self._on("name", Operator.EQ, name)

    def with_name_match(self, part: str) -> Self:
        """Have this text in the name; on every revision of the protocol."""
        if not part:
            raise QueryError("an empty text is in every name")
        return self._on("name", Operator.MATCH, part, contains=True)

    def with_user_metadata(self, key: str, **operator: Any) -> Self:
        """Compare user metadata: `with_user_metadata("driver.id", eq="drv_17")`.

        Args:
            key: A dotted path into the metadata.
            **operator: One of the operators of a proxy's field and its value.
        """
        field = _MetadataKeys(self.subject)[key]
        if len(operator) != 1:
            raise QueryError("exactly one operator is needed", hint="for example eq=1")
        ((name, value),) = operator.items()
        method = getattr(field, {"in": "in_"}.get(name, name), None)
        if method is None:
            raise QueryError(f"there is no operator {name!r}")
        condition: Condition = method() if name in {"ex", "nex"} else method(value)
        return self.with_expression(condition)

    def with_created_timestamp(
        self, time_start: object | None = None, time_end: object | None = None
    ) -> Self:
        """Be created in this time; nanoseconds since the epoch or datetimes, both included."""
        field = Comparable(self.subject, "created_timestamp")
        if time_start is not None and time_end is not None:
            return self.with_expression(field.between(time_start, time_end))
        if time_start is not None:
            return self.with_expression(field.geq(time_start))
        if time_end is not None:
            return self.with_expression(field.leq(time_end))
        raise QueryError("a start or an end is needed")

    def _on(self, path: str, operator: Operator, value: object, *, contains: bool = False) -> Self:
        condition = Condition(
            subject=self.subject, path=path, operator=operator, value=value, contains=contains
        )
        return self.with_expression(condition)


class QuerySequence(_NamedPart):
    """Conditions on sequences."""

    subject = Subject.SEQUENCE


class QueryTopic(_NamedPart):
    """Conditions on topics."""

    subject = Subject.TOPIC

    def with_name(self, name: str) -> Self:
        """Have exactly this name, with or without the leading slash."""
        return self._on("name", Operator.EQ, "/" + name.removeprefix("/"))

    def with_ontology_tag(self, ontology_tag: str) -> Self:
        """Hold this kind of data."""
        return self._on("ontology_tag", Operator.EQ, ontology_tag)


class QueryOntologyCatalog(QueryPart):
    """Conditions on the data itself; those on one model must hold in the same row.

    Attributes:
        include_timestamp_range: Whether to ask for the time range of the matching rows, where the
            revision reports it (G1.1 to G2b; later ones have temporal clusters instead).
    """

    subject = Subject.ONTOLOGY

    def __init__(self, *conditions: Condition, include_timestamp_range: bool = False) -> None:
        super().__init__(*conditions)
        self.include_timestamp_range = include_timestamp_range


class Query:
    """Several parts, at most one of each kind, all of which must hold."""

    def __init__(self, *parts: QueryPart) -> None:
        self._parts: dict[Subject, QueryPart] = {}
        self.append(*parts)

    @property
    def parts(self) -> tuple[QueryPart, ...]:
        """What must hold."""
        return tuple(self._parts.values())

    def append(self, *parts: QueryPart) -> Self:
        """Add parts.

        Raises:
            QueryError: There is one of that kind already. Also a `ValueError`.
        """
        for part in parts:
            if part.subject in self._parts:
                raise QueryError(f"there already is a {type(part).__name__}")
            self._parts[part.subject] = part
        return self


_CREATED = "created_timestamp"

_EXISTENCE = frozenset({Operator.EX, Operator.NEX})
_RANGE = frozenset({Operator.LT, Operator.LEQ, Operator.GT, Operator.GEQ, Operator.BETWEEN})
_WIDE_RANGE = _RANGE | {Operator.OUTSIDE}
_EQUALITY = frozenset({Operator.EQ, Operator.NEQ})

# What the revisions before G2c evaluate; they answer anything else with an error.
_NARROW_NAME = _EQUALITY | _EXISTENCE | {Operator.IN, Operator.MATCH}
_NARROW_TIME = _EQUALITY | _EXISTENCE | _RANGE
_NARROW_METADATA = _EQUALITY | _EXISTENCE | _RANGE
_NARROW_DATA = frozenset({Operator.EQ}) | _RANGE
_WIDE_TIME = _EQUALITY | _EXISTENCE | _WIDE_RANGE

_GLOB_SIGNS = re.compile(r"[*?#\[]")
_LIKE_SIGNS = re.compile(r"[\\%_]")
_PATTERN_BYTES_MAX = 256
_INT64 = range(-(2**63), 2**63)


def encode_query(query: Query, revision: Revision) -> dict[str, Any]:
    """Spell a query for a revision.

    Raises:
        QueryError: The revision cannot evaluate a condition.
    """
    request: dict[str, Any] = {}
    for part in query.parts:
        section = request.setdefault(part.subject.value, {})
        for condition in part.conditions:
            _check(condition, revision)
            _place(section, condition, revision)
        if isinstance(part, QueryOntologyCatalog) and part.include_timestamp_range:
            if not revision.query_ranges:
                raise QueryError(
                    f"{revision.name} does not report time ranges in queries",
                    hint="ask for temporal clusters instead" if revision.clusters else "",
                )
            section["include_timestamp_range"] = True
    return request


def encode_conditions(conditions: tuple[Condition, ...], revision: Revision) -> dict[str, Any]:
    """Spell conditions on data alone, as temporal clusters take them."""
    section: dict[str, Any] = {}
    for condition in conditions:
        if condition.subject is not Subject.ONTOLOGY:
            raise QueryError(f"{condition.path} is no column of data")
        _check(condition, revision)
        _place(section, condition, revision)
    return section


def _check(condition: Condition, revision: Revision) -> None:
    """Refuse what the server would refuse, with a better reason."""
    allowed = _allowed(condition, revision)
    wide_only = "[" in condition.path and condition.subject is Subject.ONTOLOGY
    text_order = (
        condition.operator in _WIDE_RANGE
        and isinstance(_first(condition.value), str)
        and not revision.wide_operators
    )
    if (
        condition.operator not in allowed
        or text_order
        or (wide_only and not revision.wide_operators)
    ):
        raise QueryError(
            f"{revision.name} cannot compare {condition.path} by {condition.operator.value}"
        )
    if revision.protobuf and condition.operator not in _EXISTENCE:
        _check_operand(condition)


def _check_operand(condition: Condition) -> None:
    """Refuse operands that no message can carry, or that no server of that generation compares."""
    value = condition.value
    values = value if isinstance(value, tuple) else (value,)
    kinds = {kind if (kind := type(one)) in {bool, str} else float for one in values}
    if len(kinds) != 1:
        fault = "values of several kinds" if kinds else "an empty list"
        raise QueryError(f"{condition.path}: this server cannot compare with {fault}")
    if bool in kinds and condition.operator in _WIDE_RANGE:
        raise QueryError(f"{condition.path}: truth values have no order")
    if any(isinstance(one, int) and one not in _INT64 for one in values):
        raise QueryError(f"{condition.path}: {value!r} has more than 64 bits")


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) and value else value


def _allowed(condition: Condition, revision: Revision) -> frozenset[Operator]:
    if condition.path == _CREATED:
        return _WIDE_TIME if revision.wide_operators else _NARROW_TIME
    in_data = condition.subject is Subject.ONTOLOGY
    is_name = not in_data and not condition.path.startswith(_USER_METADATA)
    if revision.wide_operators:
        return _NARROW_NAME if is_name and revision.protobuf else frozenset(Operator)
    if in_data:
        return _NARROW_DATA
    return _NARROW_NAME if is_name else _NARROW_METADATA


def _place(section: dict[str, Any], condition: Condition, revision: Revision) -> None:
    """Put a condition where its revision wants it."""
    operand = {condition.operator.value: _operand(condition, revision)}
    if condition.subject is Subject.ONTOLOGY:
        section[condition.path] = operand
    elif condition.path.startswith(f"{_USER_METADATA}."):
        key = condition.path.removeprefix(f"{_USER_METADATA}.")
        section.setdefault(_USER_METADATA, {})[key] = operand
    elif condition.path == "name":
        section[revision.query_name] = operand
    elif condition.path == _CREATED:
        section[revision.query_created] = operand
    else:
        section[condition.path] = operand


def _operand(condition: Condition, revision: Revision) -> Any:
    if condition.contains:
        return _containing(condition.value, revision)
    if condition.path == _CREATED:
        return _in_unit(condition.value, revision.query_created_unit_ns)
    return list(condition.value) if isinstance(condition.value, tuple) else condition.value


def _in_unit(value: Any, unit_ns: int) -> Any:
    if isinstance(value, tuple):
        return [_in_unit(element, unit_ns) for element in value]
    return value // unit_ns if isinstance(value, int) else value


def _containing(part: str, revision: Revision) -> str:
    """Give the pattern for "has this text in it", with what would be a wildcard made literal."""
    if not revision.glob_match:
        return _LIKE_SIGNS.sub(r"\\\g<0>", part)
    literal = _GLOB_SIGNS.sub(r"[\g<0>]", part)
    pattern = f"*{literal}*"
    if len(pattern.encode()) > _PATTERN_BYTES_MAX:
        raise QueryError(f"the text to look for is too long: {part[:40]!r}...")
    return pattern
