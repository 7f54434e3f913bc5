"""The Debian package: built, and lived with on a fresh Debian, from installation to purge."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import write_drive
from bridge.client import MosaicoClient
from bridge.embedded import EmbeddedServer
from bridge.version import __version__
from tests.packaging.conftest import ROOT, Packages, clean_environment, made_once
from tests.packaging.machine import Machine, booted
from tests.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ARCHITECTURES = {"amd64": "X86-64", "arm64": "AArch64"}
TOOLS = ("mmdebstrap", "patchelf", "dpkg-deb", "strip", "aarch64-linux-gnu-strip")
OPT = "opt/mosaico-bridge"
UNIT = "mosaico-bridge.service"
NEXT_VERSION = "99.0"
RELEASE = "bookworm"
# What Ubuntu 22.04 has.
NEWEST = {
    "GLIBC": (2, 35), "GLIBCXX": (3, 4, 30), "CXXABI": (1, 3, 13), "GCC": (12, 0, 0),
    "ZLIB": (1, 2, 11),
}  # fmt: skip
# What expat after 2.4.7 and zlib after 1.2.11 have, without a version of its own.
TOO_NEW = r"\bUND (XML_SetReparseDeferralEnabled|XML_SetAllocTracker\w+|crc32_combine_(gen|op)\w*)"
SYSTEM_LIBRARIES = {
    *("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1"),
    *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libgcc_s.so.1", "libstdc++.so.6"),
    *("libz.so.1", "libexpat.so.1"),
}
INSTALLED_BYTES_MAX = 260e6
PACKAGE_BYTES_MAX = 90e6
START_NS = 1_700_000_000_000_000_000

SETTINGS = """
[watch]
folder = "/data"
settle_s = 600.0  # only the lease tells in time that nobody writes
rescan_interval_s = 0.5

[server]
host = "127.0.0.1"
"""
ENCRYPTED = "/etc/mosaico-bridge/api_key.cred"
DROP_IN = f"""
[Service]
BindReadOnlyPaths=/data
LoadCredentialEncrypted=api_key:{ENCRYPTED}
"""
SEQUENCES = """
from bridge import MosaicoClient
with MosaicoClient.connect("127.0.0.1", 6726) as client:
    for name in client.list_sequences():
        print(name, client.sequence_handler(name).is_locked)
"""
EVERYTHING = """
import pkgutil
from importlib import import_module
import bridge
from pyarrow.fs import AzureFileSystem, GcsFileSystem, S3FileSystem
import pyarrow.acero, pyarrow.compute, pyarrow.csv, pyarrow.feather, pyarrow.json, pyarrow.parquet
names = [module.name for module in pkgutil.walk_packages(bridge.__path__, "bridge.")]
for name in names:
    if name != "bridge.__main__":
        import_module(name)
print(len(names))
"""
CLIENT = (f"/{OPT}/bin/python", "-s", "-c", SEQUENCES)


@pytest.fixture(scope="module")
def built(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of both architectures, and one of a later version of this."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")

    def make(folder: Path) -> None:
        done = subprocess.run(
            [
                *(sys.executable, str(ROOT / ".ci" / "deb" / "build.py")),
                *("--wheel", str(packages.wheel), "--into", str(folder), "--compression", "zstd"),
            ],
            env=clean_environment(), capture_output=True, text=True, timeout=1200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once(tmp_path_factory, "debian", make)


def package(built: Path, architecture: str) -> Path:
    return built / f"mosaico-bridge_{__version__}_{architecture}.deb"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def unpacked(
    request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """An architecture, and what its package holds."""
    folder = tmp_path_factory.mktemp(request.param) / "root"
    shell("dpkg-deb", "--raw-extract", package(built, request.param), folder)
    return request.param, folder


def shell(*command: str | Path) -> str:
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, check=True
    ).stdout


def compiled(folder: Path) -> list[Path]:
    """Give the programs and libraries below a folder."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    found = []
    for file in files:
        with file.open("rb") as stream:
            if stream.read(4) == b"\x7fELF":
                found.append(file)
    return found


