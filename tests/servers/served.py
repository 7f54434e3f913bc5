"""The embedded server, or the same archive in the keyed dialect, to judge our client by."""

from pathlib import Path
from typing import Literal

from bridge.embedded import EmbeddedServer
from tests.servers.keyed.dialect import KEYED

Revision = Literal["G2d", "G1.2"]


class KeyedEmbeddedServer(EmbeddedServer):
    """Speaks G1.2, which has neither API keys nor TLS."""

    dialect = KEYED


def embedded_server(folder: Path, revision: Revision = "G2d") -> EmbeddedServer:
    """Make a server of a revision over a folder."""
    return (KeyedEmbeddedServer if revision == "G1.2" else EmbeddedServer)(folder)
