"""The wheel and the sdist: what is in them, and that an installation of the wheel is whole."""

import json
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from urllib.parse import urlparse

import pytest

from bridge.version import __version__
from tests.packaging.conftest import ROOT, Installed, Packages, build, clean_environment

DATA_FOLDERS = ("config", "docs", "systemd")


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def files_of(root: Path, *folders: str) -> set[str]:
    return {
        str(file.relative_to(root))
        for folder in folders
        for file in (root / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_wheel_is_pure_python_of_the_one_version(packages: Packages) -> None:
    """One file fits every machine; its version is that of bridge/version.py."""
    assert packages.wheel.name == f"mosaico_bridge-{__version__}-py3-none-any.whl"
    assert packages.sdist.name == f"mosaico_bridge-{__version__}.tar.gz"
    about = f"mosaico_bridge-{__version__}.dist-info"
    with zipfile.ZipFile(packages.wheel) as archive:
        wheel = Parser().parsestr(archive.read(f"{about}/WHEEL").decode())
    metadata = metadata_of(packages.wheel)
    assert wheel["Root-Is-Purelib"] == "true"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{about}/licenses/LICENSE" in members(packages.wheel)


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"mosaico_bridge-{__version__}.dist-info/METADATA").decode()
    return Parser().parsestr(text)


def test_what_an_index_shows_has_no_dead_links(packages: Packages) -> None:
    """The README is the description; without an address of the project nothing leads anywhere."""
    metadata = metadata_of(packages.wheel)
    shown = str(metadata.get_payload())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Project-URL"] is None
    assert re.findall(r"\]\((?!https?://)", readme)
    assert not re.findall(r"\]\((?!https?://)", shown)
    assert [line for line in shown.splitlines() if line.startswith("#")] == [
        line for line in readme.splitlines() if line.startswith("#")
    ]


def test_a_project_with_an_address_is_found_by_it(packages: Packages, tmp_path: Path) -> None:
    """Every link and picture leads to a file of the tree, there; also out of a wheel of the sdist.

    The Debian package takes its homepage from the wheel.
    """
    base = "https://code.example/fleet/mosaico-bridge"
    sdist = build(packages.unpacked, "sdist", tmp_path / "sdist", PROJECT_URL=f"{base}/")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    metadata = metadata_of(wheel := build(unpacked, "wheel", tmp_path / "wheel"))
    shown = str(metadata.get_payload())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    deb = runpy.run_path(str(ROOT / ".ci" / "deb" / "build.py"))

    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(urls)
    assert urls["Homepage"] == base
    assert "(docs/" not in shown
    assert shown.replace(f"{base}/blob/HEAD/", "").replace(f"{base}/raw/HEAD/", "") == readme
    led = [*re.findall(r"\]\((https://code\.example/[^)]+)\)", shown), *urls.values()]
    places = [url.removeprefix(f"{base}/") for url in led]
    files = [place for place in places if place.startswith(("blob/HEAD/", "raw/HEAD/"))]
    assert len(files) == len(places) - 2
    assert all((ROOT / place.split("/", 2)[2]).is_file() for place in files)
    assert re.findall(r"!\[[^\]]*\]\((?:(?!/raw/).)*\)", shown) == []
    assert deb["homepage_of"](wheel) == f"Homepage: {base}\n"
    assert deb["homepage_of"](packages.wheel) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        "code.example/x",
        "ftp://code.example",
        "https://",
        "https://me:key@code.example",
        "https://a b",
    ],
)
def test_what_is_no_address_of_a_project_is_refused(wrong: str) -> None:
    """Nothing is built whose links would lead nowhere, or hold a key."""
    read = runpy.run_path(str(ROOT / ".ci" / "metadata.py"))["project_url"]
    with pytest.raises(ValueError, match="PROJECT_URL is no address"):
        read(wrong)


