"""What a sequence says of its content and its sender: the bridge's own block in its metadata.

The disk image of one machine put into the next gives two bridges one instance name. What the other
is sending must not be taken for remains of our own, so each names the process that sends.
"""

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bridge.mapping import BRIDGE_KEY

if TYPE_CHECKING:
    from bridge.client import SequenceHandler

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
PROCESSES = Path("/proc")
# Fields of /proc/PID/stat, counted behind the name: the state of a process, and when it started
# (proc(5)).
STATE_FIELD = 0
START_FIELD = 19
ENDED = frozenset("ZXx")
"""States of processes that have ended, and whose parent has not asked how."""

PARTIAL_NOTE = "partial: "
"""Starts the notification on a sequence that lacks something of its recording."""

PART_PREFIX = "p"
"""Goes before a part's identity as key of the metadata: a path step of digits may mean an index."""


def marks_of(handler: "SequenceHandler") -> Mapping[str, Any]:
    """Give what the bridge that sent a sequence wrote into its metadata; empty for others'."""
    block = handler.user_metadata.get(BRIDGE_KEY)
    return block if isinstance(block, Mapping) else {}


def parts_as_metadata(parts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give parts in the form in which a sequence's metadata names them.

    As keys, because every revision can be asked whether a key exists, and none before G2c what is
    in a list.

    Args:
        parts: Identity and file name of each.
    """
    return {PART_PREFIX + identity: name for identity, name in parts}


def parts_in(marks: Mapping[str, Any]) -> dict[str, str]:
    """Give the parts that a sequence's metadata names: file names by identity."""
    named = marks.get("parts")
    if not isinstance(named, Mapping):
        return {}
    return {str(key).removeprefix(PART_PREFIX): str(name) for key, name in named.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A process on a machine; what is not known is empty.

    Attributes:
        machine: Hash of the machine's own id, which an image carries along.
        boot: The id of the machine's boot, which is never the same on two machines.
        processes: The namespace of process numbers, as containers have their own.
        process: Number and start of the process.
    """

    machine: str = ""
    boot: str = ""
    processes: str = ""
    process: str = ""

    @classmethod
    @functools.cache
    def here(cls) -> Self:
        """Give this process."""
        pid = os.getpid()
        namespace = ""
        with contextlib.suppress(OSError):
            namespace = str((PROCESSES / "self" / "ns" / "pid").readlink())
        machine = _text(MACHINE_ID)
        return cls(
            machine=hashlib.sha256(machine.encode()).hexdigest()[:16] if machine else "",
            boot=_text(BOOT_ID),
            processes=namespace,
            process=f"{pid} {_started(pid)}",
        )

    @classmethod
    def of(cls, marks: Mapping[str, Any]) -> Self | None:
        """Read one from a sequence's marks; None where older versions wrote none."""
        plain = marks.get("sender")
        if not isinstance(plain, Mapping):
            return None
        names = ("machine", "boot", "processes", "process")
        return cls(**{name: str(plain.get(name, "")) for name in names})

    def as_metadata(self) -> dict[str, str]:
        """Give it in the form in which a sequence's metadata names it."""
        return {
            "machine": self.machine,
            "boot": self.boot,
            "processes": self.processes,
            "process": self.process,
        }

    def left(self, *, journalled: bool) -> bool:
        """Say whether what this sender has begun, under our name, are remains of our own.

        Args:
            journalled: Whether our journal says that we have begun it, or were about to.
        """
        here = Sender.here()
        if self.boot == here.boot and self.processes == here.processes:
            # The process itself can be looked for.
            return self == here or not self._runs()
        # A power cut on this machine, or another machine of which this one is a copy.
        return journalled and self.machine == here.machine

    def _runs(self) -> bool:
        pid, _, started = self.process.partition(" ")
        return pid.isdigit() and bool(started) and _started(int(pid)) == started


def _started(pid: int) -> str:
    """Give the start of a process in ticks since the boot; empty where there is none.

    One that has ended is none: in a container whose first process asks for no other's end, what is
    left of it stays in the table as long as the container.
    """
    try:
        text = (PROCESSES / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # A process may be named anything, brackets and blanks included.
    fields = text.rpartition(")")[2].split()
    return "" if fields[STATE_FIELD] in ENDED else fields[START_FIELD]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
