"""The units that the project counts in: stamps and waits in nanoseconds, sizes in bytes."""

SECOND_NS = 1_000_000_000
"""Nanoseconds of a second."""

DAY_NS = 86_400 * SECOND_NS
"""Nanoseconds of a day."""

MEBIBYTE = 1 << 20
"""Bytes of a mebibyte, in which settings and pages give sizes."""
