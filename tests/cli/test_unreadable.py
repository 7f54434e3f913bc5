"""Commands of somebody who may not read what they are pointed at: findings and errors, no crash."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import write_drive
from bridge.daemon import Journal

NOBODY = 65534
# The interpreter's own files may be closed to others, too: what it needs is loaded before.
AS_NOBODY = """
import os, sys
import encodings.ascii, encodings.idna, http.client
from bridge.cli import main
import bridge.cli.program, bridge.cli.{module}
os.setgid({user}); os.setuid({user}); os.chdir("/")
sys.argv = ["mosaico-bridge", *sys.argv[1:]]
main()
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that nobody else may enter, with a recording and a journal in it."""
    base = Path(tempfile.mkdtemp(prefix="closed-"))
    write_drive(base, name="drive", start_ns=1_760_000_000_000_000_000, duration_s=1.0)
    with Journal.own(base / "state"):
        pass
    yield base
    shutil.rmtree(base)


def as_nobody(module: str, *words: str | Path) -> "subprocess.CompletedProcess[str]":
    program = AS_NOBODY.format(module=module, user=NOBODY)
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("inner", ["", "drive"])
def test_check_makes_a_finding_of_a_folder_that_cannot_be_read(closed: Path, inner: str) -> None:
    """Not an error of the command line: the other findings are there as well."""
    done = as_nobody(
        "check.command", "check", "--folder", closed / inner, "--state", "/tmp/not-there", "--json"
    )

    assert done.returncode == 1, done.stderr
    assert '"watch.folder"' in done.stdout
    assert "cannot be read" in done.stdout
    assert '"clock"' in done.stdout


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("ingest", ("ingest", "{base}/drive", "--embedded", "--state", "/tmp/not-there"), 65),
        ("inspect", ("inspect", "{base}/drive"), 65),
        ("run", ("once", "--folder", "{base}/drive", "--embedded"), 78),
        ("retry", ("retry", "--all", "--state", "{base}/state"), 1),
        ("retry", ("forget", "1", "--state", "{base}/state"), 1),
        ("verify", ("verify", "--all", "--state", "{base}/state"), 1),
        ("notifications", ("notifications", "list", "--state", "{base}/state"), 1),
        ("status", ("status", "--state", "{base}/state", "--http-port", "1"), 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_every_command_says_what_may_not_be_read(
    closed: Path, module: str, words: tuple[str, ...], code: int
) -> None:
    """One line that names the path, no traceback, the code of the documentation."""
    done = as_nobody(module, *(word.format(base=closed) for word in words))

    assert done.returncode == code, done.stderr
    assert str(closed) in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("/tmp/not-there").exists()
