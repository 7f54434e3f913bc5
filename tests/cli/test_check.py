"""`check`: one line for each thing, and an exit code for the worst of them."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.embedded import EmbeddedServer


def token(letter: str) -> str:
    return f"msco_{letter * 32}_{zlib.crc32((letter * 32).encode()):08x}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A platform with keys that may read, write and delete."""
    keys = {token("r"): "read", token("w"): "write", token("d"): "delete"}
    with EmbeddedServer(tmp_path_factory.mktemp("keys"), api_keys=keys) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "watched").mkdir()
    file = tmp_path / "bridge.toml"
    file.write_text(
        f"[watch]\nfolder = '{tmp_path / 'watched'}'\n[state]\nfolder = '{tmp_path / 'state'}'\n"
        "[http]\nport = 0\n[server]\ntimeout_s = 1.0\n",
        encoding="utf-8",
    )
    return file


def grades(done: Any) -> dict[str, str]:
    return {finding["name"]: finding["grade"] for finding in done.json["findings"]}


def test_check_is_content_with_a_machine_that_can_work(config: Path, command: Any) -> None:
    """Warnings alone are no failure; nothing is made by looking."""
    done = command("check", "-c", config)

    assert done.code == 0
    assert "no platform is configured" in done.out
    assert not (config.parent / "state").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[retry]\nattempts_max = 0\n", "retry.attempts_max"),
        ("[ingest]\nsequence_name = '{nonsense}'\n", "nonsense"),
        ("[metadata]\nvehicle = '${NEVER_SET_ANYWHERE}'\n", "NEVER_SET_ANYWHERE"),
        ("[[mappings]]\nros_type = 'x'\n", "mapping"),
        ("api_key_file = '/nonexistent/key'\n", "/nonexistent/key"),
    ],
    ids=["value", "template", "variable", "mapping", "key file"],
)
def test_check_finds_what_settings_show_only_in_use(
    config: Path, command: Any, more: str, said: str
) -> None:
    """Bad settings have the exit code on which a service manager gives up."""
    config.write_text(config.read_text(encoding="utf-8") + more, encoding="utf-8")
    done = command("check", "-c", config)

    assert done.code == 78
    assert said in done.out


@pytest.mark.parametrize(
    ("letter", "code", "refused"),
    [("r", 77, {"may write": "fail", "may delete": "warn"}), ("w", 0, {"may delete": "warn"}),
     ("d", 0, {})],
    ids=["read", "write", "delete"],
)  # fmt: skip
def test_check_tells_what_a_key_permits_without_writing(
    config: Path,
    command: Any,
    server: EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
    letter: str,
    code: int,
    refused: dict[str, str],
) -> None:
    """Calls about a sequence that does not exist show the permissions, and leave nothing."""
    monkeypatch.setenv("MOSAICO_BRIDGE_SERVER__API_KEY", token(letter))
    where = ("--host", "127.0.0.1", "--port", str(server.port))
    done = command("check", "-c", config, *where, "--json")

    assert done.code == code
    permissions = {"may read": "ok", "may write": "ok", "may delete": "ok"} | refused
    assert permissions.items() <= grades(done).items()
    assert token(letter) not in done.out


def test_check_tells_refused_from_unreachable(
    config: Path, command: Any, server: EmbeddedServer
) -> None:
    """Without a key the platform refuses; where nobody listens it is away."""
    here = ("--host", "127.0.0.1", "--port")

    assert command("check", "-c", config, *here, str(server.port)).code == 77
    assert command("check", "-c", config, *here, "1").code == 69


def test_check_warns_of_what_others_may_read_or_change(config: Path, command: Any) -> None:
    """A key that anybody can read works, so it is a warning, with the remedy."""
    key = config.parent / "key"
    key.write_text(token("r"), encoding="ascii")
    key.chmod(0o644)
    text = config.read_text(encoding="utf-8") + f"api_key_file = '{key}'\n"
    config.write_text(text, encoding="utf-8")
    done = command("check", "-c", config)

    assert done.code == 0
    assert f"chmod 600 {key}" in done.out


def test_check_looks_at_folders_and_disks(config: Path, command: Any) -> None:
    """A missing folder, definitions that are not there, a disk without room: a line for each."""
    text = config.read_text(encoding="utf-8").replace("watched", "missing")
    text = text.replace("[http]", f"disk_free_min_bytes = {2**62}\n[http]")
    text += f"[definitions]\nfolders = ['{config.parent / 'none'}']\n"
    config.write_text(text, encoding="utf-8")
    done = command("check", "-c", config, "--json")

    assert done.code == 1
    failed = {name for name, grade in grades(done).items() if grade == "fail"}
    assert failed == {"watch.folder", "definitions", "disk state", "disk watch"}


def test_check_knows_the_running_bridge(arrived: Any, command: Any) -> None:
    """Its port is not taken for somebody else's, and its journal is read."""
    done = command("check", "-c", arrived.config, "--json")
    details = {finding["name"]: finding["detail"] for finding in done.json["findings"]}

    assert done.code == 0
    assert "a bridge runs" in details["journal"]
    assert "the running bridge answers" in details["http"]
    assert "recordings in it: 2" in details["watch.folder"]
    assert "recordings known: 2" in details["journal"]