def test_wheel_holds_every_file_of_the_package_and_all_data(packages: Packages) -> None:
    """No module, page asset or data file is forgotten, and nothing else is taken along."""
    code = files_of(packages.unpacked, "bridge")
    data = {f"bridge/data/{name}" for name in files_of(packages.unpacked, *DATA_FOLDERS)}
    inside = {name for name in members(packages.wheel) if ".dist-info/" not in name}
    assert inside == code | data


def test_sdist_holds_what_a_packager_needs(packages: Packages) -> None:
    """Source, tests, licence and the files that are installed are there; environments are not."""
    with tarfile.open(packages.sdist) as archive:
        inside = {Path(name).parts[1] for name in archive.getnames()}
    assert {"bridge", "tests", "config", "docs", "systemd", "LICENSE", "README.md"} <= inside
    assert not {".venv", "var", ".git"} & inside
    assert files_of(ROOT, "bridge", *DATA_FOLDERS) <= files_of(packages.unpacked, ".")


def test_installed_command_starts_from_the_wheel(installed: Installed) -> None:
    """The entry point runs the installed code, not the checkout's."""
    shown = installed.run("mosaico-bridge", "--version")
    where = installed.run("python", "-c", "import bridge; print(bridge.__file__)")

    assert (shown.returncode, shown.stdout) == (0, f"{__version__}\n")
    assert Path(where.stdout).is_relative_to(installed.folder)


def test_installed_settings_file_is_the_shipped_one(
    packages: Packages, installed: Installed
) -> None:
    """What the installed command calls the default is the file in the repository."""
    printed = installed.run("mosaico-bridge", "config", "default")

    assert printed.stdout == (packages.unpacked / "config" / "bridge.toml").read_text(
        encoding="utf-8"
    )


def test_install_files_puts_everything_in_place(
    packages: Packages, installed: Installed, tmp_path: Path
) -> None:
    """Units, settings, examples, monitoring and documents come out of the wheel unchanged."""
    prefix = tmp_path / "prefix"
    done = installed.run("mosaico-bridge", "install-files", "--prefix", str(prefix))

    assert done.returncode == 0, done.stderr
    assert all(line.startswith("written ") for line in done.stdout.splitlines())
    for source, target in (
        ("config/bridge.toml", "etc/mosaico-bridge/bridge.toml"),
        ("config/bridge.toml", "share/mosaico-bridge/bridge.toml"),
        ("config/examples/car.toml", "share/mosaico-bridge/examples/car.toml"),
        ("config/prometheus/rules.yml", "share/mosaico-bridge/prometheus/rules.yml"),
        ("docs/fix.md", "share/doc/mosaico-bridge/fix.md"),
        ("docs/status-page.png", "share/doc/mosaico-bridge/status-page.png"),
        ("systemd/mosaico-bridge.sysusers", "lib/sysusers.d/mosaico-bridge.conf"),
        ("systemd/mosaico-bridge.tmpfiles", "lib/tmpfiles.d/mosaico-bridge.conf"),
    ):
        assert (prefix / target).read_bytes() == (packages.unpacked / source).read_bytes(), target
    assert list((prefix / "share/mosaico-bridge/grafana").rglob("*.json"))
    assert {file.stat().st_mode & 0o777 for file in prefix.rglob("*") if file.is_file()} == {0o644}


def test_installed_units_start_the_installed_program(
    packages: Packages, installed: Installed, tmp_path: Path
) -> None:
    """A unit names the program, the settings and the documents of this installation."""
    installed.run("mosaico-bridge", "install-files", "--prefix", str(tmp_path))
    for unit in ("mosaico-bridge.service", "mosaico-bridge@.service"):
        text = (tmp_path / "lib/systemd/system" / unit).read_text(encoding="utf-8")
        program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
        assert program is not None
        assert program[1] == str(installed.folder / "bin" / "mosaico-bridge")
        settings = re.search(r"--config (\S+)", text)
        assert settings is not None
        assert settings[1] in {
            f"{tmp_path}/etc/mosaico-bridge/{one}.toml" for one in ("bridge", "%i")
        }
        document = re.search(r"^Documentation=file:(\S+)", text, re.MULTILINE)
        assert document is not None
        assert Path(document[1]).is_file()
        shipped = (packages.unpacked / "systemd" / unit).read_text(encoding="utf-8")
        shipped = shipped.replace("/etc/mosaico-bridge", f"{tmp_path}/etc/mosaico-bridge")
        shipped = shipped.replace("/usr/share/doc", f"{tmp_path}/share/doc")
        assert text == re.sub(r"ExecStart=\S+", program[0], shipped)
    assert (tmp_path / "etc/mosaico-bridge/bridge.toml").is_file()


