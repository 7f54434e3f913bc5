"""Scratch folders: made when needed, gone afterwards, swept when a killed process left them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.bags import sweep_scratch
from bridge.bags.scratch import SCRATCH_PREFIX, scratch_folder

HOLDER = """
import sys, time
from pathlib import Path
from bridge.bags.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), needed_bytes=1) as folder:
    (folder / "expanded.db3").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(60)
"""


def test_folder_is_made_with_its_parents_and_removed(tmp_path: Path) -> None:
    """The first recording that needs scratch space finds no folder for it."""
    parent = tmp_path / "state" / "scratch"
    with scratch_folder(parent, needed_bytes=1) as folder:
        assert folder.parent == parent
        assert folder.stat().st_mode & 0o077 == parent.stat().st_mode & 0o077 == 0
    assert not list(parent.iterdir())


def test_only_folders_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    """A kill -9 leaves its folder to the next start; what lives, or is not ours, stays."""
    stranger = tmp_path / "notes"
    stranger.mkdir()
    link = tmp_path / f"{SCRATCH_PREFIX}link"
    link.symlink_to(stranger)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        with scratch_folder(tmp_path, needed_bytes=1) as ours:
            alive = sweep_scratch(tmp_path), theirs.exists(), ours.exists()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    left = theirs.exists()

    assert alive == (0, True, True)
    assert left
    assert sweep_scratch(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == [link, stranger]


def test_sweeping_where_there_is_nothing_is_no_error(tmp_path: Path) -> None:
    """A first start has no scratch folder yet."""
    assert sweep_scratch(tmp_path / "none") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_folders_of_other_users_are_left_alone(tmp_path: Path) -> None:
    """In a shared temporary folder other bridges have theirs."""
    theirs = tmp_path / f"{SCRATCH_PREFIX}theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    assert sweep_scratch(tmp_path) == 0
    assert theirs.exists()
