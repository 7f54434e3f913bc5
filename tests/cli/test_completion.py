"""Shell completion: each shell, where it is installed, really completes commands and options."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.daemon import Journal

PROGRAM = Path(sys.executable).with_name("mosaico-bridge")
PATIENCE_S = 90.0
READY = "is-ready"

needs_program = pytest.mark.skipif(
    not PROGRAM.exists(), reason="the package is not installed beside this Python"
)

# Shell -> how it is started without anybody's settings, and how it takes up the completion.
INTERACTIVE = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(mosaico-bridge --show-completion)"'),
    "zsh": (
        ["zsh", "--no-rcs", "-i"],
        'autoload -Uz compinit; compinit -u; eval "$(mosaico-bridge --show-completion)"',
    ),
}


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def environment(home: Path) -> dict[str, str]:
    return {
        "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


class Terminal:
    """A shell at a terminal, typed at by a test."""

    def __init__(self, command: list[str], home: Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(home),
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def await_text(self, wanted: str) -> None:
        """Wait until a text is shown that was not before the last call."""
        give_up_at_s = time.monotonic() + PATIENCE_S
        self.shown = ""
        while wanted not in self.shown:
            assert time.monotonic() < give_up_at_s, self.shown
            if select.select([self._ours], [], [], 0.1)[0]:
                self.shown += os.read(self._ours, 65536).decode(errors="replace")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@needs_program
@pytest.mark.parametrize("name", INTERACTIVE)
def test_the_tab_key_completes_commands_and_options(name: str, tmp_path: Path) -> None:
    """At a prompt, `expl` and tab becomes `explain`, and `--js` and tab `--json`."""
    shell(name)
    command, setting_up = INTERACTIVE[name]
    terminal = Terminal(command, tmp_path)
    try:
        # The text in two parts, so that the echo of what is typed is not taken for the answer.
        terminal.type(f"{setting_up}; echo is-'ready'\n")
        terminal.await_text(READY)
        terminal.type("mosaico-bridge expl\t")
        terminal.await_text("explain")
        terminal.type("drive --js\t")
        terminal.await_text("--json")
    finally:
        terminal.close()


@needs_program
def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    """What fish would offer, by its own account, with a word about each command."""
    script = (
        "mosaico-bridge --show-completion | source\n"
        "complete -C 'mosaico-bridge expl'\n"
        "complete -C 'mosaico-bridge status --js'\n"
    )
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", script],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    offered = dict(line.split("\t", 1) for line in done.stdout.splitlines())

    assert offered == {
        "explain": "Say which completeness rule a recording meets",
        "--json": "Print JSON instead of tables.",
    }


@needs_program
def test_completion_is_installed_for_the_shell_that_asks(tmp_path: Path) -> None:
    """`--install-completion` in bash writes the completion and sources it from the start file."""
    subprocess.run(
        [shell("bash"), "--norc", "-c", "mosaico-bridge --install-completion; true"],
        env=environment(tmp_path),
        capture_output=True,
        timeout=PATIENCE_S,
        check=True,
    )
    (line,) = (tmp_path / ".bashrc").read_text(encoding="utf-8").split("\n")[:-1][-1:]
    named = Path(line.removeprefix("source ").strip("'\""))

    assert "complete_bash" in named.read_text(encoding="utf-8")


@needs_program
def test_names_of_recordings_are_offered(tmp_path: Path) -> None:
    """`retry dri` and tab offers what the journal of these settings knows, and nothing else."""
    with Journal.own(tmp_path / "state") as journal:
        for name in ("drive_1.mcap", "drive_2.mcap", "other.mcap"):
            journal.discover(tmp_path / "in" / name, name=name, size_bytes=1, modified_ns=1)
    (tmp_path / "bridge.toml").write_text("", encoding="utf-8")
    for words in ("retry dri", "forget dri", "verify dri"):
        done = subprocess.run(
            [PROGRAM],
            env=environment(tmp_path)
            | {
                "_MOSAICO_BRIDGE_COMPLETE": "complete_bash",
                "COMP_WORDS": f"mosaico-bridge {words}",
                "COMP_CWORD": "2",
            },
            cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.stdout.split() == ["drive_2.mcap", "drive_1.mcap"], words
