"""Messages of protobuf as the mappings that JSON would be, both ways, by a walk over their fields.

Fields are called in `mosaico_bridge.proto` as in the JSON of G2d, so one walk serves all messages.
What is not there is None, a plain field that was not sent has the default of its type.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

_GENERATED = "bridge.protobuf.generated.mosaico_bridge_pb2"

_FORMATS = ("", "default", "ragged", "image")
"""The serialization formats by their numbers; 0 is none."""


class MalformedError(ValueError):
    """Bytes are not the message wanted, or a message says what makes no sense."""


class NotProtobufError(MalformedError):
    """Bytes cannot be decoded as the message wanted."""


class NotJsonError(MalformedError):
    """A field that holds JSON holds something else."""


@cache
def kind(name: str) -> Any:
    """Give the class of a message; the first loads the library, which few servers need."""
    return getattr(import_module(_GENERATED), name)


@cache
def _number_of(type_name: str) -> int:
    descriptor = import_module("google.protobuf.descriptor").FieldDescriptor
    number: int = getattr(descriptor, f"TYPE_{type_name}")
    return number


def parse(name: str, body: bytes) -> Any:
    """Decode a message.

    Raises:
        NotProtobufError: The bytes are none.
    """
    message = kind(name)()
    try:
        message.ParseFromString(body)
    except import_module("google.protobuf.message").DecodeError as error:
        raise NotProtobufError(f"failed to decode Protobuf message: {error}") from None
    return message


def fill(message: Any, values: Mapping[str, Any], *, to_bytes: Callable[[str, Any], bytes]) -> Any:
    """Set the fields of a message from a mapping; None leaves one out.

    Args:
        message: The message, which is also given back.
        values: What to set, by the names of the fields.
        to_bytes: Gives what to put into a field of bytes, from its name and its value.

    Raises:
        ValueError, TypeError: A value does not fit its field.
    """
    for name, value in values.items():
        if value is None:
            continue
        field = message.DESCRIPTOR.fields_by_name[name]
        held = getattr(message, name)
        if hasattr(held, "add"):
            for part in value:
                fill(held.add(), part, to_bytes=to_bytes)
        elif hasattr(held, "extend"):
            held.extend(map(_text, value))
        elif field.type == _number_of("MESSAGE"):
            held.SetInParent()  # so that one without any field is sent, too
            fill(held, value, to_bytes=to_bytes)
        elif field.type == _number_of("BYTES"):
            setattr(message, name, to_bytes(name, value))
        elif field.type == _number_of("ENUM"):
            setattr(message, name, _format_number(value))
        else:
            setattr(message, name, _text(value))
    return message


def read(
    message: Any,
    *,
    from_bytes: Callable[[str, bytes], Any],
    format_name: Callable[[int], str],
) -> dict[str, Any]:
    """Give the fields of a message as a mapping, absent ones as None.

    Args:
        message: The message.
        from_bytes: Gives what is in a field of bytes, from its name and its content.
        format_name: Gives the name of a serialization format.

    Raises:
        MalformedError: One of these says so.
    """
    values: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        name = field.name
        held = getattr(message, name)
        if field.has_presence and not message.HasField(name):
            values[name] = None
        elif hasattr(held, "add"):
            values[name] = [
                read(part, from_bytes=from_bytes, format_name=format_name) for part in held
            ]
        elif hasattr(held, "extend"):
            values[name] = list(held)
        elif field.type == _number_of("MESSAGE"):
            values[name] = read(held, from_bytes=from_bytes, format_name=format_name)
        elif field.type == _number_of("BYTES"):
            values[name] = from_bytes(name, held)
        elif field.type == _number_of("ENUM"):
            values[name] = format_name(held)
        else:
            values[name] = held
    return values


def known_format(number: int) -> str:
    """Name a serialization format.

    Raises:
        MalformedError: There is none of that number.
    """
    if not 0 < number < len(_FORMATS):
        raise MalformedError(f"unknown serialization format: {number}")
    return _FORMATS[number]


def any_format(number: int) -> str:
    """Name a serialization format, by its number where a later platform has more of them."""
    return _FORMATS[number] if 0 <= number < len(_FORMATS) else str(number)


def _format_number(name: str) -> int:
    if name not in _FORMATS[1:]:
        raise ValueError(f"there is no serialization format {name!r}")
    return _FORMATS.index(name)


def _text(value: Any) -> Any:
    """Replace what UTF-8 cannot carry, halves of surrogate pairs, in a text."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
