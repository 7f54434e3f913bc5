"""The units that the project counts in, and how an address is written."""

SECOND_NS = 1_000_000_000
"""Nanoseconds of a second."""

DAY_NS = 86_400 * SECOND_NS
"""Nanoseconds of a day."""

MEBIBYTE = 1 << 20
"""Bytes of a mebibyte, in which settings and pages give sizes."""


def address_text(host: str, port: int) -> str:
    """Write an address as `host:port`, one of IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def plain_host(host: str) -> str:
    """Take an address of IPv6 out of the brackets that it has in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def counted(number: int, noun: str) -> str:
    """Write how many of something there are: `1 file`, `1,234 files`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
