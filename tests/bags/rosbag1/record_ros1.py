"""Runs a ROS 1 master, publishers and Debian's recorder, and says what the recorder wrote.

Run by the system's Python, which has ROS 1: `record_ros1.py FOLDER OPTIONS`. Options are JSON:
`arguments` of `rosbag record`, `rows` to publish on each topic, `kill` in place of Ctrl-C, and
`splits` to publish for until there are so many files. Prints as JSON how many messages were
published on each topic, and what Debian's `rosbag` reads from each file.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
OPTIONS = json.loads(sys.argv[2])
HOME = FOLDER.with_name(FOLDER.name + "_home")
os.environ |= {"ROS_HOME": str(HOME), "ROS_LOG_DIR": str(HOME), "ROS_IP": "127.0.0.1"}
# Before the modules of ROS, which read the environment once.
import rosbag  # type: ignore[import-not-found]  # noqa: E402
import rospy  # type: ignore[import-not-found]  # noqa: E402
from rosmaster.master import Master  # type: ignore[import-not-found]  # noqa: E402
from std_msgs.msg import (  # type: ignore[import-not-found]  # noqa: E402
    Duration,
    Float64MultiArray,
    String,
    UInt8MultiArray,
)

RATE_HZ = 500
BLOB_BYTES = 40_000
CONNECT_S = 60.0
QUEUE_ROWS = 5000


def main() -> None:
    """Publish and record."""
    FOLDER.mkdir()
    HOME.mkdir()
    master = Master(port=0)
    master.start()
    os.environ["ROS_MASTER_URI"] = master.uri
    published = drive()
    master.stop()
    files = {path.name: read(path) for path in sorted(FOLDER.iterdir())}
    json.dump({"published": published, "files": files}, sys.stdout)
    sys.stdout.flush()
    # Threads of ROS that wait for the master do not end by themselves.
    os._exit(0)


def drive() -> "Counter[str]":
    """Start the recorder, wait until it listens to every topic, publish, and stop it."""
    rospy.init_node("driver", disable_signals=True, disable_rosout=True)
    kinds = {"text": String, "took": Duration, "numbers": Float64MultiArray}
    topics = {
        f"/{name}": rospy.Publisher(f"/{name}", kind, queue_size=QUEUE_ROWS)
        for name, kind in {**kinds, "blob": UInt8MultiArray}.items()
    }
    latched = {
        name: rospy.Publisher(name, String, queue_size=QUEUE_ROWS, latch=True)
        for name in ("/map", "/calibration")
    }
    recorder = subprocess.Popen(
        [
            "/usr/lib/rosbag/record",
            "--buffsize=0",
            "--min-space=1M",
            "--tcpnodelay",
            *OPTIONS["arguments"],
            *topics,
            *latched,
        ],
        cwd=FOLDER,
        stdout=subprocess.DEVNULL,
    )
    published: Counter[str] = Counter()

    def publish(name: str, *values: Any, **fields: Any) -> None:
        {**topics, **latched}[name].publish(*values, **fields)
        published[name] += 1

    rate = rospy.Rate(RATE_HZ)
    waited = 0
    while any(not each.get_num_connections() for each in {**topics, **latched}.values()):
        waited += 1
        assert waited < RATE_HZ * CONNECT_S, "the recorder does not listen"
        rate.sleep()
    for name in latched:
        publish(name, f"{name} as it was at first")
    row = 0
    while row < OPTIONS["rows"] or len(list(FOLDER.iterdir())) < OPTIONS.get("splits", 0):
        publish("/text", f"Zeile {row} \u00fc\u4e16")
        publish("/took", rospy.Duration.from_sec((row - 50) / 8))
        publish("/numbers", data=[row, row / 7, float("nan"), float("-inf")])
        if row % 4 == 0:
            publish("/blob", data=random.Random(row).randbytes(BLOB_BYTES))
        if row % 400 == 399:
            publish("/map", f"map of row {row}")
        row += 1
        rate.sleep()
    recorder.send_signal(signal.SIGKILL if OPTIONS["kill"] else signal.SIGINT)
    recorder.wait(60)
    rospy.signal_shutdown("done")
    return published


def read(path: Path) -> "list[tuple[str, int, str, str]]":
    """Give topic, time, type and hash of each message, as Debian's `rosbag` reads it."""
    if path.suffix == ".active":
        path = Path(shutil.copy(path, HOME / "reindexed.bag"))
        with rosbag.Bag(str(path), "a", allow_unindexed=True) as bag:
            # As `rosbag reindex` does, which refuses the name.
            for _ in bag.reindex():
                pass
    with rosbag.Bag(str(path)) as bag:
        return [
            (topic, time.to_nsec(), raw[0], hashlib.sha256(raw[1]).hexdigest())
            for topic, raw, time in bag.read_messages(raw=True)
        ]


if __name__ == "__main__":
    main()
