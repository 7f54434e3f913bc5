"""Run inside an environment with cyclonedds: prints messages in both versions of CDR.

One line of JSON for each message: its type, its values, its payload in hex. The types are those
of `test_real_serialisation.py`, said here in the terms of the library.
"""

# The library is not installed where types are checked.
# mypy: disable-error-code="misc, call-arg, return-value, arg-type"

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from enum import auto
from typing import Any

from cyclonedds import idl  # type: ignore[import-not-found]
from cyclonedds.idl import annotations, types  # type: ignore[import-not-found]

draw = random.Random(7)
SAMPLES = 30


class Colour(idl.IdlEnum, typename="m.Colour", default="RED"):
    RED = auto()
    GREEN = auto()


@dataclass
@annotations.appendable
class Point(idl.IdlStruct, typename="m.Point"):
    x: types.int32
    y: types.float64


@dataclass
@annotations.final
class Plain(idl.IdlStruct, typename="m.Plain"):
    b: types.uint8
    s: str


@dataclass
@annotations.appendable
class Grown(idl.IdlStruct, typename="m.Grown"):
    a: types.uint8
    p: Point
    many: types.sequence[Point]
    plain: types.sequence[Plain]
    c: Colour
    cs: types.sequence[Colour]
    three: types.array[types.int16, 3]
    two: types.array[Plain, 2]
    texts: types.sequence[str]
    rows: types.sequence[types.sequence[types.int32]]
    big: types.int64
    flags: types.sequence[bool]


@dataclass
@annotations.final
class Fixed(idl.IdlStruct, typename="m.Fixed"):
    a: types.uint8
    plain: Plain
    p: Point
    d: types.float64
    points: types.array[Point, 2]


def number(bits: int) -> int:
    return draw.randrange(-(2 ** (bits - 1)), 2 ** (bits - 1))


def some(make: Callable[[], Any], most: int = 4) -> list[Any]:
    return [make() for _ in range(draw.randrange(most))]


def word() -> str:
    return draw.choice(["", "a", "abc", "größer", "x" * 17])


def point() -> Point:
    return Point(number(32), number(20) / 8)


def plain() -> Plain:
    return Plain(draw.randrange(256), word())


def colour() -> Colour:
    return draw.choice([Colour.RED, Colour.GREEN])


def grown() -> Grown:
    return Grown(
        draw.randrange(256), point(), some(point), some(plain), colour(), some(colour),
        [number(16) for _ in range(3)], [plain(), plain()], some(word),
        some(lambda: some(lambda: number(32))), number(64), some(lambda: draw.random() < 0.5),
    )  # fmt: skip


def fixed() -> Fixed:
    return Fixed(draw.randrange(256), plain(), point(), number(20) / 8, [point(), point()])


def values(found: Any) -> Any:
    if is_dataclass(found):
        return {name: values(value) for name, value in asdict(found).items()}
    if isinstance(found, dict):
        return {name: values(value) for name, value in found.items()}
    if isinstance(found, list):
        return [values(value) for value in found]
    return found.value if isinstance(found, Colour) else found


MAKERS: tuple[Callable[[], Any], ...] = (grown, fixed)
for make in MAKERS:
    for _ in range(SAMPLES):
        made = make()
        for version in (1, 2):
            payload = made.serialize(use_version_2=version == 2)
            line = {"type": f"m/{type(made).__name__}", "version": version, "values": values(made)}
            print(json.dumps(line | {"payload": payload.hex()}))  # noqa: T201
