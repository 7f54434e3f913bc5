"""The API key of a running bridge is seen by the platform and by nobody else."""

import signal
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from bridge.cli import write_drive
from bridge.embedded import EmbeddedServer
from tests.cli.conftest import START_NS, Command, RunningBridge
from tests.waiting import wait_for

# Well formed, so that the platform looks it up; it may read but not write, so that calls fail.
PAYLOAD = "supersecretsupersecretsupersecre"
KEY = f"msco_{PAYLOAD}_{zlib.crc32(PAYLOAD.encode()):08x}"
PAGES = ("metrics", "readyz", "healthz", "api/recordings", "")


@pytest.fixture
def refused(tmp_path: Path) -> Iterator[tuple[RunningBridge, "subprocess.Popen[str]"]]:
    """A bridge with a recording to send and a key that does not permit it."""
    bridge = RunningBridge(tmp_path)
    write_drive(bridge.folder, name="drive", start_ns=START_NS, duration_s=0.3, splits=1)
    with EmbeddedServer(tmp_path / "data", api_keys={KEY: "read"}) as server:
        key = tmp_path / "key"
        key.write_text(KEY, encoding="ascii")
        key.chmod(0o600)
        bridge.write_config(
            f"[server]\nhost = '127.0.0.1'\nport = {server.port}\napi_key_file = '{key}'\n"
            "[log]\nlevel = 'debug'\n"
        )
        with bridge.process() as process:
            yield bridge, process


def page(bridge: RunningBridge, name: str) -> str:
    try:
        with urlopen(f"http://127.0.0.1:{bridge.http_port}/{name}", timeout=5) as answer:
            text: str = answer.read().decode()
    except HTTPError as error:  # readyz says no by its status
        text = error.read().decode()
    except OSError:
        return ""
    return text


def test_key_is_in_no_log_page_metric_or_file(
    refused: tuple[RunningBridge, "subprocess.Popen[str]"], command: Command
) -> None:
    """Refused calls about a recording leave the key in nothing that the bridge says or writes."""
    bridge, process = refused
    wait_for(lambda: "permission" in page(bridge, "readyz"))
    seen = {name or "page": page(bridge, name) for name in PAGES}
    for asked in (("status",), ("status", "--json"), ("check",), ("config", "show")):
        done = command(*asked, "-c", bridge.config)
        seen[" ".join(asked)] = done.out + done.err
    process.send_signal(signal.SIGTERM)
    _, seen["log"] = process.communicate(timeout=60)
    files = [file for file in bridge.state.rglob("*") if file.is_file()]
    seen |= {str(file): file.read_bytes().decode(errors="replace") for file in files}

    assert "mosaico_bridge_" in seen["metrics"]
    assert "permission" in seen["log"]
    assert any(name.endswith((".db", ".sqlite", "-wal")) for name in seen)
    assert [name for name, text in seen.items() if KEY in text or PAYLOAD in text] == []
