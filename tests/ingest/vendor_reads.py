"""Reads a sequence with the unmodified vendor SDK and prints what it saw, as JSON.

A process of its own, because the SDK warns and logs in ways our test run forbids.
Usage: vendor_reads.py PORT SEQUENCE
"""

import json
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")

from mosaicolabs import MosaicoClient  # noqa: E402 - the filter must come first


def main() -> None:
    port, name = sys.argv[1:]
    with MosaicoClient.connect(host="localhost", port=int(port)) as client:
        sequence = client.sequence_handler(name)
        seen: dict[str, Any] = {}
        for topic in sequence.topics:
            handler = client.topic_handler(name, topic)
            seen[topic] = {
                "tag": handler.ontology_tag,
                "rows": [
                    [message.timestamp_ns, plain(message.data)]
                    for message in handler.get_data_streamer()
                ],
            }
    json.dump(seen, sys.stdout)


def plain(value: Any) -> Any:
    """Turn typed models into JSON; bytes become their sum and length, which is enough to differ."""
    if hasattr(value, "raw_data"):
        return plain(value.raw_data)
    if hasattr(value, "model_fields_set"):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, bytes):
        return [len(value), sum(value)]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return getattr(value, "value", value)


if __name__ == "__main__":
    main()
