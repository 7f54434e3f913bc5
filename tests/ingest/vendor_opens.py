"""Opens a sequence in every way that the unmodified vendor SDK has; prints what it got, as JSON.

A process of its own, because the SDK warns and logs in ways our test run forbids.
Usage: vendor_opens.py PORT SEQUENCE START_NS BAG
"""

import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import mosaicolabs.models.futures  # noqa: E402, F401 - registers the cloud, scan and grid models
from mosaicolabs import MosaicoClient, Query, QueryTopic  # noqa: E402 - the filter comes first
from mosaicolabs.bridges.ros import ROSExtractorConfig, ROSSequenceExtractor  # noqa: E402
from mosaicolabs.ml import DataFrameExtractor  # noqa: E402
from rosbags.typesys import Stores  # noqa: E402


def main() -> None:
    port, name, start_ns, bag = sys.argv[1:]
    with MosaicoClient.connect(host="localhost", port=int(port)) as client:
        sequence = client.sequence_handler(name)
        seen: dict[str, Any] = {"typed": {}, "queried": {}, "frames": {}}
        for topic in sequence.topics:
            handler = client.topic_handler(name, topic)
            kinds = [type(message.data).__name__ for message in handler.get_data_streamer()]
            seen["typed"][topic] = kinds
            found = client.query(query=Query(QueryTopic().with_ontology_tag(handler.ontology_tag)))
            seen["queried"][topic] = topic in {
                each.name for item in found or () for each in item.topics
            }
        seen["merged"] = Counter(topic for topic, _ in sequence.get_data_streamer())
        window = sequence.get_data_streamer(
            start_timestamp_ns=int(start_ns) + 1, end_timestamp_ns=int(start_ns) + 2
        )
        seen["windowed"] = Counter(topic for topic, _ in window)
        frames = DataFrameExtractor(sequence).to_pandas_chunks(window_sec=60.0)
        columns = Counter(
            column.partition(".")[0] for frame in frames for column in frame.columns if len(frame)
        )
        seen["frames"] = dict(columns)
    ROSSequenceExtractor(
        ROSExtractorConfig(
            saving_path=Path(bag),
            sequence_name=name,
            host="localhost",
            port=int(port),
            ros_distro=Stores.ROS2_JAZZY,
            log_level="ERROR",
        )
    ).run()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
