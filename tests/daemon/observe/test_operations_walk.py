"""The walk through the pages for operators, chapter by chapter, with the commands that it names.

One bridge lives through all of it, in the order of a life; each test is a chapter.
"""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.observe.live_bridge import ROOT, LiveBridge, full_disk, junk, outage
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

PAGE = "".join(
    (ROOT / "docs" / f"{task}.md").read_text(encoding="utf-8")
    for task in ("install", "run", "watch", "fix")
)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBridge]:
    with LiveBridge(tmp_path_factory.mktemp("walk")) as bridge:
        yield bridge


def chapter(title: str) -> str:
    """Give a chapter of the page; it must be there."""
    assert f"\n## {title}\n" in PAGE
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def ask(bridge: LiveBridge, *words: str | Path) -> tuple[int, str]:
    """Give exit code and output of a command, as an operator at a terminal would get them."""
    command = [sys.executable, "-m", "bridge", *map(str, words), "--config"]
    done = subprocess.run(
        [*command, bridge.base / "bridge.toml"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def failing(bridge: LiveBridge) -> list[str] | None:
    """Give what `/readyz` names, or None while nobody answers."""
    return get(bridge, "readyz").get("failing")


def get(bridge: LiveBridge, path: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{bridge.http_port}/{path}") as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))
    except OSError:
        return {}


def says(bridge: LiveBridge, *wanted: str) -> Callable[[], bool]:
    """Make a condition: `status` says all of this."""
    return lambda: all(words in ask(bridge, "status")[1] for words in wanted)


def lines_about(bridge: LiveBridge, path: Path) -> list[str]:
    return [line for line in bridge.log.read_text().splitlines() if f"recording={path}" in line]


def test_installation(bridge: LiveBridge) -> None:
    """`check` is content with the settings of the running bridge, and `status` with the bridge."""
    assert "check --config bridge.toml" in chapter("Installation")
    wait_for(lambda: failing(bridge) == [])
    code, said = ask(bridge, "check")
    assert code == 0, said
    assert "may delete" in said
    assert ask(bridge, "status")[0] == 0


def test_first_recording(bridge: LiveBridge) -> None:
    """From the folder to the platform in three lines of log, which are those of the page."""
    path = bridge.drop()
    wait_for(lambda: "on the platform" in "".join(lines_about(bridge, path)))
    shown = chapter("First recording").partition("```\n")[2].partition("```")[0].splitlines()

    def bones(line: str) -> list[str]:
        return re.findall(r"\b(info|ready|sending|on the platform|\w+(?==))", line)

    assert [bones(line) for line in lines_about(bridge, path)] == [bones(line) for line in shown]
    code, said = ask(bridge, "explain", path)
    assert (code, "story of recording" in said) == (0, True)


def test_an_outage(bridge: LiveBridge) -> None:
    """The page says offline, only `server` fails, the bridge lives; then all goes on by itself."""
    assert "`readyz` fails at `server`; `healthz` stays fine" in chapter("An outage")
    with outage(bridge):
        wait_for(says(bridge, "Offline", "Nothing is lost: 1 recording"))
        assert failing(bridge) == ["server"]
        assert get(bridge, "healthz")["alive"] is True
        assert ask(bridge, "status")[0] == 3
    wait_for(says(bridge, "All is well", "2 finalised"))


def test_a_quarantined_recording(bridge: LiveBridge) -> None:
    """It is named with a hint, everything else goes on, and it is gone when it is forgotten."""
    assert "remove it and `mosaico-bridge forget` it" in chapter("A quarantined recording")
    with junk(bridge):
        wait_for(says(bridge, "1 recording needs attention", "perhaps an error page"))
        bridge.drop()
        wait_for(says(bridge, "3 finalised"))
        assert failing(bridge) == []
    wait_for(says(bridge, "All is well"))


def test_a_full_disk(bridge: LiveBridge) -> None:
    """Readiness names the disk while it is full, and is content when there is room again."""
    with full_disk(bridge):
        wait_for(lambda: failing(bridge) == ["disk_archive"])
        code, said = ask(bridge, "check")
        assert code == 1
        assert "make room on that disk" in said
    wait_for(lambda: failing(bridge) == [])


def test_an_upgrade(bridge: LiveBridge) -> None:
    """A bridge that is stopped while it sends goes on after its start, and sends nothing twice."""
    said = " ".join(chapter("An upgrade").split())
    assert "what does not finish is taken up by the new version" in said
    bridge.configure(rate=10_000)
    bridge.reload()
    paths = [bridge.drop() for _ in range(3)]
    wait_for(says(bridge, "In work"))
    bridge.stop()
    assert "stopped" in bridge.log.read_text()
    bridge.configure()
    bridge.start()
    wait_for(says(bridge, "All is well", "6 finalised"))
    with bridge.client() as client:
        assert len(client.list_sequences()) == 6
    for path in paths:
        assert sum("on the platform" in line for line in lines_about(bridge, path)) == 1
    code, said = ask(bridge, "verify", "--all")
    assert (code, "6 compared, 0 differ" in said) == (0, True), said