def test_everything_is_installed_although_nobody_reads_the_lines(
    installed: Installed, tmp_path: Path
) -> None:
    """`install-files | head -1` puts every file in place, as without the pipe."""
    piped, whole = tmp_path / "piped", tmp_path / "whole"
    program = installed.folder / "bin" / "mosaico-bridge"
    # The reader is gone before the first line is written.
    subprocess.run(
        f"{program} install-files --prefix {piped} | true", shell=True, check=False,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    installed.run("mosaico-bridge", "install-files", "--prefix", str(whole))

    def files(base: Path) -> set[Path]:
        return {file.relative_to(base) for file in base.rglob("*") if file.is_file()}

    assert files(piped) == files(whole)
    assert len(files(whole)) > 20


def test_alerts_lead_to_where_one_wants_them(installed: Installed, tmp_path: Path) -> None:
    """`--runbooks` writes another address into the rules, and into nothing else of them."""
    base = "https://wiki.example/bridge/"
    installed.run("mosaico-bridge", "install-files", "--prefix", str(tmp_path), "--runbooks", base)
    rules = (tmp_path / "share/mosaico-bridge/prometheus/rules.yml").read_text(encoding="utf-8")

    urls = re.findall(r'runbook_url: "([^"]+)"', rules)
    assert urls
    assert all(re.match(r"https://wiki\.example/bridge/[a-z]+\.md#", url) for url in urls)
    assert rules.count("{{ $labels.instance }}: ") == rules.count("- alert: ")


def test_a_second_installation_keeps_the_settings(installed: Installed, tmp_path: Path) -> None:
    """An upgrade replaces what is ours and leaves what a person has edited."""
    command = ("mosaico-bridge", "install-files", "--prefix", str(tmp_path))
    installed.run(*command)
    settings = tmp_path / "etc/mosaico-bridge/bridge.toml"
    settings.write_text('[server]\nhost = "mine"\n', encoding="utf-8")
    rules = tmp_path / "share/mosaico-bridge/prometheus/rules.yml"
    rules.write_text("old", encoding="utf-8")
    again = installed.run(*command)

    said = {Path(line.split()[1]): line.split()[0] for line in again.stdout.splitlines()}
    assert said.pop(settings) == "kept"
    assert said.pop(rules) == "written"
    assert set(said.values()) == {"unchanged"}
    assert settings.read_text(encoding="utf-8") == '[server]\nhost = "mine"\n'
    assert rules.read_text(encoding="utf-8") != "old"


def test_a_prefix_that_cannot_be_written_is_an_error(installed: Installed) -> None:
    """The file and the reason are named, and the exit code says that the wish was wrong."""
    done = installed.run("mosaico-bridge", "install-files", "--prefix", "/proc/nowhere")

    assert done.returncode == 78
    assert "/proc/nowhere/lib/systemd/system/mosaico-bridge.service" in done.stderr


@pytest.mark.slow
def test_a_full_installation_from_the_package_index(packages: Packages, tmp_path: Path) -> None:
    """With nothing borrowed, the declared dependencies are enough for the whole demonstration."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    wanted = ["install", "--quiet", "--only-binary=:all:", str(packages.wheel)]
    got = subprocess.run(
        [str(folder / "bin" / "pip"), *wanted],
        env=clean_environment(), capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    if got.returncode != 0:
        pytest.skip(f"the package index cannot be reached: {got.stderr.strip()[-200:]}")
    demo = ("demo", "--folder", str(tmp_path / "var"), "--exit", "--http-port", "0")
    done = Installed(folder=folder).run("mosaico-bridge", *demo)

    assert done.returncode == 0, done.stderr
    assert "verified: counts" in done.stdout


def interpreter(version: str) -> str:
    """Give a Python of a version that runs here; skip without one."""
    named = [shutil.which(f"python{version}")]
    for found in (*named, *Path.home().glob(f".pyenv/versions/{version}.*/bin/python3")):
        if (
            found
            and subprocess.run([found, "-V"], check=False, capture_output=True).returncode == 0
        ):
            return str(found)
    pytest.skip(f"no Python {version} here")


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_locked_dependencies_do(packages: Packages, tmp_path: Path, version: str) -> None:
    """On every Python that is declared, what the lock file names is enough and fits together."""
    folder = tmp_path / "venv"
    subprocess.run([interpreter(version), "-m", "venv", str(folder)], check=True, timeout=120)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--no-deps"]
    for wanted in (
        ["--require-hashes", "--requirement", str(ROOT / ".ci" / "constraints.txt")],
        [str(packages.wheel)],
    ):
        got = subprocess.run(
            [*pip, *wanted],
            env=clean_environment(), capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        if "NewConnectionError" in got.stderr:
            pytest.skip("the package index cannot be reached")
        assert got.returncode == 0, got.stderr
    installed = Installed(folder=folder)
    assert installed.run("pip", "check").returncode == 0
    demo = ("demo", "--folder", str(tmp_path / "var"), "--exit", "--http-port", "0")
    done = installed.run("mosaico-bridge", *demo)
    assert done.returncode == 0, done.stderr
    assert "verified: counts" in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_release_lists_its_components(packages: Packages, tmp_path: Path) -> None:
    """`make dist`, from the sdist, names exactly what comes with it, and no folder of ours."""
    source = tmp_path / "source"
    shutil.copytree(packages.unpacked, source)
    done = subprocess.run(
        ["make", "dist", f"PYTHON={sys.executable}", "PROJECT_URL=https://code.example/x"],
        cwd=source, env=clean_environment(),
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    if "NewConnectionError" in done.stdout + done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr
    listed = source / "dist" / f"mosaico-bridge-{__version__}.cdx.json"
    text = listed.read_text(encoding="utf-8")
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("mosaico-bridge", __version__)
    assert [one["url"] for one in root["externalReferences"]] == ["https://code.example/x"]
    components = {one["name"].lower(): one["version"] for one in bill["components"]}
    lock = (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8").lower()
    assert {"pyarrow", "numpy", "watchdog"} <= set(components)
    for name, version in components.items():
        assert re.search(rf"^{re.sub('[-_.]', '[-_.]', name)}=={version}\b", lock, re.MULTILINE)
    assert str(tmp_path) not in text


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_comes_as_a_wheel(
    packages: Packages, tmp_path: Path, machine: str, python: str
) -> None:
    """For both kinds of machine and each Python the index has all that the wheel needs, built."""
    platforms = [f"--platform=manylinux{tag}_{machine}" for tag in ("2014", "_2_17", "_2_28")]
    wanted = ("--only-binary=:all:", f"--python-version={python}", *platforms)
    report = tmp_path / "report.json"
    resolved = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"),
            *(*wanted, f"--target={tmp_path / 'nowhere'}", f"--report={report}"),
            str(packages.wheel),
        ],
        env=clean_environment(), capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    if "NewConnectionError" in resolved.stderr:
        pytest.skip("the package index cannot be reached")
    assert resolved.returncode == 0, resolved.stderr
    files = [
        Path(urlparse(entry["download_info"]["url"]).path).name
        for entry in json.loads(report.read_text(encoding="utf-8"))["install"]
    ]
    compiled = [name for name in files if not name.endswith("-none-any.whl")]
    assert [name for name in compiled if name.startswith("pyarrow-")]
    assert [name for name in compiled if not name.endswith(f"{machine}.whl")] == []
