"""Real recordings made by others, and what an independent reader sees in a bag."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from mcap.reader import make_reader

BAGS = Path(__file__).parent.parent.parent / "shared" / "bags"


def real_bag(name: str) -> Path:
    """Give a real recording, or skip the test where there are none."""
    path = BAGS / name
    if not path.exists():
        pytest.skip(f"no real recordings at {BAGS}")
    return path


def mcap_messages(bag: Path) -> dict[str, list[tuple[int, str, str, bytes]]]:
    """Read all messages of a folder of MCAP files with the `mcap` library.

    Returns:
        By topic, in order of record time: time, type, definition and payload.
    """
    found: dict[str, list[tuple[int, str, str, bytes]]] = defaultdict(list)
    for file in sorted(bag.glob("*.mcap")):
        with file.open("rb") as stream:
            for schema, channel, message in make_reader(stream).iter_messages():
                assert schema is not None
                found[channel.topic].append(
                    (message.log_time, schema.name, schema.data.decode(), message.data)
                )
    return {topic: sorted(messages, key=lambda each: each[0]) for topic, messages in found.items()}


def plain(value: Any) -> Any:
    """Turn a message that rosbags decoded into plain lists, dicts and numbers."""
    if hasattr(value, "__dataclass_fields__"):
        names = (name for name in value.__dataclass_fields__ if name != "__msgtype__")
        return {name: plain(getattr(value, name)) for name in names}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value
