"""A real worker on a disk that gives no bytes of certain files while a flag file is there."""

import errno
import os
from pathlib import Path
from typing import Any

FLAG = Path(os.environ["MOSAICO_TEST_FOLDER"]) / "eio"
READ = os.pread


def failing(descriptor: int, *args: Any) -> bytes:
    name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    if FLAG.exists() and name.endswith(".mcap"):
        raise OSError(errno.EIO, os.strerror(errno.EIO), name)
    return READ(descriptor, *args)


os.pread = failing

from bridge.daemon.work.job import main  # noqa: E402 - the disk fails from the first read on

main()
