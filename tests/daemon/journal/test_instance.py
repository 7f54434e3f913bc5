"""The bridge's own name, and what may become of the file that keeps it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bridge.daemon.events.events import Event, Troubled
from bridge.daemon.journal.instance import INSTANCE_FILE, MACHINE_FILE, instance_id
from bridge.daemon.journal.states import State

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"\0" * 32, b"two\nlines", b"x" * 4000, None],
    ids=["bytes", "zeros", "lines", "long", "folder"],
)  # fmt: skip
def test_bad_instance_file_is_set_aside(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no name is kept beside, a new name is made, and the next start finds that."""
    path = tmp_path / INSTANCE_FILE
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    made = instance_id(tmp_path)

    assert instance_id(tmp_path) == made
    assert len(list(tmp_path.glob(f"{INSTANCE_FILE}.bad-*"))) == 1
    assert "set aside" in caplog.text


def test_empty_instance_file_gets_a_name(tmp_path: Path) -> None:
    """A power cut may leave nothing of it."""
    (tmp_path / INSTANCE_FILE).touch()
    made = instance_id(tmp_path)

    assert made
    assert [path.name for path in tmp_path.iterdir()] == [INSTANCE_FILE]
    assert instance_id(tmp_path) == made


def test_start_with_a_bad_instance_file_works(bridge: "Bridge") -> None:
    """The bridge starts, and recordings arrive."""
    bridge.state.mkdir()
    (bridge.state / INSTANCE_FILE).write_bytes(b"\x80\x81")
    bridge.drop("a.mcap")
    bridge.daemon().run_once()

    assert bridge.entries()["a.mcap"].state is State.FINALISED


def test_state_folder_of_another_machine_is_told(bridge: "Bridge") -> None:
    """A copied disk image is reported at the start, once for each machine."""
    bridge.daemon().run_once()
    path = bridge.state / MACHINE_FILE
    if not path.exists():
        pytest.skip("this machine has no id")
    path.write_text("another\n")
    troubles: list[str] = []

    class Listener:
        def hear(self, event: Event) -> None:
            if isinstance(event, Troubled):
                troubles.append(event.failure.message)

    bridge.daemon(Listener()).run_once()
    bridge.daemon(Listener()).run_once()

    assert len(troubles) == 1
    assert "another machine" in troubles[0]
