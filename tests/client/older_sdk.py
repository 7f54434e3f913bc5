"""Drives a server with an older vendor SDK, 0.3 to 0.6, and prints what it saw, as JSON.

Usage: older_sdk.py PORT, with the SDK on PYTHONPATH.
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")

from mosaicolabs import (  # noqa: E402 - the filter must come first
    Message,
    MosaicoClient,
    QuerySequence,
    String,
)


def main() -> None:
    client = MosaicoClient.connect("127.0.0.1", int(sys.argv[1]))
    with client.sequence_create("theirs", {"k": {"v": 1}}) as writer:
        topic = writer.topic_create("/a/words", {"of": "a"}, String)
        for row in range(5):
            topic.push(Message(timestamp_ns=10 + row, data=String(data=f"word {row}")))
    sequence = client.sequence_handler("theirs")
    handler = client.topic_handler("theirs", "/a/words")
    words = [message.get_data(String).data for message in handler.get_data_streamer()]
    window = handler.get_data_streamer(start_timestamp_ns=11, end_timestamp_ns=13)
    times = [message.timestamp_ns for message in window]  # one streamer at a time
    found = client.query(QuerySequence().with_name("theirs"))
    seen = {
        "topics": sequence.topics,
        "metadata": sequence.user_metadata,
        "range": [sequence.timestamp_ns_min, sequence.timestamp_ns_max],
        "of topic": handler.user_metadata,
        "tag": handler.ontology_tag,
        "words": words,
        "window": times,
        "found": [[item.sequence.name, [topic.name for topic in item.topics]] for item in found],
    }
    client.close()
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