def test_it_runs_with_the_libraries_of_the_oldest_system(unpacked: tuple[str, Path]) -> None:
    """Every compiled file is of the architecture and wants nothing that Ubuntu 22.04 lacks."""
    architecture, folder = unpacked
    files = compiled(folder)
    brought = {file.name for file in files}
    assert len(files) > 60
    for file in files:
        options = ("--file-header", "--dynamic", "--version-info", "--dyn-syms")
        told = shell("readelf", "--wide", *options, file)
        assert ARCHITECTURES[architecture] in told, file
        needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", told))
        assert needed <= brought | SYSTEM_LIBRARIES, (file, needed)
        # A libc's own words for what it can do, such as packed relocations, have no number.
        assert not re.search(r"Name: (GLIBC_ABI_|GLIBC_PRIVATE)", told), file
        assert not re.search(TOO_NEW, told), file
        for name, newest in NEWEST.items():
            versions = re.findall(rf"Name: {name}_([\d.]+)", told)
            wanted = [tuple(map(int, version.split("."))) for version in versions]
            assert max(wanted, default=newest) <= newest, file


def test_it_holds_what_is_used_and_no_more(unpacked: tuple[str, Path]) -> None:
    """It is small, says its size, and has no tests, headers, sources of libraries or installers."""
    architecture, folder = unpacked
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in files) < INSTALLED_BYTES_MAX
    names = [str(file.relative_to(folder)) for file in files if ".dist-info/" not in str(file)]
    unwanted = r"/(tests|pip|include|ensurepip)/|\.(pyx|pxd|h|a)$|_(hdfs|orc|dataset|substrait)\."
    assert [name for name in names if re.search(unwanted, name)] == []
    control = (folder / "DEBIAN" / "control").read_text(encoding="utf-8")
    assert f"Architecture: {architecture}\n" in control
    assert (folder / "DEBIAN" / "conffiles").read_text() == "/etc/mosaico-bridge/bridge.toml\n"
    assert [file for file in files if file.stat().st_mode & 0o22] == []
    licences = {file.name for file in (folder / "usr/share/doc/mosaico-bridge/licences").iterdir()}
    assert {"python3.11-minimal", "libssl3", "libsqlite3-0"} <= licences


def test_the_package_is_small(built: Path) -> None:
    """What goes over a vehicle's line is bounded too."""
    for architecture in ARCHITECTURES:
        assert package(built, architecture).stat().st_size < PACKAGE_BYTES_MAX


ARM = "/usr/bin/qemu-aarch64-static"
# Only this user namespace gets the emulator, opened once, for all that is run inside the root.
EMULATED = r"""
set -eu
root=$1; shift
mount -t binfmt_misc none "$root/mnt"
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf '%s' ":aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" > "$root/mnt/register"
mount --rbind /dev "$root/dev"
mount --rbind /proc "$root/proc"
exec chroot "$root" "$@"
"""


@pytest.fixture(scope="module")
def arm64(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of Debian's files for arm64 with the package in it, and nothing run there yet."""
    if not Path(ARM).exists() or os.geteuid() != 0:
        pytest.skip("running arm64 takes root and qemu-user-static")
    root = tmp_path_factory.mktemp("arm64") / "root"
    libraries = "libc6,libstdc++6,libgcc-s1,zlib1g,libexpat1"
    made = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=extract", "--architecture=arm64"),
            *(f"--include={libraries}", RELEASE, str(root)),
        ],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"no Debian for arm64 can be made: {made.stderr[-300:]}")
    for name in ("dev", "mnt", "proc"):
        (root / name).mkdir(exist_ok=True)
    shell("dpkg-deb", "--extract", package(built, "arm64"), root)
    first = emulated(root, f"/{OPT}/bin/python", "-c", "")
    if "mount" in first.stderr or "register" in first.stderr:
        pytest.skip(f"no emulator can be registered here: {first.stderr[-300:]}")
    return root


def emulated(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *("unshare", "--user", "--map-root-user", "--mount"),
            *("sh", "-c", EMULATED, "arm64", str(root), *command),
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def test_it_runs_on_arm64(arm64: Path) -> None:
    """Under an emulator everything can be imported, and a recording arrives, read back here."""
    said = emulated(arm64, "mosaico-bridge", "--version")
    assert (said.returncode, said.stdout) == (0, f"{__version__}\n"), said.stderr
    imported = emulated(arm64, f"/{OPT}/bin/python", "-s", "-W", "error", "-c", EVERYTHING)
    assert imported.returncode == 0, imported.stderr
    assert int(imported.stdout) > 150

    (arm64 / "data").mkdir()
    drive = write_drive(arm64 / "data", name="drive", start_ns=START_NS, duration_s=1.0)
    options = ("--embedded", "--state", "/state", "--json")
    done = emulated(arm64, "mosaico-bridge", "ingest", f"/data/{drive.name}", *options)
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)["reports"]
    with (
        EmbeddedServer(arm64 / "state" / "embedded") as server,
        MosaicoClient.connect("127.0.0.1", server.port) as client,
    ):
        (name,) = client.list_sequences()
        handler = client.sequence_handler(name)
        assert handler is not None
        assert handler.is_locked
        tables = [topic.table() for topic in handler.topic_handlers().values()]
    assert sum(table.num_rows for table in tables) == report["messages_sent"] > 100


