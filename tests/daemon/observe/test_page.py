"""The status page in a real browser: true, live, calm, and safe against hostile names."""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.daemon.events.events import IngestFailed, Ticked
from bridge.daemon.events.status import (
    BudgetStatus,
    Gate,
    GateStatus,
    PlatformFacts,
    TopicProgress,
    UplinkStatus,
    WatchStatus,
)
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import State
from bridge.daemon.observe.http import HttpServer
from bridge.daemon.observe.live_state import LiveState
from bridge.daemon.observe.metrics import Metrics
from bridge.ingest import IngestReport, TopicOutcome, TopicReport
from bridge.quality import Finding, FindingKind, RecordingQuality, TopicFigures
from tests.daemon.observe.chromium import Chromium, chromium
from tests.daemon.observe.situations import NOW_NS, SECOND_NS, entry, failure, status, worker

PAGE = Path(__file__).parents[3] / "bridge" / "daemon" / "observe" / "page"
PICTURE = Path(__file__).parents[3] / "docs" / "status-page.png"
HOSTILE = "<img src=x onerror=\"document.title='owned'\">\u202egnp.<script>alert(1)</script>"


class Page:
    """A page of a bridge whose status is set by hand."""

    def __init__(self, folder: Path, browser: Chromium) -> None:
        self.browser = browser
        self.board = LiveState(wall_ns=lambda: NOW_NS, monotonic=lambda: 1000.0)
        self.journal = Journal.own(folder / "state", wall_ns=lambda: NOW_NS)
        self.notices: list[dict[str, object]] = []
        self.reader = JournalReader(folder / "state")
        self.server = HttpServer(
            "127.0.0.1",
            0,
            metrics=Metrics(),
            status=self.board,
            journal=self.reader,
            notifications=self,
            folders={"state": folder},
            disk_free_min_bytes=1,
        )
        self.board.hear(Ticked(status=status()))

    def view(self) -> dict[str, object]:
        return {"items": self.notices, "sweep_age_s": 5.0}

    def arrived(self, name: str, *, folder: str = "/data", **found: Any) -> int:
        """Put a recording with one topic on the platform."""
        made = self.journal.discover(
            Path(folder) / name, name=name, size_bytes=1000, modified_ns=NOW_NS, **found
        )
        for state in (State.READY, State.SENDING, State.FINALISED):
            self.journal.move(made.id, state, "a test")
        topic = TopicReport(
            name=f"/{name}", msgtype="sensor_msgs/msg/Imu", outcome=TopicOutcome.MAPPED,
            ontology_tag="imu", messages_sent=4711, messages_skipped={"too short": 3},
        )  # fmt: skip
        report = IngestReport(recording=name, sequence=name, fingerprint="f", topics=[topic])
        self.journal.keep_report(made.id, report.as_json())
        return made.id

    def open(self, *, width: int = 1100, dark: bool = False) -> Chromium:
        self.browser.open(self.server.address, width=width, dark=dark)
        return self.browser

    def text(self, selector: str) -> str:
        return str(self.browser.run(f"document.querySelector({selector!r}).innerText"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def page(tmp_path: Path, browser: Chromium) -> Iterator[Page]:
    page = Page(tmp_path, browser)
    browser.events.clear()
    with page.server, page.reader, page.journal:
        yield page


def test_calm_page_says_that_all_is_well(page: Page) -> None:
    """Somebody who glances at an idle bridge reads that all is well."""
    page.board.hear(Ticked(status=status(counts={"finalised": 12})))
    browser = page.open()
    assert page.text("#headline") == "All is well"
    assert "12 recordings on the platform" in page.text("#detail")
    assert browser.run("document.body.dataset.level") == "fine"
    assert browser.run("document.title").startswith("All is well")
    assert browser.run("getComputedStyle(document.querySelector('#embedded')).display") == "none"
    assert browser.complaints() == []


def crowd(page: Page, number: int) -> None:
    """Fill the journal: a queue of many, some that failed for now, some that need attention."""
    for index in range(number):
        made = page.journal.discover(
            Path("/data") / f"drive_{index:03}.mcap", name=f"drive_{index:03}", size_bytes=10**6,
            modified_ns=NOW_NS - index * SECOND_NS,
        )  # fmt: skip
        page.journal.move(made.id, State.READY, "complete")
        if index % 100 == 7:
            page.journal.move(made.id, State.SENDING, "a test")
            page.journal.move(
                made.id, State.WAITING, "the stream broke", due_ns=NOW_NS + 90 * SECOND_NS
            )
        elif index % 100 == 9:
            page.journal.move(made.id, State.SENDING, "a test")
            page.journal.move(made.id, State.QUARANTINED, "torn apart")


def names(browser: Chromium, list_: str) -> list[str]:
    found = browser.run(
        f"[...document.querySelectorAll('#{list_} .name')].map((one) => one.innerText)"
    )
    return [str(one) for one in found]


def test_hundreds_of_recordings_can_be_paged_searched_and_filtered(page: Page) -> None:
    """All of 500 are reachable: by the next page, by a part of the name, by state."""
    crowd(page, 500)
    page.board.hear(Ticked(status=status(counts=page.journal.counts())))
    browser = page.open(width=1400)
    assert page.text("#waiting-more") == "475 more: show all 495"
    browser.run("document.querySelector('#waiting-more').click()")
    browser.wait("document.querySelector('#all-count').innerText === '1 to 50 of 495'")
    # The oldest goes first; what is due later comes after everything that may go now.
    assert names(browser, "all-list")[:2] == ["drive_499.mcap", "drive_498.mcap"]
    assert "number 1 in the queue" in page.text("#all-list li")
    seen = set(names(browser, "all-list"))
    for start in range(51, 495, 50):
        browser.run("document.querySelector('#all-after').click()")
        browser.wait(f"document.querySelector('#all-count').innerText.startsWith('{start} to')")
        seen |= set(names(browser, "all-list"))
    assert len(seen) == 495
    assert browser.run("document.querySelector('#all-after').disabled")
    last = page.text("#all-list li:last-child")
    assert "the stream broke; next try in 90 s" in last
    search = "(e) => { e.value = 'DRIVE_12'; e.dispatchEvent(new Event('input')); }"
    browser.run(f"({search})(document.querySelector('#all-text'))")
    browser.wait("document.querySelector('#all-count').innerText === '1 to 10 of 10'")
    assert set(names(browser, "all-list")) == {f"drive_12{digit}.mcap" for digit in range(10)}
    choose = "(e) => { e.value = 'quarantined'; e.dispatchEvent(new Event('change')); }"
    browser.run(f"({choose})(document.querySelector('#all-part'))")
    browser.wait("document.querySelector('#all-count').innerText === 'nothing found'")
    # The page of the test before may have asked once more for a server that was gone.
    assert [one for one in browser.complaints() if "CONNECTION_REFUSED" not in one] == []


@pytest.mark.parametrize("width", [1400, 390])
def test_an_outage_is_the_reason_of_every_waiting_row(page: Page, width: int) -> None:
    """Since when, and when the next try is, in the headline and in each row; nothing overflows."""
    crowd(page, 60)
    away = GateStatus(
        gate=Gate.OFFLINE, reason="connection refused", since_ns=NOW_NS - 1800 * SECOND_NS,
        next_probe_s=40.0,
    )  # fmt: skip
    page.board.hear(Ticked(status=status(gate=away, counts=page.journal.counts())))
    browser = page.open(width=width)
    said = re.compile(r"platform away since \d\d:\d\d, next try in 40 s")
    rows = browser.run(
        "[...document.querySelectorAll('#waiting-list .more')].map((one) => one.innerText)"
    )
    assert len(rows) == 20
    assert all(said.search(row) for row in rows)
    assert re.search(r"Away since \d\d:\d\d, next try in 40 s", page.text("#detail"))
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_progress_counts_bytes_and_shows_small_topics(page: Page) -> None:
    """80 % of the bytes is 80 %; a topic whose batch still waits shows what was read of it."""
    topics = {
        "/imu": TopicProgress(read=900, messages=0),
        "/camera": TopicProgress(read=8, messages=8, arrow_bytes=800_000),
    }
    busy = worker(
        recorded_bytes=1_000_000, recorded_bytes_read=800_000, messages_recorded=10_000,
        messages_sent=8, topics=topics,
    )  # fmt: skip
    page.board.hear(Ticked(status=status(workers=(busy,))))
    browser = page.open()
    assert page.text("#workers .aside").startswith("80 %")
    assert "908 of 10,000 messages" in page.text("#workers .more")
    browser.run("document.querySelector('#workers details').open = true")
    cells = browser.run(
        "[...document.querySelectorAll('#workers tbody td')].map((c) => c.innerText)"
    )
    assert cells[cells.index("/imu") + 3] == "900"


def test_page_loads_nothing_from_elsewhere(page: Page) -> None:
    """Every request of the page goes to the bridge itself."""
    browser = page.open()
    requested = browser.requested()
    assert len(requested) >= 4
    for url in requested - {"about:blank"}:
        assert url.startswith((page.server.address, "data:,")), url


def test_page_follows_without_reloading(page: Page) -> None:
    """What changes in the bridge changes on the page, and what a person opened stays open."""
    busy = worker(topics={"/imu": TopicProgress(messages=1000)})
    page.board.hear(Ticked(status=status(workers=(busy,), counts={"sending": 1})))
    browser = page.open()
    assert "Sending 1 recording" in page.text("#headline")
    bar = "document.querySelector('#workers [role=progressbar]')"
    assert browser.run(f"{bar}.getAttribute('aria-valuenow')") == "50"
    browser.run("document.querySelector('#workers details').open = true")
    more = worker(recorded_bytes_read=750_000, topics={"/imu": TopicProgress(messages=1500)})
    page.board.hear(Ticked(status=status(workers=(more,), counts={"sending": 1})))
    browser.wait(f"{bar}.getAttribute('aria-valuenow') === '75'")
    assert browser.run("document.querySelector('#workers details').open") is True
    assert "1,500" in page.text("#workers tbody")
    page.board.hear(Ticked(status=status(counts={"finalised": 1})))
    browser.wait("document.querySelector('#now').hidden")
    assert browser.complaints() == []


def test_recording_opens_to_its_topics_and_story(page: Page) -> None:
    """A recent recording unfolds into topics, what was left out, and its steps."""
    page.arrived("drive")
    browser = page.open()
    browser.wait("document.querySelector('#recent-list details')")
    browser.run("document.querySelector('#recent-list summary').click()")
    browser.wait("document.querySelector('#recent-list .story')")
    inside = page.text("#recent-list .inside")
    for words in ("/drive", "sensor_msgs/msg/Imu", "imu", "4,711", "3 too short", "finalised"):
        assert words in inside


GAP = (*range(20, 40), *(0,) * 12, *range(40, 8, -1))


@pytest.mark.parametrize("width", [1400, 390])
def test_findings_and_rates_over_time_are_shown(page: Page, width: int, tmp_path: Path) -> None:
    """A line says what falls short; unfolded, each topic has bars, in which its gap shows."""
    figures = TopicFigures(
        messages=sum(GAP), start_ns=NOW_NS, end_ns=NOW_NS + 10 * SECOND_NS, rate_hz=83.21,
        period_median_s=0.01, period_p99_s=0.012, gap_s=2.5, gap_start_ns=NOW_NS,
        stamped=10, delay_median_s=0.0042, delay_p99_s=0.1, delay_drift_s=0.0, compared=400,
        repeated=50, times_back=3, bars=GAP, bars_start_ns=NOW_NS, bar_s=0.2,
        lost_transport=1234, lost_recorder=0,
    )  # fmt: skip
    finding = Finding(
        kind=FindingKind.MAX_GAP, topic="/imu/data", expected=1, measured=2.5,
        text="silent for 2.5 s; at most 1 expected",
    )  # fmt: skip
    steady = replace(figures, bars=(30,) * 64, times_back=0, repeated=0)
    hidden = TopicReport(
        name=HOSTILE, msgtype="", outcome=TopicOutcome.SKIPPED, quality=TopicFigures()
    )
    topics = [
        TopicReport(name=name, msgtype="a/msg/B", outcome=TopicOutcome.MAPPED, quality=each)
        for name, each in (
            ("/imu/data", figures),
            ("/camera/front/image", steady),
            (HOSTILE, steady),
        )
    ]
    report = IngestReport(
        recording="drive", sequence="drive", fingerprint="f", topics=[*topics, hidden],
        quality=RecordingQuality(findings=(finding,)),
    )  # fmt: skip
    made = page.arrived("drive")
    page.journal.keep_report(made, report.as_json())
    page.journal.note(made, findings=report.findings_in_words)
    browser = page.open(width=width)
    browser.wait("document.querySelector('#recent-list details')")
    line = page.text("#recent-list .finding")
    assert line == "1 finding: /imu/data: silent for 2.5 s; at most 1 expected"
    browser.run("document.querySelector('#recent-list summary').click()")
    browser.wait("document.querySelector('#recent-list .bars')")
    inside = page.text("#recent-list .inside")
    for words in ("silent for 2.5 s", "83.2", "2.5 s", "4.2 ms", "12.5 %", "1,234"):
        assert words in inside
    bars = browser.run(
        "[...document.querySelectorAll('.bars')].map((one) => ["
        "one.querySelector('path').getAttribute('d').split('M').length - 1,"
        "one.getBoundingClientRect().width, one.getBoundingClientRect().height])"
    )
    # A topic without messages has no row; where there is a gap there are no bars.
    assert [count for count, _, _ in bars] == [52, 64, 64]
    assert all(wide > 100 and high > 10 for _, wide, high in bars)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("document.title").startswith("All is well")
    browser.run("document.querySelector('.inside h4:last-of-type').scrollIntoView()")
    browser.screenshot(tmp_path / f"quality-{width}.png")
    assert browser.complaints() == []


def test_trouble_comes_with_advice(page: Page) -> None:
    """What needs attention, what waits and what the platform notified are told with hints."""
    broken = page.journal.discover(
        Path("/data/broken.mcap"), name="broken.mcap", size_bytes=1, modified_ns=NOW_NS
    )
    page.journal.move(
        broken.id, State.QUARANTINED, "bad",
        failure=failure(message="torn apart", hint="look with `mosaico-bridge inspect`"),
    )  # fmt: skip
    page.board.hear(IngestFailed(entry=entry(), failure=failure(hint="wait"), retry_in_s=None))
    page.notices.append(
        {"id": "1", "at": None, "sequence": "s", "topic": "/t", "type": "error", "message": "big"}
    )
    page.board.hear(Ticked(status=status(counts={"quarantined": 1})))
    browser = page.open()
    assert page.text("#headline") == "1 recording needs attention"
    assert "torn apart" in page.text("#attention-list")
    assert browser.run("document.querySelector('#attention-list code').innerText") == (
        "mosaico-bridge inspect"
    )
    assert "the stream broke" in page.text("#troubles-list")
    assert "wait" in page.text("#troubles-list .hint")
    assert "big" in page.text("#notices-list")


def test_embedded_server_is_shouted(page: Page) -> None:
    """When data goes to the embedded server, nobody can overlook it."""
    page.board.hear(Ticked(status=status(embedded=True)))
    page.open()
    assert "Embedded server" in page.text("#embedded")
    assert "server.host" in page.text("#embedded")


@pytest.mark.parametrize(
    ("gate", "headline", "words"),
    [
        (GateStatus(gate=Gate.OFFLINE, reason="nobody answers", reached=True), "Offline",
         "Nothing is lost: 2 recordings"),
        (GateStatus(gate=Gate.REFUSED, reason="the key expired", hint="get a new one",
                    reached=True), "The platform refuses us", "The key expired."),
    ],
)  # fmt: skip
def test_closed_gate_is_explained(page: Page, gate: GateStatus, headline: str, words: str) -> None:
    """Offline promises that nothing is lost; a refusal gives the platform's reason."""
    page.board.hear(Ticked(status=status(gate=gate, counts={"ready": 2})))
    page.open()
    assert page.text("#headline") == headline
    assert words in page.text("#detail")
    assert gate.hint in page.text("#hint")


def test_several_folders_are_told_apart(page: Page) -> None:
    """With several folders the page names them, the one of each recording, and the platform."""
    front = WatchStatus(name="front", folder=Path("/data/front"))
    rear = WatchStatus(name="rear", folder=Path("/data/rear"), problem="not mounted")
    page.arrived("drive", folder="/data/rear")
    busy = worker(path=Path("/data/front/other"))
    page.board.hear(
        Ticked(status=status(folders=(front, rear), workers=(busy,), counts={"finalised": 1}))
    )
    page.board.platform_known(
        PlatformFacts(address="mosaico.example:6726", revision="G3b", reservation="experimental")
    )
    browser = page.open()
    browser.wait("document.querySelector('#recent-list details')")
    where = "front: /data/front, rear: /data/rear → mosaico.example:6726 (G3b: experimental)"
    assert where in page.text("#where")
    assert "in rear" in page.text("#recent-list .more")
    assert "in front" in page.text("#workers .more")
    assert browser.complaints() == []


def test_a_single_folder_is_not_named_again_and_again(page: Page) -> None:
    """With one folder only its path stands at the top, and no recording repeats it."""
    page.arrived("drive")
    page.board.hear(Ticked(status=status(folders=(WatchStatus(folder=Path("/data")),))))
    browser = page.open()
    browser.wait("document.querySelector('#recent-list details')")
    assert page.text("#where") == "/data → mosaico.example:6726"
    assert " in " not in page.text("#recent-list .more")


def test_splits_tell_what_they_are_part_of(page: Page) -> None:
    """A split that is a sequence of its own says which one of which recording it is."""
    page.arrived("drive_3.mcap", split_of="drive", split_index=3)
    browser = page.open()
    browser.wait("document.querySelector('#recent-list details')")
    assert "split 3 of drive" in page.text("#recent-list .more")


def test_what_the_uplink_may_carry_is_told(page: Page) -> None:
    """A limit, a budget and a pause are figures at the top; without any there is no figure."""
    browser = page.open()
    assert "Uplink" not in page.text("#figures")
    budget = BudgetStatus(
        period="day", most_bytes=10**9, used_bytes=3 * 10**8, left_bytes=7 * 10**8, ends_ns=NOW_NS
    )
    uplink = UplinkStatus(bytes_per_second_max=500_000, budgets=(budget,))
    page.board.hear(Ticked(status=status(uplink=uplink)))
    browser.wait("document.querySelector('#figures').innerText.includes('Uplink')")
    assert "at most 500 kB/s, 700 MB left this day" in page.text("#figures")
    held = UplinkStatus(bytes_per_second_max=0, reason="The timetable pauses it until 18:00.")
    page.board.hear(Ticked(status=status(uplink=held)))
    browser.wait("document.querySelector('#figures').innerText.includes('held')")
    assert "The timetable pauses it until 18:00." in page.text("#figures")
    assert browser.complaints() == []


def test_hostile_names_are_only_text(page: Page) -> None:
    """Markup in names of files and topics is shown as it is and never becomes part of the page."""
    name = HOSTILE.replace("/", "_")
    page.arrived(name)
    busy = worker(path=Path("/data") / name, topics={HOSTILE: TopicProgress(messages=1)})
    page.board.hear(Ticked(status=status(workers=(busy,), counts={"sending": 1})))
    page.board.hear(
        IngestFailed(
            entry=entry(name=name), failure=failure(message=HOSTILE, hint=HOSTILE), retry_in_s=1
        )
    )
    page.notices.append(
        {"id": HOSTILE, "at": 1, "sequence": HOSTILE, "topic": HOSTILE, "type": HOSTILE,
         "message": HOSTILE}
    )  # fmt: skip
    browser = page.open()
    browser.wait("document.querySelector('#recent-list details')")
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.wait("document.querySelector('#recent-list .story')")
    assert browser.run("document.images.length") == 0
    assert browser.run("document.scripts.length") == 1
    assert browser.run("document.title").endswith("mosaico-bridge")
    assert "<img" in page.text("#workers")
    assert "<img" in page.text("#recent-list .inside")
    assert browser.complaints() == []


def test_lost_bridge_is_told(page: Page) -> None:
    """When the bridge stops answering, the page says so instead of showing an old truth."""
    browser = page.open()
    page.server.close()
    browser.wait("document.body.dataset.level === 'lost'")
    assert page.text("#headline") == "No answer from the bridge"
    assert "Last heard" in page.text("#detail")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1100])
