"""SIGHUP: the settings are read again, checked, compared, and taken over where they may change."""

import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import write_drive
from bridge.config import Settings, load_settings
from bridge.daemon import CHANGEABLE, plan_reload
from tests.cli.conftest import RunningBridge

DOCUMENT = Path(__file__).parents[2] / "docs" / "run.md"


def settings(**overrides: Any) -> Settings:
    return load_settings(None, {key.replace("__", "."): value for key, value in overrides.items()})


def test_what_may_change_is_applied_and_the_rest_is_refused_by_name() -> None:
    """Each key is named with both values; the refused one stays as it was."""
    before = settings(watch__settle_s=5.0, http__port=9000, retry__attempts_max=3)
    after = settings(watch__settle_s=1.0, http__port=9001, retry__attempts_max=4)
    plan = plan_reload(before, after)

    assert {(one.key, one.before, one.after) for one in plan.applied} == {
        ("watch.settle_s", "5.0", "1.0"),
        ("retry.attempts_max", "3", "4"),
    }
    assert [one.key for one in plan.refused] == ["http.port"]
    assert plan.settings.watch.settle_s == 1.0
    assert plan.settings.http.port == 9000


def test_sections_made_of_free_keys_are_compared_key_by_key() -> None:
    """Topics and metadata come and go; what was taken out is taken out."""
    plan = plan_reload(
        settings(metadata={"vehicle": "a", "crew": "x"}),
        settings(metadata={"vehicle": "b"}, topics={"/imu": {"every_nth": 2}}),
    )

    assert {one.key for one in plan.applied} == {
        "metadata.vehicle", "metadata.crew", "topics./imu",
    }  # fmt: skip
    assert plan.settings.metadata == {"vehicle": "b"}
    assert plan.settings.topics["/imu"].every_nth == 2


def test_secrets_are_not_told() -> None:
    """A key that reads otherwise is refused like anything of the connection, and shown as stars."""
    plan = plan_reload(settings(server__api_key="one"), settings(server__api_key="two"))

    assert [(one.key, one.before, one.after) for one in plan.refused] == [
        ("server.api_key", "***", "***")
    ]


def test_every_changeable_setting_exists_and_is_documented() -> None:
    """The table in the code is the one in docs/run.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for key in CHANGEABLE:
        section, _, name = key.partition(".")
        assert section in Settings.model_fields
        assert not name or name in getattr(Settings(), section).model_dump()
        assert f"`{key}`" in text


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"\0mosaico-bridge-test-{os.getpid()}"
        manager.bind(name)
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:])
        yield manager


def test_a_running_bridge_takes_new_settings_over_on_sighup(
    notices: socket.socket, tmp_path: Path
) -> None:
    """A bad file changes nothing; a good one is in force for the next recording."""
    drive = write_drive(tmp_path, name="drive", start_ns=1_760_000_000 * 10**9, duration_s=0.2)
    bridge = RunningBridge(tmp_path)
    with bridge.process() as process:
        assert process.stderr is not None

        def log_until(words: str) -> dict[str, Any]:
            for line in process.stderr or ():
                if line.startswith("{") and words in line:
                    return dict(json.loads(line))
            pytest.fail(f"the bridge ended without saying: {words}")

        try:
            log_until("started")
            while b"READY=1" not in notices.recv(4096):
                time.sleep(0)
            bridge.write_config("[ingest]\ntopics = 5\n")
            process.send_signal(signal.SIGHUP)
            assert "ingest.topics" in log_until("not reloaded")["message"]

            bridge.write_config("[ingest]\nsequence_name = 'renamed'\n[server]\nport = 1\n")
            process.send_signal(signal.SIGHUP)
            refused = log_until("server.port")
            changed = log_until("ingest.sequence_name")
            shutil.move(drive, bridge.folder)
            sent = log_until("on the platform")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    told = b"\n".join(_received(notices))

    assert "restart" in refused["message"]
    assert (changed["before"], changed["after"]) == ("{stem}_{id}", "renamed")
    assert sent["sequence"] == "renamed"
    assert told.count(b"RELOADING=1\nMONOTONIC_USEC=") == 2
    assert told.count(b"READY=1") == 2


def test_a_bridge_on_a_terminal_ends_with_it(tmp_path: Path) -> None:
    """A person who closes the window wants no daemon that goes on unseen."""
    bridge = RunningBridge(tmp_path)
    leader, follower = pty.openpty()
    # Whoever runs the tests may have told all that they start to ignore it, as `nohup` does.
    command = ["env", "--default-signal=HUP", sys.executable, "-m", "bridge", "run"]
    command += ["--config", str(bridge.config)]
    with subprocess.Popen(command, stderr=follower, stdout=subprocess.DEVNULL) as process:
        os.close(follower)
        said = b""
        while b"started" not in said:
            said += os.read(leader, 4096)
        process.send_signal(signal.SIGHUP)

        assert process.wait(30) == -signal.SIGHUP
    os.close(leader)


def _received(manager: socket.socket) -> list[bytes]:
    manager.settimeout(0)
    found = []
    while True:
        try:
            found.append(manager.recv(4096))
        except BlockingIOError:
            return found
