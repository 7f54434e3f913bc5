"""docs/security.md: each threat names tests that exist, and a start looks at permissions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
KEY = "msco_secret"


def rows() -> list[tuple[str, list[str]]]:
    """Give each threat of the page's table with the tests named for it."""
    chapter = PAGE.partition("## How it is tested")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.+?) \| (`.+`) \|$", chapter, re.MULTILINE)
    return [(threat, re.findall(r"`([^`]+)`", tests)) for threat, tests in lines]


@pytest.mark.parametrize(("threat", "named"), rows(), ids=lambda value: str(value)[:40])
def test_each_threat_has_its_tests(threat: str, named: list[str]) -> None:
    """What the page names for a threat is a test in the file it names."""
    assert named, threat
    for place in named:
        file, _, function = place.partition("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^def {function}\(", text, re.MULTILINE), place


def test_every_chapter_of_threats_is_in_the_table() -> None:
    """No kind of attacker is written about without a test."""
    assert {"recordings", "platform", "users", "secrets"} == {
        threat.partition(":")[0] for threat, _ in rows()
    }


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o644, 1)])
def test_a_start_tells_of_a_key_that_others_can_read(
    tmp_path: Path, mode: int, warnings: int
) -> None:
    """The real command looks at each start, names the file, and does not show what is in it."""
    (tmp_path / "recordings").mkdir()
    key = tmp_path / "key"
    key.write_text(KEY, encoding="utf-8")
    key.chmod(mode)
    settings = tmp_path / "bridge.toml"
    settings.write_text(f'[server]\napi_key_file = "{key}"\n', encoding="utf-8")
    folders = ("--folder", str(tmp_path / "recordings"), "--state", str(tmp_path / "state"))
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "once", "--embedded", "--config", str(settings), *folders],
        capture_output=True, text=True, timeout=120, check=True, cwd=ROOT,
    )  # fmt: skip

    assert done.stderr.count(f"chmod 600 {key}") == warnings
    assert KEY not in done.stdout + done.stderr
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