@pytest.fixture(scope="module")
def later(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same package as of a later version."""
    folder = tmp_path_factory.mktemp("later")
    shell("dpkg-deb", "--raw-extract", package(built, "amd64"), folder / "root")
    (version,) = (folder / "root" / OPT).glob("lib/*/dist-packages/bridge/version.py")
    for file in (version, folder / "root" / "DEBIAN" / "control"):
        text = file.read_text(encoding="utf-8").replace(__version__, NEXT_VERSION)
        file.write_text(text, encoding="utf-8")
    for stale in version.parent.glob("__pycache__/version.*"):
        stale.unlink()
    made = folder / "later.deb"
    shell("dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "root", made)
    return made


@pytest.fixture(scope="module")
def debian(built: Path, later: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh Debian with systemd and what the package depends on, and no Python."""
    root = tmp_path_factory.mktemp("debian") / "root"
    made = subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase"),
            *("--include=systemd,systemd-sysv,libexpat1,procps", RELEASE, str(root)),
        ],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"no Debian can be made: {made.stderr[-300:]}")
    shutil.copy(package(built, "amd64"), root / "opt" / "first.deb")
    shutil.copy(later, root / "opt" / "later.deb")
    with booted(tmp_path_factory.mktemp("machine"), root) as machine:
        assert machine.try_run("python3", "--version").returncode != 0
        yield machine


def put(machine: Machine, path: str, text: str) -> None:
    target = machine.root / path.removeprefix("/")
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")


def sequences(machine: Machine) -> list[str]:
    """Give what is whole on the platform."""
    lines = [line.split() for line in machine.run(*CLIENT).splitlines()]
    return [name for name, whole in lines if whole == "True"]


def known(machine: Machine) -> dict[str, str]:
    """Give the state of every recording by its name, as the journal has it."""
    told = machine.run("mosaico-bridge", "status", "--only", "finalised", "--json")
    return {one["name"]: one["state"] for one in json.loads(told)["recordings"]}


def settled(machine: Machine) -> bool:
    return machine.show(UNIT, "ActiveState") in {"active", "failed"}


def traces(machine: Machine) -> set[str]:
    """Give what bears the name, except in the lists of packages."""
    found = machine.run("find", "/opt", "/usr", "/etc", "/var", "/run", "-name", "*mosaico*")
    return {line for line in found.splitlines() if not line.startswith("/var/lib/dpkg/")}


def test_an_installation_by_hand_is_in_the_way(debian: Machine) -> None:
    """A folder that pip filled is named, with what to do, and nothing is installed over it."""
    put(debian, f"/{OPT}/pyvenv.cfg", "home = /usr/bin\n")
    done = debian.try_run("dpkg", "--install", "/opt/first.deb")
    assert done.returncode != 0
    assert "made with pip" in done.stderr
    assert "settings in" in done.stderr
    assert {path.name for path in (debian.root / OPT).iterdir()} == {"pyvenv.cfg"}
    debian.run("rm", "-r", f"/{OPT}")


def test_a_first_installation_waits_for_its_settings(debian: Machine) -> None:
    """User, folder, command and pages are there; the service is enabled, clean, and not started."""
    said = debian.run("dpkg", "--install", "/opt/first.deb")
    assert "systemctl start mosaico-bridge" in said
    assert debian.run("mosaico-bridge", "--version") == f"{__version__}\n"
    assert debian.run("dpkg", "--verify", "mosaico-bridge") == ""
    assert debian.show(UNIT, "UnitFileState") == "enabled"
    assert debian.show(UNIT, "ActiveState") == "inactive"
    assert (
        debian.run("stat", "-c", "%a %U %G", "/etc/mosaico-bridge") == "750 root mosaico-bridge\n"
    )
    for unit in (UNIT, "mosaico-bridge@front.service"):
        done = debian.try_run("systemd-analyze", "verify", unit)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert int(debian.run(f"/{OPT}/bin/python", "-s", "-W", "error", "-c", EVERYTHING)) > 150
    for folder in ("bin", "lib"):
        unresolved = debian.run(
            "sh", "-c", f"find /{OPT}/{folder} -name '*.so*' -o -name python3.11 -type f | "
            "xargs ldd 2>/dev/null | grep 'not found' || true",
        )  # fmt: skip
        assert unresolved == ""


