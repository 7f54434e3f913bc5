"""The service under a real systemd: installed by the guide's own lines, in its real sandbox."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import write_drive
from bridge.config import Settings
from tests.packaging.conftest import ROOT, Packages, made_once
from tests.packaging.machine import DEPENDENCIES, PYTHON, Machine, booted
from tests.waiting import wait_for

UNIT = "mosaico-bridge.service"
PROBE = "/opt/probe.py"
CREDENTIAL = f"/run/credentials/{UNIT}/api_key"
CAP_LEASE = 28
SECCOMP_FILTER = "2"
START_NS = 1_700_000_000_000_000_000
WATCHDOG_S = 2
FED_AT = "WatchdogTimestampMonotonic"

SETTINGS = """
[watch]
folder = "{folder}"
settle_s = 600.0  # only the lease tells in time that nobody writes
rescan_interval_s = 0.5

[server]
host = "127.0.0.1"
{key}

[http]
port = {port}

[disposal]
mode = "move"
archive_folder = "/archive"
verification = "range"
"""
# What a machine has besides the bridge: who records, where, and a platform to send to.
PREPARATION = f"""
useradd --system recorder
install -d -o recorder -g recorder -m 2775 /data /data/recordings /data/front /data/rear
install -d -o recorder -g recorder -m 2775 /archive
systemd-run --quiet --unit=platform --setenv=PYTHONPATH={DEPENDENCIES} \
    /opt/mosaico-bridge/bin/mosaico-bridge serve --folder /var/lib/platform
"""
SEQUENCES = """
from bridge import MosaicoClient
with MosaicoClient.connect("127.0.0.1", 6726) as client:
    for name in client.list_sequences():
        print(name, client.sequence_handler(name).is_locked)
