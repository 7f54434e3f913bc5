"""A link that dies without a word costs the stall time; a slow one is left alone."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bridge.client import MosaicoClient, SequenceWriter
from bridge.client.stall import Peer, resolve
from bridge.embedded import EmbeddedServer
from bridge.errors import BridgeError, TransientError
from bridge.ontology import Integer64


class Link:
    """A TCP relay that can be slowed down and cut off without closing anything."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.bytes_per_s: float | None = None
        self.dead = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(16_384):
                if self.dead.is_set():
                    return  # swallows what comes next, too: nobody reads any more
                if self.bytes_per_s is not None:
                    time.sleep(len(data) / self.bytes_per_s)
                sink.sendall(data)
        except OSError:
            return

    def close(self) -> None:
        self._listener.close()
        for each in self._sockets:
            each.close()


@pytest.fixture
def link(server: EmbeddedServer) -> Iterator[Link]:
    opened = Link(server.port)
    yield opened
    opened.close()


LARGE = pa.record_batch([pa.array(range(50_000), pa.int64())] * 2, schema=Integer64.schema)


def write(writer: SequenceWriter, batches: int, *, then: threading.Event | None = None) -> None:
    with writer:
        topic = writer.topic_create("t", {}, Integer64)
        topic.write_batch(LARGE)
        if then is not None:
            then.set()
        for _ in range(batches - 1):
            topic.write_batch(LARGE)
        topic.close()


def test_dead_link_costs_the_stall_time(link: Link, name: str) -> None:
    """Packets that vanish in the middle of a put end it, without keepalive's help."""
    with MosaicoClient.connect(
        "127.0.0.1", link.port, stall_timeout_s=1.0, call_timeout_s=1.0, keepalive_s=0
    ) as client:
        began_s = time.monotonic()
        with pytest.raises(TransientError, match="no progress"):
            write(client.sequence_create(name, {}), 200, then=link.dead)
        assert time.monotonic() - began_s < 15


def test_keepalive_finds_a_dead_link_first(link: Link, name: str) -> None:
    """With keepalive a dead link is found although the stall time is long."""
    with MosaicoClient.connect(
        "127.0.0.1",
        link.port,
        stall_timeout_s=60.0,
        call_timeout_s=1.0,
        keepalive_s=1.0,
        keepalive_timeout_s=1.0,
    ) as client:
        began_s = time.monotonic()
        with pytest.raises(BridgeError):
            write(client.sequence_create(name, {}), 200, then=link.dead)
        assert time.monotonic() - began_s < 20


def test_slow_link_is_left_alone(link: Link, name: str) -> None:
    """One batch may take many times the stall time, as long as bytes move."""
    with MosaicoClient.connect("127.0.0.1", link.port, stall_timeout_s=0.5) as client:
        link.bytes_per_s = 1_000_000
        began_s = time.monotonic()
        write(client.sequence_create(name, {}), 4)
        assert time.monotonic() - began_s > 2
        link.bytes_per_s = None
        topic = client.topic_handler(name, "t")
        assert topic is not None
        assert topic.row_count == 4 * LARGE.num_rows


def test_only_connections_to_the_peer_are_cut() -> None:
    """Other sockets of the process, to other ports, stay untouched."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        to_one = socket.create_connection(one.getsockname())
        to_other = socket.create_connection(("127.0.0.1", other.getsockname()[1]))
        port = one.getsockname()[1]
        peer = Peer(hosts=resolve("localhost", port), port=port)
        near, _ = one.accept()
        near.sendall(b"x" * 100)
        assert to_one.recv(100, socket.MSG_WAITALL) == b"x" * 100
        assert peer.moved_bytes() >= 100
        assert Peer(hosts=frozenset(), port=port).moved_bytes() >= 100
        assert Peer(hosts=frozenset({"127.0.0.2"}), port=port).moved_bytes() == 0
        assert peer.cut() == 1
        assert to_one.recv(1) == b""
        to_other.sendall(b"still there")
        far, _ = other.accept()
        assert far.recv(11) == b"still there"
        for each in (to_one, to_other, near, far):
            each.close()


def test_descriptors_are_not_leaked() -> None:
    """Looking for the sockets leaves no descriptor open, however many there are."""
    peer = Peer(hosts=frozenset({"127.0.0.1"}), port=1)
    looks = 50
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(looks):
        peer.moved_bytes()
    # gRPC's own threads may open or close a few meanwhile; a leak is at least one for each look.
    assert len(list(Path("/proc/self/fd").iterdir())) < before + looks
