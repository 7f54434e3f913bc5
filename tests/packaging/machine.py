"""A machine with a systemd of its own: some root's files under a layer that is thrown away.

`systemd-nspawn` boots it in namespaces, without a network but its own loopback, so that units run
in the sandbox that they ask for. What is written inside goes to memory. Needs root, systemd-nspawn
(Debian's systemd-container) and a systemd among this machine's files.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import pytest

BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
CONTROL_GROUPS = Path("/sys/fs/cgroup")
PYTHON = "/opt/python/bin/python3"
DEPENDENCIES = "/opt/dependencies"

# $1 a folder to work in, $2 the root, $3 how folders of this machine are bound into it, then the
# control groups.
SCRIPT = """
set -eu
work=$1 lower=$2 binds=$3; shift 3
for group in "$@"; do mkdir "$group"; echo $$ > "$group/cgroup.procs"; done
mount --make-rprivate /
mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn
mkdir "$work/layer" "$work/root"
mount -t tmpfs tmpfs "$work/layer"
mkdir "$work/layer/upper" "$work/layer/work"
mount -t overlay overlay "$work/root" \
    -o "lowerdir=$lower,upperdir=$work/layer/upper,workdir=$work/layer/work"
exec systemd-nspawn --quiet --directory="$work/root" --register=no --keep-unit --link-journal=no \
    --private-network --console=pipe $binds --boot -- --unit=basic.target
"""


class Machine:
    """A booted machine.

    Attributes:
        root: Its root folder, as this side sees it.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self.root = Path(f"/proc/{leader}/root")

    def try_run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root, and give what came of it."""
        return subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", *command],
            capture_output=True, text=True, timeout=120, check=False,
            env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip

    def run(self, *command: str) -> str:
        """Run a command inside that must succeed, and give what it printed."""
        done = self.try_run(*command)
        if done.returncode != 0:
            log = self.try_run("journalctl", "--no-pager", "--output=cat", "--lines=30").stdout
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{log}")
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """Give one property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def log(self, unit: str) -> str:
        """Give what a unit has logged."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def facts(self, unit: str) -> dict[str, str]:
        """Give what the kernel says about the rights of a unit's main process."""
        status = self.run("cat", f"/proc/{self.show(unit, 'MainPID')}/status")
        pairs = (line.partition(":") for line in status.splitlines())
        return {name: value.strip() for name, _, value in pairs}


@contextmanager
def booted(work: Path, root: Path = Path("/")) -> Iterator[Machine]:
    """Boot a machine, with this Python in it if of this one's files; shut it down at the end."""
    tools = ("systemd-nspawn", "nsenter", "unshare")
    if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in tools):
        pytest.skip("booting a systemd takes root and systemd-nspawn")
    groups = [
        folder / f"mosaico-bridge-test-{os.getpid()}"
        for folder in (CONTROL_GROUPS, CONTROL_GROUPS / "systemd", CONTROL_GROUPS / "unified")
        if (folder / "cgroup.procs").exists()
    ]
    python, packages = sys.base_prefix, sysconfig.get_path("purelib")
    binds = f"--bind-ro={python}:/opt/python --bind-ro={packages}:{DEPENDENCIES}"
    is_this = root == Path("/")
    words = [str(work), str(root), binds if is_this else "", *map(str, groups)]
    with TemporaryFile() as said:
        process = subprocess.Popen(
            ["unshare", "--mount", "--", "sh", "-c", SCRIPT, "machine", *words],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            machine = _wait_until_up(process)
            if machine is None:
                said.seek(0)
                pytest.skip(f"no systemd can be booted here: {said.read()[-300:].decode()}")
            if is_this:
                # So that an interpreter away from where it was built finds its library.
                machine.run("sh", "-c", "echo /opt/python/lib > /etc/ld.so.conf.d/python.conf")
                machine.run("ldconfig")
            yield machine
        finally:
            # Twice means at once.
            process.terminate()
            time.sleep(0.1)
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for group in groups:
                _remove_group(group)


def _wait_until_up(process: subprocess.Popen[bytes]) -> Machine | None:
    """Find the machine's first process and wait until its manager answers; None if it died."""
    give_up_at = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for child in children.read_text(encoding="ascii").split():
            machine = Machine(int(child))
            done = machine.try_run("systemctl", "is-system-running")
            if done.stdout.strip() in {"running", "degraded"}:
                return machine
        time.sleep(0.1)
    return None


def _remove_group(group: Path) -> None:
    """Remove a control group and those below it, once their processes are gone."""
    for folder, _, _ in os.walk(group, topdown=False):
        Path(folder).rmdir()
