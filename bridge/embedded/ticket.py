"""What a DoGet reads: a locator and a time window, in commands and in tickets alike."""

from dataclasses import dataclass

from bridge.embedded.query.reading import Window
from bridge.embedded.wire import decode, encode, optional_int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A resource and a window of it; its bytes are opaque to clients."""

    locator: str
    window: Window

    def encode(self) -> bytes:
        """Write it as the bytes of a Flight ticket."""
        return encode(
            {
                "resource_locator": self.locator,
                "timestamp_ns_start": self.window.start_ns,
                "timestamp_ns_end": self.window.end_ns,
            }
        )


def decode_resource(text: bytes) -> Ticket:
    """Read a locator with an optional time window, of a ticket or a command.

    Raises:
        MalformedError: It is not that.
    """
    wanted = decode(text, {"resource_locator": str})
    window = Window(
        start_ns=optional_int64(wanted, "timestamp_ns_start"),
        end_ns=optional_int64(wanted, "timestamp_ns_end"),
    )
    return Ticket(locator=wanted["resource_locator"], window=window)