"""


def guide(language: str) -> list[str]:
    """Give the blocks of one language in the guide's chapter about vehicles."""
    text = (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    chapter = text.partition("## 4. On a vehicle")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", chapter, re.DOTALL)


def drop_in() -> str:
    """Give what the guide puts beside the unit."""
    (block,) = guide("ini")
    return block


def follow(machine: Machine, block: str, wheel: str) -> None:
    """Type the lines of a block, but for what would need a network, an editor or a minute."""
    pip = f"env PYTHONPATH={DEPENDENCIES} {PYTHON} -m pip --python /opt/mosaico-bridge/bin/python"
    for line in block.replace("sudo ", "").splitlines():
        typed = line.replace("python3 -m venv", f"{PYTHON} -m venv --without-pip")
        typed = re.sub(
            r"\S+/pip install \.", f"{pip} install --quiet --no-deps --no-index {wheel}", typed
        )
        machine.run("sh", "-ec", typed)
        if "venv" in line:
            (site,) = (machine.root / "opt/mosaico-bridge/lib").glob("python*/site-packages")
            (site / "borrowed.pth").write_text(f"{DEPENDENCIES}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drives of one second and of twenty."""

    def make(folder: Path) -> None:
        for name, duration_s in (("short", 1.0), ("long", 20.0)):
            write_drive(folder, name=name, start_ns=START_NS, duration_s=duration_s)

    return made_once(tmp_path_factory, "drives", make)


@pytest.fixture(scope="module")
def vehicle(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine on which the bridge was installed as the guide says."""
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        install, edit_settings, edit_unit, start, *_ = guide("console")
        shutil.copy(packages.wheel, machine.root / "opt")
        shutil.copy(Path(__file__).with_name("probe.py"), machine.root / "opt")
        follow(machine, install, f"/opt/{packages.wheel.name}")

        assert edit_settings.split() == ["sudoedit", "/etc/mosaico-bridge/bridge.toml"]
        put(machine, edit_settings.split()[1], settings("recordings", 9477))
        put(machine, "/etc/mosaico-bridge/api_key", "msco_secret")
        machine.run("chmod", "600", "/etc/mosaico-bridge/api_key")
        assert edit_unit.split() == ["sudo", "systemctl", "edit", "mosaico-bridge"]
        put(machine, f"/etc/systemd/system/{UNIT}.d/override.conf", drop_in())
        machine.run("sh", "-ec", PREPARATION)
        wait_for(lambda: machine.try_run(*CLIENT).returncode == 0)

        follow(machine, start, "")
        yield machine


CLIENT = ("/opt/mosaico-bridge/bin/python", "-c", SEQUENCES)


def settings(name: str, port: int) -> str:
    key = f'api_key_file = "{CREDENTIAL}"' if name == "recordings" else ""
    return SETTINGS.format(folder=f"/data/{name}", port=port, key=key)


def put(machine: Machine, path: str, text: str) -> None:
    target = machine.root / path.removeprefix("/")
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")


def change(machine: Machine, unit: str, lines: str) -> None:
    """Put a second drop-in beside a unit and start it afresh."""
    put(machine, f"/run/systemd/system/{unit}.d/test.conf", lines)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", unit)


def record(machine: Machine, source: Path, folder: str, name: str) -> Path:
    """Put a recording into a folder as the recorder would: its own, readable by its group."""
    draft = machine.root / "data" / f".{name}"
    shutil.copytree(source, draft)
    machine.run("chown", "-R", "recorder:recorder", f"/data/.{name}")
    machine.run("chmod", "-R", "ug+rwX,o-rwx", f"/data/.{name}")
    return draft.rename(machine.root / "data" / folder / name)


def sequences(machine: Machine) -> dict[str, bool]:
    """Give the names on the platform without their last part, and whether each is whole."""
    lines = [line.split() for line in machine.run(*CLIENT).splitlines()]
    return {name.rpartition("_")[0]: locked == "True" for name, locked in lines}


def test_the_guide_leads_to_a_running_service(vehicle: Machine) -> None:
    """The unit is up, will be after a reboot, says how it is, and complains of nothing."""
    assert vehicle.show(UNIT, "ActiveState") == "active"
    assert vehicle.show(UNIT, "UnitFileState") == "enabled"
    assert vehicle.show(UNIT, "NRestarts") == "0"
    assert vehicle.show(UNIT, "WatchdogUSec") == "1min"
    assert re.search(r"\d+ on the platform$", vehicle.show(UNIT, "StatusText"))
    assert "warning" not in vehicle.log(UNIT)


def test_the_process_has_the_rights_of_the_unit_only(vehicle: Machine) -> None:
    """Its user, one capability, the filter of system calls, no way to more; and its key."""
    facts = vehicle.facts(UNIT)
    user = vehicle.run("id", "-u", "mosaico-bridge").strip()
    assert set(facts["Uid"].split()) == {user}
    assert vehicle.run("id", "-g", "recorder").strip() in facts["Groups"].split()
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 1 << CAP_LEASE
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", SECCOMP_FILTER)

    pid = vehicle.show(UNIT, "MainPID")
    assert vehicle.run("cat", f"/proc/{pid}/root{CREDENTIAL}") == "msco_secret"
    assert vehicle.run("stat", "-c", "%a %U", "/etc/mosaico-bridge/api_key") == "600 root\n"


def test_workers_limit_themselves(vehicle: Machine) -> None:
    """The filter lets a worker bound its memory, write no core, and yield to the recorder."""
    main = vehicle.show(UNIT, "MainPID")
    (worker,) = wait_for(lambda: vehicle.run("cat", f"/proc/{main}/task/{main}/children").split())

    def limits() -> dict[str, str]:
        lines = vehicle.run("cat", f"/proc/{worker}/limits").splitlines()
        return {line[:25].strip(): line[26:].split()[0] for line in lines}

    wait_for(lambda: limits()["Max data size"] != "unlimited")
    assert int(limits()["Max data size"]) >= Settings().workers.memory_limit_bytes
    assert limits()["Max core file size"] == "0"
    niceness = [int(vehicle.run("ps", "-o", "ni=", "-p", pid)) for pid in (main, worker)]
    assert niceness[0] < niceness[1]


def test_the_sandbox_refuses_what_the_machine_would_allow(vehicle: Machine) -> None:
    """Each trial fails inside the unit and succeeds for the same user outside of it."""
    change(vehicle, UNIT, f"[Service]\nExecStartPre={PYTHON} {PROBE} %S/mosaico-bridge\n")
    inside = re.findall(r"^\{.*\}$", vehicle.log(UNIT), re.MULTILINE)
    user = ("setpriv", "--reuid=mosaico-bridge", "--regid=mosaico-bridge", "--clear-groups")
    outside = vehicle.run(*user, PYTHON, PROBE, "/var/lib/mosaico-bridge")

    assert {name for name, refused in json.loads(inside[-1]).items() if not refused} == set()
    assert {name for name, refused in json.loads(outside).items() if refused} == set()


def test_a_recording_is_read_sent_and_moved(vehicle: Machine, recordings: Path) -> None:
    """Inside the sandbox a recording of the recorder's own user goes all its way."""
    source = record(vehicle, recordings / "short", "recordings", "drive")
    archived = vehicle.root / "archive" / "drive"
    wait_for((archived / "metadata.yaml").exists)
    wait_for(lambda: not source.exists())

    assert sequences(vehicle)["drive"]
    assert {file.name for file in archived.iterdir()} == {
        file.name for file in (recordings / "short").iterdir()
    }
    wait_for(lambda: "0 sending" in vehicle.show(UNIT, "StatusText"))
    assert vehicle.try_run("mosaico-bridge", "status").returncode == 0


def test_a_person_can_change_what_the_service_knows(vehicle: Machine) -> None:
    """The guide's command reaches the state of the running service as its user."""
    change_state = guide("console")[4]
    typed = change_state.replace("sudo -u", "runuser -u").replace(
        "bridge mosaico", "bridge -- mosaico"
    )
    done = vehicle.try_run("sh", "-ec", typed)

    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_a_reload_takes_new_settings_without_a_restart(vehicle: Machine) -> None:
    """`systemctl reload` succeeds, the log names the setting, and the process is the same."""
    before = vehicle.show(UNIT, "MainPID")
    text = settings("recordings", 9477).replace("600.0", "601.0")
    put(vehicle, "/etc/mosaico-bridge/bridge.toml", text)
    vehicle.run("systemctl", "reload", UNIT)

    wait_for(lambda: "watch.settle_s" in vehicle.log(UNIT))
    assert (vehicle.show(UNIT, "MainPID"), vehicle.show(UNIT, "ActiveState")) == (before, "active")


def test_a_stuck_loop_is_restarted(vehicle: Machine) -> None:
    """A loop that works keeps feeding the watchdog; one that hangs is replaced."""
    change(vehicle, UNIT, f"[Service]\nWatchdogSec={WATCHDOG_S}\nRestartSec=0\n")
    before = vehicle.show(UNIT, "MainPID")
    for _ in range(4):
        last = vehicle.show(UNIT, FED_AT)
        while vehicle.show(UNIT, FED_AT) == last:
            assert vehicle.show(UNIT, "NRestarts") == "0"
    assert vehicle.show(UNIT, "MainPID") == before

    vehicle.run("kill", "-STOP", before)
    wait_for(lambda: vehicle.show(UNIT, "NRestarts") != "0")
    wait_for(lambda: vehicle.show(UNIT, "ActiveState") == "active")
    assert vehicle.show(UNIT, "MainPID") != before
    assert "Watchdog timeout" in vehicle.log(UNIT)


def test_a_stop_finishes_what_is_in_work(vehicle: Machine, recordings: Path) -> None:
    """`systemctl stop` during an upload ends it whole, within the time the unit gives."""
    vehicle.run("systemctl", "start", UNIT)
    record(vehicle, recordings / "long", "recordings", "last")
    wait_for(lambda: "1 sending" in vehicle.show(UNIT, "StatusText"))
    vehicle.run("systemctl", "stop", UNIT)

    assert (vehicle.show(UNIT, "Result"), vehicle.show(UNIT, "ExecMainStatus")) == ("success", "0")
    assert sequences(vehicle)["last"]
    vehicle.run("systemctl", "start", UNIT)


def test_instances_of_the_template_keep_apart(vehicle: Machine, recordings: Path) -> None:
    """Two instances watch two folders with state folders of their own."""
    for port, name in enumerate(("front", "rear"), start=9601):
        unit = f"mosaico-bridge@{name}.service"
        put(vehicle, f"/etc/mosaico-bridge/{name}.toml", settings(name, port))
        put(
            vehicle,
            f"/run/systemd/system/{unit}.d/test.conf",
            drop_in().replace("/data/recordings", f"/data/{name}"),
        )
        vehicle.run("systemctl", "daemon-reload")
        vehicle.run("systemctl", "enable", "--now", unit)
        record(vehicle, recordings / "short", name, f"{name}-drive")

    for name in ("front", "rear"):
        wait_for((vehicle.root / "archive" / f"{name}-drive" / "metadata.yaml").exists)
        journal = vehicle.root / "var/lib/mosaico-bridge" / name
        assert any(journal.iterdir())
        facts = vehicle.facts(f"mosaico-bridge@{name}.service")
        assert int(facts["CapEff"], 16) == 1 << CAP_LEASE
        vehicle.run("systemctl", "stop", f"mosaico-bridge@{name}.service")
