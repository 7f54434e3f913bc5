"""How much was proven is shown wherever a recording is, and what was not proven is not believed."""

from typing import TYPE_CHECKING, Any

import pytest

from bridge.client import MosaicoClient
from bridge.daemon.daemon import Daemon
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import State
from bridge.daemon.observe.metrics import Metrics
from bridge.embedded import EmbeddedServer
from bridge.embedded.store import TopicData
from tests.servers.served import Revision, embedded_server

if TYPE_CHECKING:
    from tests.daemon.conftest import Bridge


def run_once(bridge: "Bridge", server: EmbeddedServer) -> str:
    """Run a daemon with real workers until all is at rest, and give its metrics."""
    bridge.overrides |= {"server.host": "127.0.0.1", "server.port": server.port}
    metrics = Metrics()
    daemon = Daemon(bridge.settings, server=("127.0.0.1", server.port), observer=metrics)
    daemon.run_once()
    return metrics.exposition().decode()


@pytest.mark.parametrize(
    ("revision", "level"),
    [
        ("G1.2", "range"),
        ("G2d", "counts"),
        pytest.param("G3b", "counts", marks=pytest.mark.slow),
    ],
)
def test_level_is_what_the_platform_can_prove(
    bridge: "Bridge", revision: Revision, level: str
) -> None:
    """Journal, story, report and metrics show the level proven, not the level asked for."""
    bridge.drop("a.mcap")
    with embedded_server(bridge.folder / "platform", revision) as server:
        metrics = run_once(bridge, server)
    entry = bridge.entries()["a.mcap"]
    with Journal.read(bridge.state) as journal:
        report = journal.report(entry.id)

    assert (entry.state, entry.verification) == (State.FINALISED, level)
    assert f"verified: {level}" in entry.reason
    assert report is not None
    assert report["verification"] == level
    assert f'mosaico_bridge_verifications_total{{level="{level}"}} 1.0' in metrics


@pytest.mark.parametrize("mode", ["delete", pytest.param("move", marks=pytest.mark.slow)])
def test_difference_is_told_with_both_figures_and_the_recording_stays(
    bridge: "Bridge", monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """A platform that loses a row gets nothing finalised, and nobody disposes of the recording."""
    append = TopicData.append

    def losing(data: TopicData, batch: Any) -> None:
        append(data, batch.slice(1))

    monkeypatch.setattr(TopicData, "append", losing)
    path = bridge.drop("a.mcap")
    archive = bridge.folder / "archive"
    bridge.overrides |= {"disposal.mode": mode, "disposal.archive_folder": str(archive)}
    with EmbeddedServer(bridge.folder / "platform") as server:
        metrics = run_once(bridge, server)
        with MosaicoClient.connect("127.0.0.1", server.port) as client:
            left = client.list_sequences()
    entry = bridge.entries()["a.mcap"]

    assert entry.state is State.REJECTED
    assert entry.failure is not None
    assert (entry.failure.facts["expected"], entry.failure.facts["actual"]) == ("3", "2")
    assert "sent 3, the platform has 2" in entry.reason
    assert left == []
    assert path.exists()
    attempts = bridge.settings.retry.attempts_max
    assert f"mosaico_bridge_verification_failures_total {attempts}.0" in metrics
