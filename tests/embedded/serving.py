"""Serves a folder until it is killed; prints the port. Usage: serving.py ROOT [PORT]."""

import sys
from pathlib import Path

from bridge.embedded import EmbeddedServer

if __name__ == "__main__":
    root, *port = sys.argv[1:]
    with EmbeddedServer(Path(root), port=int(port[0]) if port else 0) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        server.serve()
