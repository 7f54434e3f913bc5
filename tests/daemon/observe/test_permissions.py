"""What others on the machine may read or change is found at the start, and said."""

import logging
import os
from pathlib import Path

import pytest

from bridge.config import Settings, load_settings
from bridge.daemon import check_permissions
from bridge.errors import JournalError


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("msco_secret", encoding="utf-8")
    return file


def settings(tmp_path: Path, **server: object) -> Settings:
    overrides = {"state.folder": tmp_path / "made" / "state"}
    return load_settings(None, overrides | {f"server.{name}": v for name, v in server.items()})


def test_a_state_folder_is_made_for_us_alone(tmp_path: Path) -> None:
    """Nobody else may look into a folder that the bridge makes, whatever the umask."""
    before = os.umask(0)
    try:
        assert check_permissions(settings(tmp_path)) == []
    finally:
        os.umask(before)
    assert (tmp_path / "made" / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("mode", "warnings"), [(0o755, 0), (0o775, 1), (0o777, 1)])
def test_a_state_folder_that_others_may_change_is_told(
    tmp_path: Path, mode: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody who can write there can make the bridge forget a recording."""
    chosen = settings(tmp_path)
    chosen.state.folder.mkdir(parents=True)
    chosen.state.folder.chmod(mode)
    with caplog.at_level(logging.WARNING):
        findings = check_permissions(chosen)

    assert len(findings) == warnings == caplog.text.count("others may write into")


@pytest.mark.parametrize("name", ["api_key_file", "tls_key_file"])
@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_a_key_of_ours_that_others_can_read_is_told(
    tmp_path: Path, key: Path, name: str, mode: int, warnings: int
) -> None:
    """The sentence names the setting, the file and what to do, and not what is in it."""
    key.chmod(mode)
    findings = check_permissions(settings(tmp_path, **{name: key}))

    assert len(findings) == warnings
    assert all(f"server.{name}" in text and f"chmod 600 {key}" in text for text in findings)
    assert "msco_secret" not in "".join(findings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("mode", "warnings"), [(0o640, 0), (0o644, 1)])
def test_a_key_that_we_read_through_its_group_is_fine(
    tmp_path: Path, key: Path, mode: int, warnings: int
) -> None:
    """A key that belongs to somebody else reaches a service by its group; the world needs none."""
    os.chown(key, 1, 0)
    key.chmod(mode)

    assert len(check_permissions(settings(tmp_path, api_key_file=key))) == warnings


def test_a_settings_file_counts_only_with_a_key_in_it(tmp_path: Path, key: Path) -> None:
    """Settings may be read by anybody, unless the key stands among them."""
    key.chmod(0o644)

    assert check_permissions(settings(tmp_path), file=key) == []
    assert len(check_permissions(settings(tmp_path, api_key="msco_x"), file=key)) == 1


def test_a_state_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file in its place is told with the path."""
    (tmp_path / "made").touch()
    with pytest.raises(JournalError, match="state folder"):
        check_permissions(settings(tmp_path))
