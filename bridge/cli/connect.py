"""Where the platform of some settings can be reached from here, whatever runs already."""

from collections.abc import Iterator
from contextlib import contextmanager

from bridge.cli.local_server import platform
from bridge.cli.running import daemon_runs, daemon_server
from bridge.client import MosaicoClient
from bridge.compose import connect
from bridge.config import Settings
from bridge.errors import OfflineError


@contextmanager
def reach(settings: Settings) -> Iterator[MosaicoClient]:
    """Yield a client of the platform, or of the embedded server where none is configured.

    The embedded server belongs to the running bridge, which is asked for its port; where none
    runs, it is started for as long as it takes.

    Raises:
        OfflineError: Nobody answers, or a bridge runs but does not say where its server is.
        RefusedError: The key or the TLS settings are not accepted.
    """
    if settings.uses_embedded_server and daemon_runs(settings.state.folder):
        known = daemon_server(settings)
        if known is None:
            raise OfflineError(
                "the embedded server belongs to the running bridge, which does not say where it is",
                hint="give the bridge's port with --http-port, or the server's with --host, --port",
            )
        with connect(settings, *known) as client:
            yield client
        return
    with platform(settings) as at, connect(settings, at.host, at.port) as client:
        yield client
