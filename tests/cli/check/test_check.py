"""`check`: one line for each thing, and an exit code for the worst of them."""

import os
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.check import folders
from bridge.cli.check import machine as check_machine
from bridge.cli.terminal import Exit
from bridge.embedded import EmbeddedServer
from bridge.files import disk, file_system
from tests.servers.old.keyed import KeyedServer


def token(letter: str) -> str:
    return f"msco_{letter * 32}_{zlib.crc32((letter * 32).encode()):08x}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A platform with keys that may read, write and delete."""
    keys = {token("r"): "read", token("w"): "write", token("d"): "delete"}
    keys |= {token("x"): "write|", token("y"): "read|delete"}
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
     ("d", 0, {}), ("x", 77, {"may read": "fail", "may delete": "warn"}),
     ("y", 77, {"may write": "fail"})],
    ids=["read", "write", "delete", "only write", "all but write"],
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


def test_check_names_an_outage_of_the_platforms_database(config: Path, command: Any) -> None:
    """Within seconds, although each look-up would hang for half a minute."""
    text = config.read_text(encoding="utf-8").replace("timeout_s = 1.0", "timeout_s = 20.0")
    config.write_text(text, encoding="utf-8")
    with KeyedServer("G1.0") as platform:
        platform.faults.database_down, platform.faults.lookup_s = True, 12.0
        started_s = time.monotonic()
        done = command("check", "-c", config, "--host", "127.0.0.1", "--port", str(platform.port))
        took_s = time.monotonic() - started_s

    assert done.code == 69
    assert "answers, but its database does not" in " ".join(done.out.split())
    assert took_s < 10


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


def test_check_finds_what_fails_later(config: Path, command: Any) -> None:
    """Files that are read, folders that are made and names that are looked up at work only."""
    (config.parent / "a file").touch()
    with config.open("a", encoding="utf-8") as more:
        more.write(
            "[disposal]\nquarantine_folder = '/proc/none'\n[definitions]\ndistro = 'humbel'\n"
            f"[backfill]\nscratch_folder = '{config.parent / 'a file'}'\n"
            "secret_key_file = '/none/at/all'\n"
        )
    done = command("check", "-c", config, "--json")

    assert done.code == 78
    assert "/none/at/all" in found(done, "key file")[0]
    assert found(done, "disposal.quarantine_folder")[0].startswith("fail: /proc/none cannot be")
    assert found(done, "backfill.scratch_folder")[0].startswith(f"fail: {config.parent}/a file")
    assert "'humbel'" in found(done, "definitions")[0]


def found(done: Any, name: str) -> list[str]:
    """Give grade and text of every finding of a name."""
    findings = [one for one in done.json["findings"] if one["name"] == name]
    return [f"{one['grade']}: {one['detail']}; {one['hint']}" for one in findings]


def test_check_warns_of_a_state_folder_in_memory(config: Path, command: Any) -> None:
    """What lies on a tmpfs is gone after a reboot, so it is no place for the journal."""
    memory = Path("/dev/shm")
    if file_system(memory) != "tmpfs":
        pytest.skip("there is no tmpfs to try it on")
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(str(config.parent / "state"), str(memory / "no-such-bridge")))
    done = command("check", "-c", config, "--json")

    good, bad = found(done, "state.folder")
    assert done.code == 0
    assert good.startswith("ok: /dev/shm/no-such-bridge will be made")
    assert bad.startswith("warn: /dev/shm/no-such-bridge is in memory (tmpfs): a reboot forgets")
    assert not (memory / "no-such-bridge").exists()


