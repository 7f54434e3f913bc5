"""Start a program as a service manager or a container engine would, where neither is at hand.

A private mount namespace makes everything read-only but what is named, hides home folders and gives
a `/tmp` of its own; then the program runs as a user that owns nothing, without privileges but those
named. Needs root, `unshare` and `setpriv`.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from tests.packaging.conftest import Installed, clean_environment

USER_ID = 6726
STOP_TIMEOUT_S = 60.0
PYTHON = "/mnt/venv/bin/python"
PROGRAM = (PYTHON, "/mnt/venv/bin/mosaico-bridge")

# $1 the interpreter's folder, then pairs of folder and name below /mnt, then `--` and the command.
# Names with a trailing `+` stay writable.
SCRIPT = """
set -eu
mount --make-rprivate /
base=$1; shift
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/python && mount --bind "$base" /mnt/python
keep=" /mnt/python-none "
while [ "$1" != -- ]; do
    name=${2%+}
    mkdir "/mnt/$name" && mount --bind "$1" "/mnt/$name"
    [ "$name" = "$2" ] || keep="$keep/mnt/$name "
    shift 2
done
shift
mount -t tmpfs -o mode=0755 tmpfs /root
mkdir -p "$base" && mount --bind /mnt/python "$base"
mount -t tmpfs -o mode=1777 tmpfs /tmp
cut -d' ' -f5 /proc/self/mountinfo | while read -r point; do
    case "$keep /proc /dev /tmp " in *" $point "*) continue;; esac
    mount -o remount,bind,ro "$point" 2>/dev/null || true
done
for place in / /mnt /root; do
    if touch "$place/.writable" 2>/dev/null; then echo "$place is writable" >&2; exit 99; fi
done
cd /
exec "$@"
"""


def skip_unless_possible() -> None:
    """Skip where namespaces cannot be made."""
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("unshare", "setpriv")):
        pytest.skip("confining a process takes root, unshare and setpriv")
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip("this machine does not allow private mounts")


class Confined:
    """A confined process, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        """What it wrote to standard error so far."""
        return self._log.read_text(encoding="utf-8")

    def facts(self) -> dict[str, str]:
        """Give what the kernel says about its rights."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return {name: value.strip() for name, _, value in map(_split, text.splitlines())}


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


@contextmanager
def confined(
    installed: Installed,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str],
    mounts: Mapping[str, Path],
    capabilities: Sequence[str] = (),
    own_network: bool = False,
) -> Iterator[Confined]:
    """Run a program of an installation and stop it at the end.

    Args:
        installed: What `PROGRAM` starts.
        command: The program with its arguments, in terms of the paths below `/mnt`.
        log: Where its standard error goes.
        environment: Its variables, besides the path.
        mounts: Folders by their names below `/mnt`; those with a `+` at the end stay writable.
        capabilities: Those that are given, as setpriv names them; all others are gone permanently.
        own_network: Give it a loopback device of its own, and nothing else.
    """
    skip_unless_possible()
    everything = {
        "venv": installed.folder,
        "dependencies": Path(sysconfig.get_path("purelib")),
        **mounts,
    }
    pairs = [word for name, folder in everything.items() for word in (str(folder), name)]
    granted = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    up = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"] if own_network else []
    with TemporaryFile() as nothing, log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", *(["--net"] if own_network else []), "--"),
                *("sh", "-c", SCRIPT, "confined", sys.base_prefix, *pairs, "--", *up),
                *("setpriv", "--reuid", str(USER_ID), "--regid", str(USER_ID), "--clear-groups"),
                *("--inh-caps", granted, "--ambient-caps", granted, "--bounding-set", granted),
                *("--no-new-privs", *command),
            ],
            env=clean_environment() | {"PYTHONPATH": "/mnt/dependencies"} | dict(environment),
            stdin=nothing,
            stdout=stream,
            stderr=stream,
        )
        try:
            yield Confined(process, log)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
