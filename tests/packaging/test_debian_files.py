"""What the Debian package has outside of /opt, written without building it."""

import gzip
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bridge.cli import app
from tests.packaging.conftest import ROOT, made_once

SOURCE = ROOT / ".ci" / "deb"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
SHELLS = {
    "bash": "usr/share/bash-completion/completions/mosaico-bridge",
    "zsh": "usr/share/zsh/vendor-completions/_mosaico-bridge",
    "fish": "usr/share/fish/vendor_completions.d/mosaico-bridge.fish",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the package."""

    def make(folder: Path) -> None:
        command = [sys.executable, str(SOURCE / "files.py"), str(folder)]
        subprocess.run(command, check=True, timeout=60)

    return made_once(tmp_path_factory, "debian-files", make)


@cache
def commands() -> dict[str, Any]:
    """Give every command and group of commands by the name of its page."""
    found = {}

    def walk(name: str, command: Any) -> None:
        found[name] = command
        for word, below in getattr(command, "commands", {}).items():
            walk(f"{name}-{word}", below)

    walk("mosaico-bridge", typer.main.get_command(app))
    return found


def pages(files: Path) -> dict[str, str]:
    return {
        file.name.removesuffix(".1.gz"): gzip.decompress(file.read_bytes()).decode()
        for file in (files / "usr/share/man/man1").iterdir()
    }


def test_every_command_has_a_page_with_all_its_options(files: Path) -> None:
    """The pages are those of the commands that there are, and leave no option out."""
    written = pages(files)
    assert set(written) == set(commands())
    for name, command in commands().items():
        text = written[name].replace("\\-", "-")
        options = {option for one in command.params for option in one.opts if option[0] == "-"}
        assert [option for option in options if option not in text] == [], name
        assert [word for word in getattr(command, "commands", {}) if word not in text] == [], name


def test_pages_are_clean(files: Path) -> None:
    """The formatter has nothing to complain about, and prints what is in them as it is."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    text = "".join(pages(files).values())
    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-ww", "-P-cbou"],
        input=text, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "[env var: MOSAICO_BRIDGE_CONFIG]" in re.sub(r"\s+", " ", done.stdout)
    assert not re.search(r"\\[-e&]|^\.[A-Z]", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_what_the_shell_can_read(files: Path, shell: str) -> None:
    """Each file is where its shell looks, without a fault, and asks the program."""
    file = files / SHELLS[shell]
    assert "_MOSAICO_BRIDGE_COMPLETE=complete_" in file.read_text(encoding="utf-8")
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [shell, "-n", str(file)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_units_and_settings_are_those_of_the_repository(files: Path) -> None:
    """Units start the program below /opt, and the settings are the commented defaults."""
    for source, target in (
        ("systemd/mosaico-bridge.service", "usr/lib/systemd/system/mosaico-bridge.service"),
        ("systemd/mosaico-bridge@.service", "usr/lib/systemd/system/mosaico-bridge@.service"),
        ("systemd/mosaico-bridge.sysusers", "usr/lib/sysusers.d/mosaico-bridge.conf"),
        ("systemd/mosaico-bridge.tmpfiles", "usr/lib/tmpfiles.d/mosaico-bridge.conf"),
        ("config/bridge.toml", "etc/mosaico-bridge/bridge.toml"),
        ("docs/operations.md", "usr/share/doc/mosaico-bridge/operations.md"),
    ):
        assert (files / target).read_bytes() == (ROOT / source).read_bytes(), target


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_what_dpkg_can_run(name: str) -> None:
    """Each ends at its first failure, is sound, and touches units only where a system is booted."""
    text = (SOURCE / name).read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -e\n" in text
    subprocess.run(["sh", "-n", str(SOURCE / name)], check=True, timeout=30)
    if "systemctl" in text:
        assert 0 < text.find("[ -d /run/systemd/system ]") < text.find("systemctl")


def test_only_a_purge_removes_what_the_bridge_knows() -> None:
    """Nothing but the purge names a folder to remove."""
    removing = [
        line.strip()
        for name in SCRIPTS
        for line in (SOURCE / name).read_text(encoding="utf-8").splitlines()
        if "rm -r" in line
    ]
    assert removing == ["rm -rf /var/lib/mosaico-bridge /etc/mosaico-bridge"]
    postrm = (SOURCE / "postrm").read_text(encoding="utf-8")
    assert postrm.index("purge)") < postrm.index("rm -rf") < postrm.index("esac")
