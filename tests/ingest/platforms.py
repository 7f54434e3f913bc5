"""A platform of any revision: our own server where it speaks it, a shim otherwise."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.client import MosaicoClient
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.session import SessionServer
from tests.servers.served import SERVERS

REVISIONS = ("G1.0", "G1.1", "G1.2", "G2a", "G2b", "G2c", "G2d", "G3a", "G3b")
# The two that are whole in every run, the others in the long one.
EVERY_REVISION = [
    pytest.param(one, marks=() if one in {"G1.2", "G2d"} else pytest.mark.slow) for one in REVISIONS
]


@contextlib.contextmanager
def platform(revision: str, folder: Path) -> Iterator[MosaicoClient]:
    """Serve a revision and connect to it."""
    if revision in SERVERS:
        served = SERVERS[revision](folder)
    else:
        served = (KeyedServer if revision.startswith("G1") else SessionServer)(revision)
    with served as server, MosaicoClient.connect("127.0.0.1", server.port) as client:
        assert client.revision[:2] == revision[:2]
        yield client
