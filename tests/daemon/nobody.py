"""How to run a program as a user who owns nothing and may do nothing special, from root's tests."""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65534
AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--bounding-set=-all", "--inh-caps=-all",
)  # fmt: skip

# $1 is the interpreter's folder: where it lies in a home folder that others may not enter, the home
# is replaced, for this process alone, by an empty one in which nothing but that folder is.
IN_SIGHT = """
set -eu
mount --make-rprivate /
base=$1; shift
mount --bind "$base" /mnt
mount -t tmpfs -o mode=0755 tmpfs "$HOME"
mkdir -p "$base"
mount --bind /mnt "$base"
umount /mnt
exec "$@"
"""
WITH_INTERPRETER = (
    "unshare", "--mount", "sh", "-c", IN_SIGHT, "sh", sysconfig.get_config_var("installed_base"),
)  # fmt: skip


@functools.cache
def as_nobody() -> tuple[str, ...]:
    """Give what to put before a command to run it as nobody; empty where that is not possible."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return ()
    # An interpreter out of reach may come out as another one further down the search path.
    same = f"import sys, bridge; sys.exit(sys.version != {sys.version!r})"
    probe = (sys.executable, "-c", same)
    for prefix in (AS_NOBODY, (*WITH_INTERPRETER, *AS_NOBODY)):
        done = subprocess.run(
            [*prefix, *probe],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        if done.returncode == 0:
            return prefix
    return ()