def test_it_ingests_as_its_user(debian: Machine, tmp_path: Path) -> None:
    """The installed service, with an encrypted key, sends a recording and journals it."""
    put(debian, "/etc/mosaico-bridge/bridge.toml", SETTINGS)
    put(debian, f"/etc/systemd/system/{UNIT}.d/override.conf", DROP_IN)
    debian.run("install", "-d", "/data")
    put(debian, "/root/api_key.txt", "msco_secret")
    debian.run("systemd-creds", "encrypt", "--name=api_key", "/root/api_key.txt", ENCRYPTED)
    assert "msco_secret" not in debian.run("cat", ENCRYPTED)
    serve = f"/{OPT}/bin/mosaico-bridge"
    debian.run("systemd-run", "--unit=platform", serve, "serve", "--folder", "/var/lib/platform")
    wait_for(lambda: debian.try_run(*CLIENT).returncode == 0)
    debian.run("systemctl", "daemon-reload")
    debian.run("systemctl", "start", "mosaico-bridge")
    user = debian.run("ps", "-o", "user:20=", "-p", debian.show(UNIT, "MainPID")).strip()
    assert user == "mosaico-bridge"
    key = f"/proc/{debian.show(UNIT, 'MainPID')}/root/run/credentials/{UNIT}/api_key"
    assert debian.run("cat", key) == "msco_secret"

    drive = write_drive(tmp_path, name="drive", start_ns=START_NS, duration_s=1.0)
    shutil.copytree(drive, debian.root / "data" / "drive")
    wait_for(lambda: sequences(debian))
    wait_for(lambda: known(debian) == {"drive": "finalised"})
    assert debian.try_run("mosaico-bridge", "check", "--quick").returncode in {0, 2}


def test_an_upgrade_goes_on_with_the_same_state(debian: Machine, tmp_path: Path) -> None:
    """Settings and journal stay, what ran runs again as the new version, nothing is sent twice."""
    before = debian.show(UNIT, "MainPID")
    debian.run("dpkg", "--install", "/opt/later.deb")
    assert debian.show(UNIT, "ActiveState") == "active"
    assert debian.show(UNIT, "MainPID") != before
    assert debian.run("mosaico-bridge", "--version") == f"{NEXT_VERSION}\n"
    assert (debian.root / "etc/mosaico-bridge/bridge.toml").read_text() == SETTINGS

    drive = write_drive(tmp_path, name="next", start_ns=START_NS + 10**12, duration_s=1.0)
    shutil.copytree(drive, debian.root / "data" / "next")
    wait_for(lambda: known(debian) == {"drive": "finalised", "next": "finalised"})
    assert len(sequences(debian)) == 2
    assert "set aside" not in debian.log(UNIT)


def test_what_was_stopped_stays_stopped(debian: Machine) -> None:
    """An upgrade, or going back to the version before, starts nothing that did not run."""
    debian.run("systemctl", "stop", "mosaico-bridge")
    debian.run("dpkg", "--install", "/opt/first.deb")
    assert debian.show(UNIT, "ActiveState") == "inactive"
    assert debian.show(UNIT, "UnitFileState") == "enabled"
    debian.run("systemctl", "start", "mosaico-bridge")
    wait_for(lambda: settled(debian))
    assert debian.show(UNIT, "ActiveState") == "active"


def test_a_removal_leaves_settings_and_state(debian: Machine) -> None:
    """The service is stopped and gone; an installation afterwards finds everything again."""
    debian.run("dpkg", "--remove", "mosaico-bridge")
    assert debian.try_run("systemctl", "is-active", "mosaico-bridge").returncode != 0
    assert not (debian.root / OPT).exists()
    assert (debian.root / "etc/mosaico-bridge/bridge.toml").read_text() == SETTINGS
    assert (debian.root / "var/lib/mosaico-bridge/journal.db").exists()

    debian.run("dpkg", "--install", "/opt/first.deb")
    assert debian.show(UNIT, "UnitFileState") == "enabled"
    debian.run("systemctl", "start", "mosaico-bridge")
    wait_for(lambda: known(debian) == {"drive": "finalised", "next": "finalised"})


def test_a_purge_leaves_nothing(debian: Machine) -> None:
    """Settings, keys and state go with it; only what an administrator put beside the unit stays."""
    put(debian, "/etc/mosaico-bridge/api_key", "secret")
    debian.run("dpkg", "--purge", "mosaico-bridge")
    assert traces(debian) == {f"/etc/systemd/system/{UNIT}.d"}
    assert "failed" not in debian.run("systemctl", "list-units", "--plain", "mosaico-bridge*")
