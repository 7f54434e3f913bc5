"""Serves a platform of an old revision until standard input closes; prints the port.

Usage: python -m tests.servers.serving REVISION
"""

import sys

from tests.servers.old.keyed import KeyedServer
from tests.servers.old.session import SessionServer

if __name__ == "__main__":
    (revision,) = sys.argv[1:]
    with (KeyedServer if revision.startswith("G1") else SessionServer)(revision) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
