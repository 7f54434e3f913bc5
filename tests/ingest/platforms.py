"""A platform of any revision: our own server where it speaks it, a shim otherwise."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.client import MosaicoClient
from tests.servers.old.keyed import KeyedServer
from tests.servers.old.session import SessionServer
from tests.servers.served import embedded_server

REVISIONS = ("G1.0", "G1.1", "G1.2", "G2a", "G2b", "G2c", "G2d")
# The two that are whole in every run, the others in the long one.
EVERY_REVISION = [
    pytest.param(one, marks=() if one in {"G1.2", "G2d"} else pytest.mark.slow) for one in REVISIONS
]


@contextlib.contextmanager
def platform(revision: str, folder: Path) -> Iterator[MosaicoClient]:
    """Serve a revision and connect to it."""
    if revision in {"G1.2", "G2d"}:
        served = embedded_server(folder, "G1.2" if revision == "G1.2" else "G2d")
    else:
        served = (KeyedServer if revision.startswith("G1") else SessionServer)(revision)
    with served as server, MosaicoClient.connect("127.0.0.1", server.port) as client:
        assert client.revision[:2] == revision[:2]
        yield client
