"""Drives a server with the unmodified vendor SDK and prints what it saw, as JSON.

A process of its own, because the SDK warns and logs in ways our test run forbids.
Usage: vendor_sdk.py PORT write|read|query|errors|complain|listen [CERTIFICATE KEY]
"""

import json
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")

from mosaicolabs import (  # noqa: E402 - the filter must come first
    GPS,
    IMU,
    Image,
    Message,
    MosaicoClient,
    Point3d,
    Query,
    QueryOntologyCatalog,
    QuerySequence,
    QueryTopic,
    SessionLevelErrorPolicy,
    String,
    Vector3d,
)

ROWS = 1000


def write(client: Any) -> Any:
    with client.sequence_create("drive-1", {"driver": {"id": "d1"}, "rain": False}) as writer:
        imu = writer.topic_create("/imu/front", {"rate": 100}, IMU)
        gps = writer.topic_create("/gps", {}, GPS)
        camera = writer.topic_create("/camera", {}, Image)
        words = writer.topic_create("/words", {}, String)
        for row in range(ROWS):
            imu.push(
                Message(
                    timestamp_ns=1000 + row,
                    data=IMU(
                        acceleration=Vector3d(x=row / 10, y=-1.0, z=9.81),
                        angular_velocity=Vector3d(x=0.0, y=0.0, z=row),
                    ),
                )
            )
        for row in range(10):
            position = Point3d(x=8.5, y=47.3, z=400.0 + row)
            gps.push(Message(timestamp_ns=1000 + 100 * row, data=GPS(position=position)))
            words.push(Message(timestamp_ns=1005 + 100 * row, data=String(data=f"word {row}")))
        pixels = Image.from_linear_pixels(
            data=list(range(12)), stride=4, height=3, width=4, encoding="mono8"
        )
        camera.push(Message(timestamp_ns=1500, data=pixels))
    return {"sequences": client.list_sequences()}


def read(client: Any) -> Any:
    sequence = client.sequence_handler("drive-1")
    topic = client.topic_handler("drive-1", "/imu/front")
    imu = list(topic.get_data_streamer())
    window = list(topic.get_data_streamer(start_timestamp_ns=1100, end_timestamp_ns=1200))
    (picture,) = client.topic_handler("drive-1", "/camera").get_data_streamer()
    merged = [message.timestamp_ns for _, message in sequence.get_data_streamer()]
    return {
        "topics": sorted(sequence.topics),
        "metadata": sequence.user_metadata,
        "range": [sequence.timestamp_ns_min, sequence.timestamp_ns_max],
        "locked": [session.locked for session in sequence.sessions],
        "bytes": sequence.total_size_bytes,
        "topic": {
            "chunks": topic.chunks_number,
            "locked": topic.locked,
            "tag": topic.ontology_tag,
            "metadata": topic.user_metadata,
        },
        "imu": [[message.timestamp_ns, message.get_data(IMU).acceleration.x] for message in imu],
        "window": [message.timestamp_ns for message in window],
        "heights": [
            message.get_data(GPS).position.z
            for message in client.topic_handler("drive-1", "/gps").get_data_streamer()
        ],
        "words": [
            message.get_data(String).data
            for message in client.topic_handler("drive-1", "/words").get_data_streamer()
        ],
        "picture": list(picture.get_data(Image).to_linear_pixels()),
        "merged": merged,
    }


def query(client: Any) -> Any:
    def found(*queries: Any) -> Any:
        response = client.query(query=Query(*queries))
        return {
            item.sequence.name: sorted(topic.name for topic in item.topics) for item in response
        }

    fast = QueryOntologyCatalog().with_expression(IMU.Q.acceleration.x.gt(99.0))
    (item,) = client.query(query=Query(fast))
    return {
        "by name": found(QuerySequence().with_name_match("drive*")),
        "by substring": found(QuerySequence().with_name_match("rive")),
        "by metadata": found(QuerySequence().with_user_metadata("driver.id", eq="d1")),
        "by topic": found(QueryTopic().with_name("/gps")),
        "by content": found(fast),
        "by both": found(QueryTopic().with_name("/gps"), fast),
        "nothing": found(QueryOntologyCatalog().with_expression(IMU.Q.acceleration.x.gt(1e6))),
        "clusters": [
            [cluster.timerange.start, cluster.timerange.end]
            for cluster in item.topics[0].clusterize()
        ],
    }


def errors(client: Any) -> Any:
    def fail(name: str, policy: SessionLevelErrorPolicy) -> None:
        try:
            with client.sequence_create(name, {}, on_error=policy) as writer:
                topic = writer.topic_create("/words", {}, String)
                topic.push(Message(timestamp_ns=1, data=String(data="x")))
                raise ValueError("boom")  # noqa: TRY301 - what a user's code would do
        except ValueError:
            pass

    fail("gone", SessionLevelErrorPolicy.Delete)
    fail("kept", SessionLevelErrorPolicy.Report)
    with client.sequence_update("kept") as writer:
        late = writer.topic_create("/late", {}, String)
        late.push(Message(timestamp_ns=2, data=String(data="y")))
    seen = {
        "sequences": sorted(client.list_sequences()),
        "of sequence": len(client.list_sequence_notifications("kept")),
        "of topic": [
            [each.topic_name, each.message]
            for each in client.list_topic_notifications("kept", "/words")
        ],
    }
    client.clear_sequence_notifications("kept")
    client.clear_topic_notifications("kept", "/words")
    seen["cleared"] = len(client.list_sequence_notifications("kept")) + len(
        client.list_topic_notifications("kept", "/words")
    )
    seen["topics"] = sorted(client.sequence_handler("kept").topics)
    client.sequence_delete("kept")
    seen["after"] = sorted(client.list_sequences())
    return seen


def complain(client: Any) -> Any:
    """Fail under `Report`, so that the SDK leaves notifications."""
    try:
        with client.sequence_create(
            "broken", {}, on_error=SessionLevelErrorPolicy.Report
        ) as writer:
            topic = writer.topic_create("/words", {}, String)
            topic.push(Message(timestamp_ns=1, data=String(data="x")))
            raise ValueError("boom")  # noqa: TRY301 - what a user's code would do
    except ValueError:
        return listen(client, "broken", "/words")


def listen(client: Any, sequence: str = "drive-1", topic: str = "/gps") -> Any:
    """List the notifications of a sequence and of one of its topics."""
    listed = [
        *client.list_sequence_notifications(sequence),
        *client.list_topic_notifications(sequence, topic),
    ]
    return [[each.sequence_name, each.topic_name, each.type.value, each.message] for each in listed]


def main() -> None:
    port, phase, *more = sys.argv[1:]
    options: dict[str, Any] = {}
    if more:
        options = {"enable_tls": True, "tls_cert_path": more[0], "api_key": more[1]}
    phases = {
        "write": write,
        "read": read,
        "query": query,
        "errors": errors,
        "complain": complain,
        "listen": listen,
    }
    with MosaicoClient.connect("127.0.0.1", int(port), **options) as client:
        sys.stdout.write(json.dumps(phases[phase](client)))


if __name__ == "__main__":
    main()