def test_page_fits_every_window(page: Page, width: int, *, dark: bool) -> None:
    """Neither long names nor wide tables make the page scroll sideways, on phone or desktop."""
    page.arrived("a" * 200)
    busy = worker(path=Path("/data/" + "b" * 200), topics={"/" + "c" * 300: TopicProgress()})
    page.board.hear(Ticked(status=status(workers=(busy,), counts={"sending": 1}, embedded=True)))
    browser = page.open(width=width, dark=dark)
    browser.wait("document.querySelector('#recent-list details')")
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.wait("document.querySelector('#recent-list .story')")
    assert browser.run("document.documentElement.scrollWidth") <= width


LUMINANCE = """
(() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = (css) => {
    const [r, g, b] = css.match(/[\\d.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/^rgba.*, 0\\)$/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility()) continue;
    const pair = [light(getComputedStyle(element).color), light(behind(element))].sort();
    const [dim, bright] = pair[0] < pair[1] ? pair : [pair[1], pair[0]];
    const ratio = (bright + 0.05) / (dim + 0.05);
    if (ratio < 4.5) bad.push(`${element.className} ${element.textContent} ${ratio.toFixed(2)}`);
  }
  return bad;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read(page: Page, *, dark: bool) -> None:
    """All text has the contrast that WCAG AA asks for, in light and dark."""
    page.arrived("drive")
    page.board.hear(IngestFailed(entry=entry(), failure=failure(hint="wait"), retry_in_s=1))
    page.board.hear(
        Ticked(status=status(workers=(worker(),), counts={"sending": 1}, embedded=True))
    )
    browser = page.open(dark=dark)
    browser.wait("document.querySelector('#recent-list details')")
    assert browser.run(LUMINANCE) == []


def test_controls_have_names(page: Page) -> None:
    """A person who cannot see the page hears landmarks, headings and what each control is."""
    page.arrived("drive")
    page.board.hear(Ticked(status=status(workers=(worker(),), counts={"sending": 1})))
    browser = page.open()
    browser.wait("document.querySelector('#recent-list details')")
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.wait("document.querySelector('#recent-list .story')")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = [node.get("role", {}).get("value") for node in nodes if not node.get("ignored")]
    assert {"banner", "main", "contentinfo", "navigation", "heading", "progressbar"} <= set(roles)
    named = {"progressbar", "link", "image", "table", "button", "searchbox", "combobox"}
    assert {"table", "button", "searchbox", "combobox"} <= set(roles)
    for node in nodes:
        if not node.get("ignored") and node.get("role", {}).get("value") in named:
            assert node.get("name", {}).get("value"), node


def test_a_name_from_right_to_left_turns_nothing_else_round(page: Page) -> None:
    """What an override turns round ends with the name, also beside other text in one line."""
    page.arrived("\u202egnp.drive")
    browser = page.open()
    browser.wait("document.querySelector('#recent-list .name')")
    style = "getComputedStyle(document.querySelector('#recent-list .name')).unicodeBidi"
    assert browser.run(style) == "isolate"
    assert browser.complaints() == []


def test_scripts_never_build_markup_from_text() -> None:
    """The page's sources have no inline code and no way to turn text into elements."""
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    for door in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert door not in script
    markup = (PAGE / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*src=)|\son\w+=|\sstyle=|https?://", markup)


def test_picture_in_the_documentation_is_small() -> None:
    """The screenshot that the documentation shows is a PNG below 200 kB."""
    data = PICTURE.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert width >= 800
    assert height >= 500
    assert len(data) < 200_000
