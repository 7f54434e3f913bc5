"""A TCP proxy before the platform that can cut, freeze, refuse, delay, and answer wrongly."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Coroutine
from typing import Any, Self

CHUNK_BYTES = 64 << 10
# What answers in the platform's place where a network wants people to log in first.
PORTAL = (
    b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Type: text/html\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class ChaosProxy:
    """Forwards one port to another, in a thread of its own; a context manager.

    Args:
        target_port: Where the platform listens on loopback.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.connections = 0
        self.forwarded_bytes = 0
        # Cut each connection after so many bytes towards the platform; None for never.
        self.cut_after_bytes: int | None = None
        # Hold each piece back for so long, both ways.
        self.delay_s = 0.0
        # Let everything arrive so much later, both ways, as a long line does: as much at a time.
        self.latency_s = 0.0
        # Answer in the platform's place.
        self.portal = False
        # Give the bridge noise for what the platform says.
        self.noise = False
        self._chance = random.Random(0)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._flows.set()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._call(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def accept(self) -> None:
        """Take connections, on the same port as ever."""
        self._call(self._listen())

    def refuse(self) -> None:
        """Take no connections any more, and cut those that there are."""
        self._call(self._shut())
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        self._call(self._cut())

    def freeze(self) -> None:
        """Let nothing through, without a word to either side."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def thaw(self) -> None:
        """Let everything through again."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _cut(self) -> None:
        for line in tuple(self._lines):
            line.transport.abort()

    async def _finish(self) -> None:
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connect(self, down: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.portal:
            with contextlib.suppress(OSError):
                back.write(PORTAL)
                await back.drain()
            back.close()
            return
        try:
            up_reader, up = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            back.transport.abort()
            return
        self._lines |= {back, up}
        try:
            await asyncio.gather(
                self._pump(down, up, counted=True), self._pump(up_reader, back, counted=False)
            )
        finally:
            self._lines -= {back, up}
            back.transport.abort()
            up.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while some := await source.read(CHUNK_BYTES):
                await self._flows.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if self.latency_s:
                    asyncio.get_running_loop().call_later(self.latency_s, target.write, some)
                    continue
                if self.noise and not counted:
                    some = self._chance.randbytes(len(some))
                passed += len(some)
                self.forwarded_bytes += len(some)
                limit = self.cut_after_bytes
                if counted and limit is not None and passed > limit:
                    break
                target.write(some)
                await target.drain()
            await asyncio.sleep(self.latency_s)
        target.transport.abort()
