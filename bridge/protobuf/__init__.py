"""The wire format of the platform's protobuf generation (G3), for client and embedded server.

Requests and answers are given and taken in the form that they have as JSON in G2d. The `protobuf`
library is loaded with the first message, not with this package.
"""

from bridge.protobuf.actions import (
    decode_answer,
    decode_facts,
    decode_put,
    decode_request,
    decode_resource,
    encode_answer,
    encode_facts,
    encode_put,
    encode_request,
    encode_resource,
)
from bridge.protobuf.encoding import ProtobufEncoding
from bridge.protobuf.messages import MalformedError, NotJsonError, NotProtobufError

__all__ = [
    "MalformedError",
    "NotJsonError",
    "NotProtobufError",
    "ProtobufEncoding",
    "decode_answer",
    "decode_facts",
    "decode_put",
    "decode_request",
    "decode_resource",
    "encode_answer",
    "encode_facts",
    "encode_put",
    "encode_request",
    "encode_resource",
]