def test_check_warns_of_a_state_folder_over_the_network(
    config: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite does not work on a network file system; mount points may hold blanks."""
    state = config.parent / "a b" / "state"
    table = config.parent / "mounts"
    blank = str(state.parent).replace(" ", "\\040")
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"2 1 0:5 / {blank} rw,relatime shared:1 - nfs4 server:/export rw\n"
    )
    monkeypatch.setattr(disk, "MOUNTS", table)
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace(str(config.parent / "state"), str(state)))

    assert "network file system (nfs4)" in found(command("check", "-c", config, "--json"),
                                                 "state.folder")[1]  # fmt: skip
    assert file_system(config.parent) == "ext4"


def test_check_compares_folders_with_the_watches_the_kernel_allows(
    config: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More folders than watches means slow discovery: said before, with the line that mends it."""
    for number in range(9):
        (config.parent / "watched" / str(number)).mkdir()
    limit = config.parent / "max_user_watches"
    monkeypatch.setattr(folders, "WATCHES_MAX", limit)
    limit.write_text("1000\n")
    assert found(command("check", "-c", config, "--json"), "watches") == [
        "ok: 10 folders to watch; the kernel allows 1,000; "
    ]
    limit.write_text("8\n")
    (told,) = found(command("check", "-c", config, "--json"), "watches")
    assert told.startswith("warn: 10 folders are to be watched")
    assert told.endswith("sysctl fs.inotify.max_user_watches=40")


def test_check_doubts_the_clock(
    config: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year that cannot be, or a recording from the future: one of the clocks is wrong."""
    assert found(command("check", "-c", config, "--json"), "clock")[0].startswith("ok: ")
    file = config.parent / "watched" / "drive.mcap"
    file.write_bytes(b"\x89MCAP0\r\n")
    os.utime(file, (0, time.time() + 3 * 86_400))
    monkeypatch.setattr(check_machine, "YEARS", range(3025, 4025))
    told = found(command("check", "-c", config, "--json"), "clock")

    assert "was written 72 hours from now: this clock is behind" in told[0]
    assert "which cannot be; set it (NTP, GPS, RTC)" in told[1]


def test_check_compares_batches_with_what_the_platform_takes(
    config: Path, command: Any, tmp_path: Path
) -> None:
    """A batch over the platform's limit is no error, it is split; the limit is told either way."""
    with EmbeddedServer(tmp_path / "platform", message_bytes_max=2**20) as small:
        where = ("--host", "127.0.0.1", "--port", str(small.port), "--json")
        (told,) = found(command("check", "-c", config, *where), "message limit")
        assert told.startswith("warn: the platform takes 1.0 MB a message; batches of 8.4 MB")
        text = config.read_text(encoding="utf-8")
        config.write_text(text + "[ingest]\nmax_batch_size_bytes = 1000000\n")
        (told,) = found(command("check", "-c", config, *where), "message limit")
        assert told == "ok: the platform takes 1.0 MB a message; "


def test_check_looks_at_every_watched_folder(config: Path, command: Any) -> None:
    """Each of several folders has its lines, by name; one that is missing fails the check."""
    base = config.parent
    text = config.read_text(encoding="utf-8")
    text = text.replace(f"[watch]\nfolder = '{base / 'watched'}'\n", "")
    text += f"[folders.front]\npath = '{base / 'watched'}'\n"
    text += f"[folders.rear]\npath = '{base / 'nowhere'}'\n"
    config.write_text(text, encoding="utf-8")
    done = command("check", "-c", config, "--json")

    assert done.code == 1
    assert found(done, "folders.front")[0].startswith("ok: ")
    assert found(done, "folders.rear")[0].startswith(f"fail: {base / 'nowhere'} is not there")
    assert {"disk watch_front", "disk watch_rear", "disk state"} <= grades(done).keys()


@pytest.mark.parametrize("more", ["[no_such_table]\n", "nonsense ="], ids=["unknown", "no TOML"])
def test_commands_end_with_78_on_bad_settings(config: Path, command: Any, more: str) -> None:
    """Not only `check`: nothing starts with settings that cannot be meant so."""
    config.write_text(config.read_text(encoding="utf-8") + more, encoding="utf-8")
    for words in (("check",), ("run",), ("once",), ("status",), ("config", "show")):
        assert command(*words, "-c", config).code == 78, words


def test_check_knows_the_running_bridge(arrived: Any, command: Any) -> None:
    """Its port is not taken for somebody else's, and its journal is read."""
    done = command("check", "-c", arrived.config, "--json")
    details = {finding["name"]: finding["detail"] for finding in done.json["findings"]}

    assert done.code == 0
    assert "a bridge runs" in details["journal"]
    assert "the running bridge answers" in details["http"]
    assert "recordings in it: 2" in details["watch.folder"]
    assert "recordings known: 2" in details["journal"]


def test_what_is_found_here_does_not_wait_for_the_platform(config: Path) -> None:
    """A platform that is slow to answer holds up its own lines only."""
    config.write_text(config.read_text().replace("timeout_s = 1.0", "timeout_s = 30.0"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = ["check", "-c", config, "--host", "127.0.0.1", "--port", silent.getsockname()[1]]
        with subprocess.Popen(
            [sys.executable, "-m", "bridge", *map(str, words)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            first = [process.stdout.readline() for _ in range(3)]
            waits = process.poll() is None
            silent.accept()[0].close()
            silent.close()
            rest = process.stdout.read()

    assert ["configuration" in line for line in first] == [False, True, False]
    assert waits
    assert rest.splitlines()[-1].startswith("fail  server ")
    assert process.returncode == Exit.SERVER_UNAVAILABLE
