"""The HTTP port, asked over real sockets about a real journal."""

import gzip
import http.client
import itertools
import json
import re
import shutil
import socket
import struct
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bridge.bags import find_others
from bridge.daemon.events.events import (
    IngestFailed,
    IngestProgressed,
    IngestStarted,
    Progress,
    Ticked,
    TopicPlanned,
)
from bridge.daemon.events.status import Gate, GateStatus, TopicProgress, WatchStatus
from bridge.daemon.journal.entry import Entry
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import State
from bridge.daemon.observe import http as http_module
from bridge.daemon.observe.health import STUCK_AFTER_S
from bridge.daemon.observe.http import CONNECTIONS_MAX, HASTE_S, HttpServer
from bridge.daemon.observe.live_state import LiveState
from bridge.daemon.observe.metrics import Metrics
from bridge.errors import ConfigError
from bridge.ingest import TopicOutcome, TopicReport
from tests.daemon.observe.situations import NOW_NS, NOW_S, SECOND_NS, entry, failure, status, worker
from tests.waiting import wait_for

ROOT = Path(__file__).parents[3]


class Bridge:
    """An HTTP port with everything behind it, and a clock that only moves when told."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 1000.0
        self.folder = folder
        self.board = LiveState(wall_ns=lambda: NOW_NS, monotonic=lambda: self.now_s)
        self.journal = Journal.own(folder / "state", wall_ns=lambda: NOW_NS)
        self.reader = JournalReader(folder / "state")
        self.metrics = Metrics(journal=self.reader)
        self.server = HttpServer(
            "127.0.0.1",
            0,
            metrics=self.metrics,
            status=self.board,
            journal=self.reader,
            folders={"state": folder},
            disk_free_min_bytes=1,
        )

    def request(
        self,
        target: str,
        *,
        method: str = "GET",
        host: str = "",
        accept: str = "",
        body: bytes | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        given = {"Host": host, "Accept-Encoding": accept}
        headers = {name: value for name, value in given.items() if value}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        try:
            connection.putrequest(
                method, target, skip_host="Host" in headers, skip_accept_encoding=True
            )
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def json(self, target: str) -> tuple[int, Any]:
        code, headers, body = self.request(target)
        assert headers["Content-Type"] == "application/json"
        return code, json.loads(body)

    def discover(self, name: str) -> Entry:
        return self.journal.discover(
            self.folder / name, name=name, size_bytes=1000, modified_ns=NOW_NS
        )


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(tmp_path)
    with bridge.server, bridge.reader, bridge.journal:
        yield bridge


def test_port_zero_finds_a_free_port(bridge: Bridge) -> None:
    """The server tells the port it took and the URL of its page."""
    assert bridge.server.port > 0
    assert bridge.server.address == f"http://127.0.0.1:{bridge.server.port}/"


def test_taken_port_is_a_configuration_error(bridge: Bridge) -> None:
    """A port that is in use names the setting to change."""
    with pytest.raises(ConfigError, match=str(bridge.server.port)) as caught:
        HttpServer(
            "127.0.0.1",
            bridge.server.port,
            metrics=bridge.metrics,
            status=bridge.board,
            journal=bridge.reader,
        )
    assert caught.value.key == "http.port"
    assert caught.value.hint


def test_close_releases_the_port(tmp_path: Path) -> None:
    """After closing, twice for good measure, the port can be taken again."""
    bridge = Bridge(tmp_path)
    with bridge.journal, bridge.reader:
        bridge.server.start()
        port = bridge.server.port
        assert port
        bridge.server.close()
        bridge.server.close()
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))


def test_metrics_are_served(bridge: Bridge) -> None:
    """A scrape gives what Prometheus can parse."""
    bridge.discover("drive")
    code, headers, body = bridge.request("/metrics")
    assert code == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name for family in text_string_to_metric_families(body.decode())}
    assert "mosaico_bridge_recordings" in families
    assert b'\nmosaico_bridge_recordings{state="discovered"} 1.0\n' in body


def test_healthz_follows_the_loop(bridge: Bridge) -> None:
    """Health is about the loop alone: starting and stuck fail, an outage does not."""
    assert bridge.json("/healthz")[0] == 503
    offline = GateStatus(gate=Gate.OFFLINE, reason="nobody answers")
    bridge.board.hear(Ticked(status=status(gate=offline)))
    code, answer = bridge.json("/healthz")
    assert (code, answer["alive"]) == (200, True)
    bridge.now_s += STUCK_AFTER_S + 1
    code, answer = bridge.json("/healthz")
    assert (code, answer["alive"]) == (503, False)
    assert "restart" in answer["checks"][0]["hint"]


def test_readyz_is_content_when_all_is_well(bridge: Bridge) -> None:
    """Ready means loop, server, key, folder and disk are all fine."""
    bridge.board.hear(Ticked(status=status()))
    code, answer = bridge.json("/readyz")
    assert code == 200
    assert answer["ready"] is True
    assert [check["name"] for check in answer["checks"]] == [
        "loop", "server", "key", "folder", "disk_state",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"gate": GateStatus(gate=Gate.OFFLINE, reason="refused", reached=True)}, "server",
         "refused"),
        ({"gate": GateStatus(gate=Gate.OPEN)}, "server", "has not answered"),
        ({"gate": GateStatus(gate=Gate.REFUSED, reason="bad key", hint="set it", reached=True)},
         "key", "bad key"),
        ({"watch": WatchStatus(folder=Path("/data"), readable=False)}, "folder", "/data"),
    ],
)  # fmt: skip
def test_readyz_says_what_fails(
    bridge: Bridge, changes: dict[str, Any], name: str, words: str
) -> None:
    """What fails is named with the reason, and nothing else is blamed."""
    bridge.board.hear(Ticked(status=status(**changes)))
    code, answer = bridge.json("/readyz")
    assert code == 503
    assert answer["failing"] == [name]
    (check,) = [check for check in answer["checks"] if check["name"] == name]
    assert words in check["detail"]


def test_readyz_wants_room_on_the_disk(tmp_path: Path) -> None:
    """A disk below the watermark, or gone, is named by the role of its folder."""
    with JournalReader(tmp_path) as journal:
        board = LiveState()
        board.hear(Ticked(status=status()))
        server = HttpServer(
            "127.0.0.1", 0, metrics=Metrics(), status=board, journal=journal,
            folders={"state": tmp_path, "archive": tmp_path / "gone"},
            disk_free_min_bytes=2**60,
        )  # fmt: skip
        with server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", "/readyz")
            answer = json.loads(connection.getresponse().read())
            connection.close()
    assert answer["failing"] == ["disk_state", "missing_archive"]


def test_recordings_are_paged(bridge: Bridge) -> None:
    """Pages are disjoint, complete, and say how to go on."""
    made = {bridge.discover(f"drive_{number}").id for number in range(7)}
    seen: list[int] = []
    offset: int | None = 0
    while offset is not None:
        code, answer = bridge.json(f"/api/recordings?limit=3&offset={offset}")
        assert code == 200
        assert answer["total"] == 7
        seen += [recording["id"] for recording in answer["recordings"]]
        offset = answer["next_offset"]
    assert len(seen) == 7
    assert set(seen) == made


def test_recordings_are_filtered_by_state(bridge: Bridge) -> None:
    """Several states can be asked for; the total counts only those."""
    for number in range(3):
        bridge.discover(f"drive_{number}")
    ready = bridge.discover("ready")
    bridge.journal.move(ready.id, State.READY, "complete")
    code, answer = bridge.json("/api/recordings?state=ready&state=waiting")
    assert code == 200
    assert answer["total"] == 1
    assert [one["name"] for one in answer["recordings"]] == ["ready"]
    assert answer["recordings"][0]["reason"] == "complete"
    assert answer["recordings"][0]["changed_at"] == NOW_S


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "offset=-1", "offset=1e3", "state=gone",
              "limit=" + "9" * 5000],
)  # fmt: skip
def test_nonsense_in_a_query_is_refused(bridge: Bridge, query: str) -> None:
    """A query that means nothing gets 400 and a reason."""
    code, answer = bridge.json(f"/api/recordings?{query}")
    assert code == 400
    assert answer["message"]


def test_recording_tells_its_story(bridge: Bridge) -> None:
    """One recording shows its steps with reasons, its failure and its report."""
    one = bridge.discover("drive")
    bridge.journal.move(one.id, State.READY, "complete")
    bridge.journal.move(one.id, State.SENDING, "taken")
    bridge.journal.move(
        one.id, State.WAITING, "broken", failure=failure(hint="wait"), due_ns=NOW_NS + SECOND_NS
    )
    bridge.journal.keep_report(one.id, {"topics": [{"name": "/imu"}]})
    code, answer = bridge.json(f"/api/recordings/{one.id}")
    assert code == 200
    assert [step["after"] for step in answer["story"]] == [
        "discovered", "ready", "sending", "waiting",
    ]  # fmt: skip
    assert answer["story"][0]["before"] is None
    assert answer["report"]["topics"][0]["name"] == "/imu"
    assert answer["failure"]["hint"] == "wait"
    assert answer["due_at"] == NOW_S + 1


@pytest.mark.parametrize(
    "target", ["/api/recordings/999", f"/api/recordings/{2**64}", "/api/recordings/-1",
               "/api/recordings/x", "/api/recordings/1/2", "/nothing", "/../etc/passwd"],
)  # fmt: skip
def test_what_does_not_exist_is_not_found(bridge: Bridge, target: str) -> None:
    """Unknown paths and numbers are 404, as JSON."""
    assert bridge.json(target)[0] == 404


def test_status_shows_what_is_going_on(bridge: Bridge) -> None:
    """The status has the verdict, the workers with their topics, rates, trouble and lists."""
    busy = worker(topics={"/imu": TopicProgress(messages=1000, arrow_bytes=5, batches=1)})
    bridge.board.hear(Ticked(status=status(workers=(busy,), counts={"sending": 1})))
    bridge.board.hear(IngestStarted(entry=entry(), sequence="s", size_bytes=1, message_count=None))
    planned = TopicReport(
        name="/imu", msgtype="sensor_msgs/msg/Imu", outcome=TopicOutcome.MAPPED, ontology_tag="imu",
        messages_recorded=2000,
    )  # fmt: skip
    bridge.board.hear(TopicPlanned(entry=entry(), topic=planned))
    progress = Progress(recorded_bytes=100, messages={"/imu": 50}, arrow_bytes={"/imu": 500})
    bridge.board.hear(IngestProgressed(entry=entry(), progress=progress))
    bridge.now_s += 5
    for _ in range(3):
        bridge.board.hear(IngestFailed(entry=entry(), failure=failure(), retry_in_s=2))
    waiting = bridge.discover("waiting")
    code, answer = bridge.json("/api/status")
    assert code == 200
    assert answer["verdict"]["level"] == "busy"
    (shown,) = answer["workers"]
    assert shown["topics"] == [
        {
            "name": "/imu", "msgtype": "sensor_msgs/msg/Imu", "outcome": "mapped",
            "ontology_tag": "imu", "reason": "", "messages_recorded": 2000, "messages_sent": 1000,
            "arrow_bytes": 5,
        }
    ]  # fmt: skip
    assert answer["rates"][-1]["messages_per_s"] == 10
    assert answer["rate"]["messages_per_s"] == 5
    (trouble,) = answer["troubles"]
    assert (trouble["recording"], trouble["repeats"]) == ("drive", 2)
    assert [one["id"] for one in answer["recordings"]["waiting"]] == [waiting.id]
    assert answer["daemon"]["watch"]["folder"] == "/data"


def test_status_works_before_the_first_turn(bridge: Bridge) -> None:
    """Right after the start there is a status already, which says so."""
    code, answer = bridge.json("/api/status")
    assert code == 200
    assert answer["verdict"]["headline"] == "Starting"
    assert answer["daemon"] is None


def test_undecodable_file_names_are_valid_json(bridge: Bridge) -> None:
    """Bytes that are no UTF-8 come out as replacement characters, not as broken JSON."""
    bridge.discover("bad\udcff\udcfe")
    _, _, body = bridge.request("/api/recordings")
    (shown,) = json.loads(body.decode("utf-8"))["recordings"]
    assert shown["path"].endswith("bad\ufffd\ufffd")
    assert "\\ud" not in body.decode()


def test_missing_journal_is_told_not_hidden(bridge: Bridge) -> None:
    """Without a journal the API says so with 503 and the page blames it; health goes on."""
    bridge.board.hear(Ticked(status=status()))
    bridge.journal.close()
    bridge.reader.close()
    shutil.rmtree(bridge.folder / "state")
    code, answer = bridge.json("/api/recordings")
    assert code == 503
    assert answer["error"] == "JournalError"
    code, answer = bridge.json("/api/status")
    assert code == 200
    assert answer["verdict"]["headline"] == "The journal cannot be read"
    assert bridge.request("/metrics")[0] == bridge.request("/healthz")[0] == 200


def test_journal_that_appears_later_is_found(bridge: Bridge) -> None:
    """The port can be open before the daemon has made its journal."""
    state = bridge.folder / "later"
    bridge.server.close()
    with (
        JournalReader(state) as reader,
        HttpServer(
            "127.0.0.1", 0, metrics=bridge.metrics, status=bridge.board, journal=reader
        ) as bridge.server,
    ):
        assert bridge.json("/api/recordings")[0] == 503
        with Journal.own(state):
            assert bridge.json("/api/recordings") == (
                200, {"recordings": [], "total": 0, "next_offset": None},
            )  # fmt: skip


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_changed(bridge: Bridge, method: str) -> None:
    """Only GET and HEAD exist, which the answer says as all others are given: in JSON."""
    code, headers, body = bridge.request("/api/status", method=method, body=b"x" * 5000)
    assert (code, headers["Allow"]) == (501, "GET, HEAD")
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "GET and HEAD" in json.loads(body)["message"]


@pytest.mark.parametrize(
    "sent", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  / / /\r\n\r\n"]
)
def test_what_is_no_request_gets_json_too(bridge: Bridge, sent: bytes) -> None:
    """Not even the library's own refusals are pages."""
    with socket.create_connection(("127.0.0.1", bridge.server.port), timeout=5) as caller:
        caller.sendall(sent)
        answer = b"".join(iter(lambda: caller.recv(4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    assert set(json.loads(body)) == {"error", "message"}


def test_a_request_has_a_deadline_as_a_whole(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that sends a byte now and then is cut off all the same."""
    monkeypatch.setattr(http_module, "REQUEST_S", 0.5)
    began_s = time.monotonic()
    address = ("127.0.0.1", bridge.server.port)
    with socket.create_connection(address, timeout=5) as caller, pytest.raises(ConnectionError):
        for byte in itertools.cycle(b"GET /healthz HTTP/1.0\r\nX: "):
            caller.sendall(bytes([byte]))
            time.sleep(0.05)
    assert time.monotonic() - began_s < 5


def test_an_answer_that_nobody_takes_is_given_up(
    bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that asks and reads nothing does not keep its slot."""
    monkeypatch.setattr(http_module, "ANSWER_S", 0.5)
    for number in range(300):
        bridge.discover(f"drive_{number}_" + "x" * 200)
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        caller.connect(("127.0.0.1", bridge.server.port))
        caller.sendall(b"GET /api/recordings?limit=500 HTTP/1.0\r\n\r\n")
        give_up_at_s = time.monotonic() + 10
        while bridge.server.connections and time.monotonic() < give_up_at_s:
            time.sleep(0.05)
        assert bridge.server.connections == 0


def test_slow_callers_make_room(bridge: Bridge) -> None:
    """With every slot taken by callers that dawdle, others are answered after a second."""
    address = ("127.0.0.1", bridge.server.port)
    slow = [socket.create_connection(address) for _ in range(CONNECTIONS_MAX)]
    try:
        # From when the last was let in, which a busy machine does late.
        wait_for(lambda: bridge.server.connections == CONNECTIONS_MAX)
        time.sleep(HASTE_S)
        for _ in range(5):
            assert bridge.request("/healthz")[0] == 503
    finally:
        for caller in slow:
            caller.close()


@pytest.mark.parametrize("target", ["/metrics", "/page.js", "/docs/fix.md"])
def test_long_answers_are_compressed_for_those_who_take_it(bridge: Bridge, target: str) -> None:
    """The same bytes, in a fraction of the length; without being asked nothing is packed."""
    _, plain_headers, plain = bridge.request(target)
    _, headers, packed = bridge.request(target, accept="br;q=1.0, gzip;q=0.8")
    _, _, refused = bridge.request(target, accept="gzip;q=0")

    assert "Content-Encoding" not in plain_headers
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Vary"] == "Accept-Encoding"
    assert len(packed) < len(plain) / 2
    if target != "/metrics":
        assert gzip.decompress(packed) == plain == refused


def test_what_is_no_recording_is_counted_and_named(tmp_path: Path) -> None:
    """Files that are no recordings show up; those of a recording, and hidden ones, do not."""
    folder = tmp_path / "in"
    for name in (
        "notes.txt",
        "deep/data.zip",
        ".hidden",
        "x.mcap",
        "bag/metadata.yaml",
        "bag/a.csv",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    bridge = Bridge(tmp_path)
    bridge.server.close()
    server = HttpServer(
        "127.0.0.1", 0, metrics=bridge.metrics, status=bridge.board, journal=bridge.reader,
        find_others=lambda: find_others(folder),
    )  # fmt: skip
    with (
        server, bridge.reader, bridge.journal,
        urllib.request.urlopen(f"{server.address}api/status") as answer,
    ):  # fmt: skip
        others = json.load(answer)["others"]

    names = [str(folder / name) for name in ("deep/data.zip", "notes.txt")]
    assert others == {"count": 2, "names": names}


def test_documents_are_served_with_the_anchors_that_alerts_name(bridge: Bridge) -> None:
    """Every runbook leads to a heading of a page that this very port gives out."""
    rules = (ROOT / "config" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    urls = re.findall(r'runbook_url: "http://{{ \$labels.instance }}(/docs/[^#"]+)#([^"]+)"', rules)
    assert len(urls) == rules.count("- alert: ")
    for target in {target for target, _ in urls}:
        code, headers, body = bridge.request(target)
        assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        anchors = set(re.findall(rb'id="([^"]+)"', body))
        assert {anchor.encode() for page, anchor in urls if page == target} <= anchors
    assert bridge.request("/docs/status-page.png")[1]["Content-Type"] == "image/png"
    assert bridge.request("/docs/overview.svg")[1]["Content-Type"] == "image/svg+xml"


@pytest.mark.parametrize(
    "name", ["../pyproject.toml", "nothing.md", "page.css", "%2e%2e/x.md", "", ".md"]
)
def test_nothing_but_documents_is_served(bridge: Bridge, name: str) -> None:
    """Names come from callers; only those of documents lead anywhere."""
    assert bridge.request(f"/docs/{name}")[0] == 404


def test_head_has_no_body(bridge: Bridge) -> None:
    """HEAD gives the headers of GET alone."""
    code, headers, body = bridge.request("/", method="HEAD")
    assert (code, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("target", ["/", "/page.css", "/page.js", "/api/status", "/nothing"])
def test_every_answer_is_locked_down(bridge: Bridge, target: str) -> None:
    """No answer may be framed, sniffed, cached or load anything from elsewhere."""
    _, headers, _ = bridge.request(target)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost:9477", 200), ("127.0.0.1", 200), ("[::1]:9477", 200), ("192.168.1.7", 200),
        ("attacker.example", 421), ("attacker.example:9477", 421), ("[::1", 421),
    ],
)  # fmt: skip
def test_loopback_cannot_be_rebound(bridge: Bridge, host: str, code: int) -> None:
    """A web page that makes its own name resolve to loopback gets nothing."""
    assert bridge.request("/api/status", host=host)[0] == code


def test_other_interfaces_answer_to_any_name(tmp_path: Path) -> None:
    """On all interfaces, as in a container, callers may use whatever name they have for it."""
    with JournalReader(tmp_path) as journal:
        server = HttpServer("0.0.0.0", 0, metrics=Metrics(), status=LiveState(), journal=journal)
        with server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", "/metrics", headers={"Host": "bridge.example:9477"})
            assert connection.getresponse().status == 200
            connection.close()


def test_silent_callers_do_not_lock_others_out(bridge: Bridge) -> None:
    """Connections beyond the bound are closed at once; giving some up makes room again."""
    address = ("127.0.0.1", bridge.server.port)
    silent = [socket.create_connection(address) for _ in range(CONNECTIONS_MAX)]
    try:
        for _ in range(CONNECTIONS_MAX):
            with socket.create_connection(address, timeout=5) as more:
                try:
                    more.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                    answer = more.recv(100)
                except ConnectionError:
                    answer = b""
                if answer == b"":
                    break
        assert answer == b""
    finally:
        for caller in silent:
            caller.close()
    for _ in range(100):
        try:
            code = bridge.request("/healthz")[0]
        except (ConnectionError, http.client.HTTPException):
            continue
        assert code == 503
        return
    pytest.fail("no slot came free")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=200))
def test_any_target_gets_an_answer(bridge: Bridge, target: str) -> None:
    """Whatever is asked for, the answer is a client's error or a page, never a failure."""
    code, _, _ = bridge.request(f"/{target}")
    assert code in {200, 400, 404}


def test_a_caller_that_hangs_up_is_no_event(
    bridge: Bridge, capsys: pytest.CaptureFixture[str]
) -> None:
    """A connection reset in the middle of a request leaves no traceback on standard error."""
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", bridge.server.port), timeout=10) as caller:
            caller.sendall(b"GET /healthz HT")
            # Closing with this set resets the connection instead of ending it.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Answered only by a server whose threads got over it.
    assert bridge.request("/metrics")[0] == 200
    time.sleep(0.2)

    assert capsys.readouterr().err == ""


def test_recordings_name_their_folder_where_there_are_several(bridge: Bridge) -> None:
    """In every list, in what is in work and on its own; of a single folder nothing is said."""
    for name in ("front/a", "rear/b"):
        entry = bridge.discover(name)
        bridge.journal.move(entry.id, State.READY, "complete", fingerprint=name.ljust(64, "f"))
    folders = tuple(
        WatchStatus(name=name, folder=bridge.folder / name) for name in ("front", "rear")
    )
    at_work = worker(path=bridge.folder / "rear/c")
    several = status(folders=folders, workers=(at_work,), ticked_ns=time.time_ns())
    bridge.board.hear(Ticked(status=several))

    listed = bridge.json("/api/recordings")[1]["recordings"]
    shown = bridge.json("/api/status")[1]
    assert {one["name"]: one["folder"] for one in listed} == {"front/a": "front", "rear/b": "rear"}
    assert {one["folder"] for one in shown["recordings"]["waiting"]} == {"front", "rear"}
    assert [one["folder"] for one in shown["workers"]] == ["rear"]
    assert bridge.json(f"/api/recordings/{listed[0]['id']}")[1]["folder"] == listed[0]["folder"]

    bridge.board.hear(Ticked(status=status(folders=folders[:1])))
    listed = bridge.json("/api/recordings")[1]["recordings"]
    assert {one["folder"] for one in listed} == {""}
