"""What goes over the wire is counted as the kernel does, and leaves at the rate that is set."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bridge.client import Pacer, UplinkShare, Wire
from tests.waiting import wait_for

MEGABYTE = 1_000_000
GREETING = b"good morning"


class Sink:
    """A peer that greets everybody, then reads everything and counts it."""

    def __init__(self) -> None:
        self.received = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def connect(self) -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port))
        left = len(GREETING)
        while left:
            left -= len(line.recv(left))
        return line

    def await_bytes(self, wanted: int) -> None:
        wait_for(lambda: self.received >= wanted)

    def close(self) -> None:
        # Closing alone would not wake the thread.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._read, args=(line,)))
            self._threads[-1].start()

    def _read(self, line: socket.socket) -> None:
        with line:
            line.sendall(GREETING)
            while some := line.recv(1 << 16):
                self.received += len(some)


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    yield sink
    sink.close()


class Reports:
    """Adds up what a pacer reports."""

    def __init__(self) -> None:
        self.moved = Wire()
        self.held = 0
        self.calls = 0

    def __call__(self, moved: Wire, held: bool) -> None:  # noqa: FBT001 - a pacer's callback
        self.moved = Wire(
            sent=self.moved.sent + moved.sent, received=self.moved.received + moved.received
        )
        self.held += held
        self.calls += 1


def test_all_bytes_of_all_connections_are_counted_and_reported(sink: Sink) -> None:
    """The sum of the reports is what the peer got and gave, closed connections included."""
    reports = Reports()
    with sink.connect() as old:
        old.sendall(bytes(5000))
        with Pacer("127.0.0.1", sink.port, share=UplinkShare(), report=reports) as pacer:
            with sink.connect() as first, sink.connect() as second:
                first.sendall(bytes(MEGABYTE))
                second.sendall(bytes(2 * MEGABYTE))
                wait_for(lambda: pacer.total.sent >= 3 * MEGABYTE)
            with sink.connect() as third:
                third.sendall(bytes(MEGABYTE))
                old.sendall(bytes(1000))
                wait_for(lambda: pacer.total.sent >= 4 * MEGABYTE + 1000)
    assert reports.moved == pacer.total
    assert reports.moved.sent == 4 * MEGABYTE + 1000
    assert reports.moved.received == 3 * len(GREETING)


def test_what_tcp_sends_again_counts_once() -> None:
    """A peer that drops packets gets them twice; the count is that of the bytes it was given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as line, listener.accept()[0] as peer:
            with Pacer("127.0.0.1", port, share=UplinkShare(), report=Reports()) as pacer:
                line.sendall(bytes(60_000))
                taken = read(peer, 60_000)
                # Less room than was announced: what does not fit is dropped.
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                writer = threading.Thread(target=line.sendall, args=(bytes(100_000),))
                writer.start()
                wait_for(lambda: retransmitted(line) > 0)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MEGABYTE)
                taken += read(peer, 100_000)
                writer.join()
            assert retransmitted(line) > 0
            assert pacer.total.sent == taken == 160_000


def read(line: socket.socket, size: int) -> int:
    """Take so many bytes and say how many they were."""
    taken = 0
    while taken < size:
        taken += len(line.recv(min(2000, size - taken)))
    return taken


def retransmitted(line: socket.socket) -> int:
    """Bytes sent again, as the kernel counts them (`tcpi_bytes_retrans`)."""
    return int.from_bytes(line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216)[208:], "little")


def test_rate_holds_in_the_middle_of_a_large_write_and_may_change(sink: Sink) -> None:
    """One write of many seconds leaves evenly, and at another rate as soon as there is one."""
    share = UplinkShare(bytes_per_second=2 * MEGABYTE)
    marks: list[tuple[float, int]] = []
    with (
        sink.connect() as line,
        Pacer("127.0.0.1", sink.port, share=share, report=Reports()) as pacer,
    ):
        # What was open before the pacer is paced like the rest; give it a look's time.
        pacer.wait_turn(threading.Event())
        time.sleep(0.5)
        writer = threading.Thread(target=line.sendall, args=(bytes(40 * MEGABYTE),))
        writer.start()
        # A rate is measured over what arrives, after the first of it.
        for rate, ahead in ((2 * MEGABYTE, MEGABYTE), (8 * MEGABYTE, 4 * MEGABYTE)):
            share.bytes_per_second = rate
            for more in (ahead, rate):
                sink.await_bytes(sink.received + more)
                marks.append((time.monotonic(), sink.received))
        share.bytes_per_second = None
        writer.join(20)
        assert not writer.is_alive()
    slow, fast = (
        (after[1] - before[1]) / (after[0] - before[0]) / MEGABYTE
        for before, after in (marks[:2], marks[2:])
    )
    assert slow == pytest.approx(2.0, rel=0.3)
    assert fast == pytest.approx(8.0, rel=0.3)


def test_batches_wait_their_turn_where_the_kernel_does_not_pace(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the kernel's help the mean over batches keeps to the rate."""
    monkeypatch.setattr("bridge.client.pacing._pace", lambda _connection, _rate: None)
    share = UplinkShare(bytes_per_second=MEGABYTE)
    with (
        Pacer("127.0.0.1", sink.port, share=share, report=Reports()) as pacer,
        sink.connect() as line,
    ):
        began_s = time.monotonic()
        for _ in range(6):
            pacer.wait_turn(threading.Event())
            line.sendall(bytes(MEGABYTE // 2))
            time.sleep(0.05)
        took_s = time.monotonic() - began_s
    # Five halves of a second, less the burst that is allowed and the look's interval.
    assert 1.2 < took_s < 5.0


def test_nothing_leaves_while_held_and_the_wait_ends_when_given_up(sink: Sink) -> None:
    """A share of 0 holds the next batch back, says so, and lets go when the share is back."""
    share, reports = UplinkShare(bytes_per_second=0), Reports()
    given_up = threading.Event()
    with Pacer("127.0.0.1", sink.port, share=share, report=reports) as pacer:
        releases: tuple[tuple[Callable[[], None], float], ...] = (
            (lambda: setattr(share, "bytes_per_second", 1000), 1.3),
            (lambda: setattr(share, "bytes_per_second", None), 0.4),
            (given_up.set, 0.4),
        )
        for release, after_s in releases:
            share.bytes_per_second = 0
            waiting = threading.Thread(target=pacer.wait_turn, args=(given_up,))
            waiting.start()
            waiting.join(after_s)
            assert waiting.is_alive()
            release()
            waiting.join(2.0)
            assert not waiting.is_alive()
    assert reports.held >= 1
    assert reports.moved == Wire()
