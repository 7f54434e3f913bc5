"""The embedded server in a process of its own."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """Serve a folder until the block ends; yields the port."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, folder), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("stop")
        process.join(20)


def _serve(pipe: Connection, folder: Path) -> None:
    from bridge.embedded import EmbeddedServer

    with EmbeddedServer(folder) as server:
        pipe.send(server.port)
        pipe.recv()
