"""Serves a folder until it is killed or told to terminate; prints the port.

Usage: serving.py ROOT [BYTES], the latter a limit to the size of its files, like that of a disk.
"""

import resource
import signal
import sys
from pathlib import Path

from bridge.embedded import EmbeddedServer

if __name__ == "__main__":
    root, *limit_bytes = sys.argv[1:]
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes[0]), int(limit_bytes[0])))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with EmbeddedServer(Path(root)) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        server.serve()
