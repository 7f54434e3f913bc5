"""A local Mosaico-compatible server: strict on the wire, durable on disk, in one process."""

from bridge.embedded.access import ApiKey, Permission
from bridge.embedded.server import EmbeddedServer

__all__ = ["ApiKey", "EmbeddedServer", "Permission"]
