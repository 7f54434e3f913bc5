"""The embedded server as a process of its own, to be killed and started again on one folder."""

import sys
from pathlib import Path

from bridge.embedded import EmbeddedServer

with EmbeddedServer(Path(sys.argv[1]), port=int(sys.argv[2])) as server:
    print(server.port, flush=True)  # noqa: T201 - the test reads it
    sys.stdin.read()
