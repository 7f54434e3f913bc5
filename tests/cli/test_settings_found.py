"""Where commands find their settings: named, here, the service's, the vendor's command line."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import write_drive
from bridge.client import MosaicoClient
from bridge.config import load
from bridge.embedded import EmbeddedServer

START_NS = 1_760_000_000_000_000_000
VENDOR = Path(sys.executable).with_name("mosaico")
PORT = "[http]\nport = {}\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, beside a service's settings and state under a root of our own."""
    service, state, here = tmp_path / "etc", tmp_path / "lib", tmp_path / "here"
    for folder in (service, state, here):
        folder.mkdir()
    monkeypatch.setattr(load, "SERVICE_FOLDER", service)
    monkeypatch.setattr(load, "SERVICE_STATE", state)
    monkeypatch.delenv("MOSAICO_BRIDGE_CONFIG", raising=False)
    monkeypatch.chdir(here)
    return here


def test_the_nearest_settings_file_holds_and_is_named(
    place: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config, then the variable, then the working folder, then the service's; and it is said."""
    files = [
        place.parent / "etc" / "bridge.toml",
        place / "bridge.toml",
        place / "env",
        place / "c",
    ]
    for port, file in enumerate(files, start=1001):
        if file.name == "env":
            monkeypatch.setenv("MOSAICO_BRIDGE_CONFIG", str(file))
        file.write_text(PORT.format(port), encoding="utf-8")
        words = ("-c", file) if file.name == "c" else ()
        shown = command("config", "show", *words)
        assert shown.json["http"]["port"] == port
        assert f"settings from {file}" in shown.err
        assert f"settings from {file}" in command("status", "-v", *words).err


@pytest.mark.usefixtures("place")
def test_without_any_file_the_defaults_are_said(command: Any) -> None:
    """Nobody is left in doubt whether a file was read."""
    assert "settings: defaults and environment" in command("config", "show").err


def test_commands_look_into_the_state_folder_of_the_service(place: Path, command: Any) -> None:
    """As the unit has it: with the bridge down, its journal is found without --state."""
    service = place.parent / "etc"
    (service / "bridge.toml").write_text(PORT.format(1001), encoding="utf-8")
    (service / "front.toml").write_text("", encoding="utf-8")
    (service / "own.toml").write_text("[state]\nfolder = '/data/state'\n", encoding="utf-8")

    assert command("config", "show").json["state"]["folder"] == str(place.parent / "lib")
    for name, folder in (("front", str(place.parent / "lib" / "front")), ("own", "/data/state")):
        shown = command("config", "show", "-c", service / f"{name}.toml").json
        assert shown["state"]["folder"] == folder


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_settings_that_may_not_be_read_are_mentioned(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Another user gets the defaults, and is told that the service has settings of its own."""
    monkeypatch.delenv("MOSAICO_BRIDGE_CONFIG", raising=False)
    # The folders of `tmp_path` are closed to others altogether.
    service = Path(tempfile.mkdtemp(prefix="etc-"))
    request.addfinalizer(lambda: shutil.rmtree(service))
    (service / "bridge.toml").write_text(PORT.format(1001), encoding="utf-8")
    as_nobody = f"""
import os, sys
from pathlib import Path
from bridge.config import load
load.SERVICE_FOLDER = Path({str(service)!r})
from bridge.cli import main, options
os.setgid(65534); os.setuid(65534); os.chdir("/")
sys.argv = ["mosaico-bridge", "config", "show"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", as_nobody], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "may not be read by this user" in done.stderr


def test_every_fault_of_the_settings_is_named_with_its_line(place: Path, command: Any) -> None:
    """All at once: the key, the line, the value, and what was probably meant."""
    (place / "bridge.toml").write_text(
        '[watch]\n# a comment\nfodler = "x"\n[server]\nport = 70000\n'
        '[topics."/a"]\nmax_hz = -1.0\n',
        encoding="utf-8",
    )
    done = command("status")

    assert done.code == 78
    for said in (
        "unknown setting watch.fodler", "line 3; did you mean watch.folder?",
        "setting server.port", "line 5: ", "70000", "setting topics./a.max_hz", "line 7: ",
    ):  # fmt: skip
        assert said in done.err, said


@pytest.mark.usefixtures("place")
def test_misspelt_variables_are_named_with_the_nearest(
    command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sections and keys alike, and all sections at once."""
    monkeypatch.setenv("MOSAICO_BRIDGE_HTTP__PRT", "1")
    done = command("status")
    assert "environment variable MOSAICO_BRIDGE_HTTP__PRT" in done.err
    assert "did you mean http.port?" in done.err
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVR__HOST", "x")
    monkeypatch.setenv("MOSAICO_BRIDGE_WATSH__FOLDER", "x")
    done = command("status")
    assert done.code == 78
    assert "MOSAICO_BRIDGE_SERVR__HOST" in done.err
    assert "MOSAICO_BRIDGE_WATSH__FOLDER" in done.err


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The vendor's variables, none of them set."""
    for name in ("DAEMON_URL", "API_KEY", "TLS", "CERT_PATH", "PROFILE"):
        monkeypatch.delenv(f"MOSAICO_{name}", raising=False)
    return monkeypatch


@pytest.mark.usefixtures("vendor")
def test_the_vendors_command_line_hands_its_platform_on(place: Path) -> None:
    """`mosaico bridge ingest` of the real vendor's program sends to the platform of its profile."""
    bag = write_drive(place, name="drive", start_ns=START_NS, duration_s=1.0)
    with EmbeddedServer(place / "platform") as server:
        port = server.port
        environment = os.environ | {
            "PATH": f"{VENDOR.parent}:{os.environ['PATH']}",
            "MOSAICO_CONFIG_PATH": str(place / "none.toml"),
            "MOSAICO_DAEMON_URL": f"127.0.0.1:{port}",
        }
        done = subprocess.run(
            [VENDOR, "bridge", "ingest", str(bag), "--name", "drive"],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        with MosaicoClient.connect("127.0.0.1", port) as client:
            arrived = client.list_sequences()

    assert done.returncode == 0, done.stderr
    assert arrived == ["drive"]
    assert f"platform 127.0.0.1:{port} from MOSAICO_DAEMON_URL" in done.stderr


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("a.example", "a.example", 6726),
        ("a.example:99", "a.example", 99),
        ("grpc+tls://a.example:99/", "a.example", 99),
        ("[::1]:99", "::1", 99),
    ],
)
def test_all_four_variables_are_understood(
    command: Any, vendor: pytest.MonkeyPatch, url: str, host: str, port: int
) -> None:
    """Host with or without port, key, encryption and its certificate."""
    vendor.setenv("MOSAICO_DAEMON_URL", url)
    vendor.setenv("MOSAICO_API_KEY", "msco_secret")
    vendor.setenv("MOSAICO_TLS", "true")
    vendor.setenv("MOSAICO_CERT_PATH", "/ca.pem")
    done = command("config", "show")
    server = done.json["server"]

    assert (server["host"], server["port"], server["tls"]) == (host, port, True)
    assert server["tls_ca_file"] == "/ca.pem"
    assert server["api_key"]
    assert "msco_secret" not in done.out + done.err
    assert "from MOSAICO_DAEMON_URL" in done.err


@pytest.mark.parametrize("by", ["option", "environment", "file"])
def test_our_own_platform_wins_and_no_key_goes_astray(
    place: Path, vendor: pytest.MonkeyPatch, by: str
) -> None:
    """Where our settings name a platform, none of the four is used, the key least of all."""
    vendor.setenv("MOSAICO_DAEMON_URL", "theirs.example")
    vendor.setenv("MOSAICO_API_KEY", "msco_theirs")
    vendor.setenv("MOSAICO_TLS", "1")
    if by == "environment":
        vendor.setenv("MOSAICO_BRIDGE_SERVER__HOST", "ours.example")
    elif by == "file":
        (place / "bridge.toml").write_text("[server]\nhost = 'ours.example'\n", encoding="utf-8")
    overrides = {"server.host": "ours.example"} if by == "option" else {}
    file = place / "bridge.toml" if by == "file" else None
    server = load.load_settings(file, overrides).server

    assert (server.host, server.tls, server.api_key) == ("ours.example", False, None)


@pytest.mark.usefixtures("place")
def test_a_platform_variable_without_a_host_is_an_error(
    command: Any, vendor: pytest.MonkeyPatch
) -> None:
    """It is named, and nothing is sent anywhere else instead."""
    vendor.setenv("MOSAICO_DAEMON_URL", "a.example:port")
    done = command("config", "show")

    assert done.code == 78
    assert "MOSAICO_DAEMON_URL" in done.err
