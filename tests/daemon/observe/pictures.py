"""Takes the pictures of the status page for docs/, from a real bridge on a mixed day.

    python -m tests.daemon.observe.pictures

A drive is on its way over a thin link, others have arrived, one was cut off by a power loss, and a
file is no recording at all. The folder of the day is shown on the page, so it has a plain name.
"""

import shutil
import time
from pathlib import Path

from bridge.cli import write_drive
from tests.daemon.observe.chromium import chromium
from tests.daemon.observe.live_bridge import LiveBridge, recording
from tests.waiting import wait_for

DOCS = Path(__file__).parents[3] / "docs"
DAY = Path("/srv/logger")
START_NS = 1_790_000_000_000_000_000
RATE_BYTES_PER_S = 2_000_000
EXPECT = '[expect."/gps/*"]\nmin_hz = 20\n'
QUALITY_HEIGHT = 900
DESKTOP, PHONE = (1100, 1180), (390, 844)


def drive(bridge: LiveBridge, name: str, *, seconds: float, hour: int) -> None:
    """Record a drive elsewhere and put it into the folder in one go."""
    start_ns = START_NS + hour * 3600 * 10**9
    made = write_drive(bridge.base / "drafts", name=name, start_ns=start_ns, duration_s=seconds)
    made.rename(bridge.watched / name)


def junk(bridge: LiveBridge) -> None:
    (bridge.base / "error page").write_text("<html>502 Bad Gateway</html>\n")
    (bridge.base / "error page").rename(bridge.watched / "upload.mcap")


def cut_off(bridge: LiveBridge) -> None:
    (bridge.base / "cut").write_bytes(recording("cut", messages=400)[:200_000])
    (bridge.base / "cut").rename(bridge.watched / "power-loss.mcap")


def take(bridge: LiveBridge, folder: Path) -> None:
    """Wait until everything is on the page, unfold what is of interest, and take both pictures."""
    with chromium(folder) as browser:
        page = f"http://127.0.0.1:{bridge.http_port}/"
        for name, (width, height) in {"": DESKTOP, "-phone": PHONE}.items():
            browser.open(page, width=width, height=height)
            browser.wait("document.querySelector('#workers tbody tr')")
            if not name:
                browser.run("document.querySelector('#workers details').open = true")
            time.sleep(2)
            browser.screenshot(DOCS / f"status-page{name}.png")
        # A receiver at 10 Hz of which 20 were expected.
        browser.open(page, width=DESKTOP[0], height=QUALITY_HEIGHT)
        item = "[...document.querySelectorAll('#recent-list li')].find((one) => "
        item += "one.textContent.includes('noon'))"
        browser.wait(item)
        browser.run(f"{item}.querySelector('summary').click()")
        browser.wait("document.querySelector('#recent-list .bars')")
        browser.run(f"{item}.scrollIntoView()")
        time.sleep(2)
        browser.screenshot(DOCS / "status-page-quality.png")


def main() -> None:
    """Live through the day and take the pictures."""
    shutil.rmtree(DAY, ignore_errors=True)
    (DAY / "drafts").mkdir(parents=True)
    with LiveBridge(DAY) as bridge:
        bridge.configure(expect=EXPECT)
        bridge.reload()
        drive(bridge, "morning", seconds=2, hour=8)
        drive(bridge, "noon", seconds=3, hour=12)
        cut_off(bridge)
        junk(bridge)
        with bridge.client() as client:
            wait_for(lambda: len(client.list_sequences()) == 3)
        time.sleep(8)
        bridge.configure(rate=RATE_BYTES_PER_S, expect=EXPECT)
        bridge.reload()
        drive(bridge, "evening", seconds=40, hour=18)
        time.sleep(12)
        take(bridge, DAY / "browser")
        bridge.configure()
        bridge.reload()
    shutil.rmtree(DAY)


if __name__ == "__main__":
    main()
