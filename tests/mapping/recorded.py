"""Messages the way they really take: serialised by rosbags or by hand, decoded by us."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rosbags.typesys.store import Typestore

from bridge.cdr import Decoder
from bridge.definitions import canonical_text, parse_definition
from bridge.mapping import MappedBlock, TopicOptions, TopicPlan, plan_topic
from bridge.model import DecodedBlock, Definition, MessageBlock, Serialization
from tests.mapping.rosmsg import LOG_TIME_NS, topic


def block_of(payloads: Sequence[bytes]) -> MessageBlock:
    """Payloads recorded a nanosecond apart."""
    ends = np.cumsum([len(payload) for payload in payloads], dtype=np.int64)
    return MessageBlock(
        topic=0,
        log_times_ns=LOG_TIME_NS + np.arange(len(payloads), dtype=np.int64),
        data=np.frombuffer(b"".join(payloads), np.uint8),
        starts=np.concatenate([np.zeros(1, np.int64), ends[:-1]]),
        ends=ends,
    )


def through_decoder(
    msgtype: str,
    text: str,
    payloads: Sequence[bytes],
    *,
    encoding: str = "ros2msg",
    options: TopicOptions | None = None,
) -> tuple[TopicPlan, DecodedBlock, MappedBlock]:
    """Plan for a definition text and map payloads."""
    definition = Definition(encoding=encoding, text=text)
    parsed = parse_definition(msgtype, definition)
    ros1 = encoding == "ros1msg"
    serialization = Serialization.ROS1 if ros1 else Serialization.CDR
    decoder = Decoder(parsed, serialization=serialization)
    plan = plan_topic(
        topic(msgtype, serialization=serialization),
        parsed,
        decoder.arrow_type,
        options=options or TopicOptions(),
        msgdef=canonical_text(parsed, ros1=ros1),
        source_file="drive.mcap",
    )
    decoded = decoder.decode(block_of(payloads))
    return plan, decoded, plan.apply(decoded)


def definition_text(store: Typestore, msgtype: str, *, ros1: bool = False) -> str:
    """The definition of a stock type, as a recorder would embed it."""
    return store.generate_msgdef(msgtype, ros_version=1 if ros1 else 2)[0]


def serialised(store: Typestore, message: Any, *, ros1: bool = False) -> bytes:
    """A message as bytes."""
    serialise = store.serialize_ros1 if ros1 else store.serialize_cdr
    return bytes(serialise(message, message.__msgtype__))
