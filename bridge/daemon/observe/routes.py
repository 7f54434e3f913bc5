"""What each path of the HTTP port answers: snapshots, journal, documents; changes nothing."""

import html
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from bridge.daemon.events.status import Board
from bridge.daemon.journal.journal import Journal, JournalReader
from bridge.daemon.journal.states import State
from bridge.daemon.observe.health import (
    Check,
    Disk,
    loop_check,
    measure_disks,
    readiness_checks,
    verdict,
)
from bridge.daemon.observe.live_state import LiveState
from bridge.daemon.observe.metrics import Metrics
from bridge.daemon.observe.page_data import (
    PARTS,
    part_lists,
    recording_detail_view,
    recording_view,
    several_folders,
    status_view,
    why_waiting,
)
from bridge.errors import JournalError
from bridge.facade import later
from bridge.version import __version__

markdown = later("markdown_it")

PAGE_SIZE = 50
PAGE_SIZE_MAX = 500
TEXT_CHARACTERS_MAX = 200
# Looking through the watched folders is not done more often than that.
OTHERS_FOR_S = 10.0
ORDERS = ("changed", "queue")

JSON = "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


class NotificationSource(Protocol):
    """What the page shows of the platform's notifications."""

    def view(self) -> dict[str, Any]:
        """Give them as plain JSON values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer before it is sent; `allow` lists the methods that a refused one may be."""

    body: bytes
    kind: str = JSON
    code: HTTPStatus = HTTPStatus.OK
    allow: str = ""


Query = Mapping[str, list[str]]


class Routes:
    """The answers of one daemon; safe to ask from any thread."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        status: LiveState,
        journal: JournalReader,
        notifications: NotificationSource | None,
        folders: Mapping[str, Path],
        disk_free_min_bytes: int,
        find_others: Callable[[], Sequence[Path]] = tuple,
    ) -> None:
        self._metrics = metrics
        self._status = status
        self._journal = journal
        self._notifications = notifications
        self._folders = dict(folders)
        self._disk_free_min_bytes = disk_free_min_bytes
        self._find_others = find_others
        self._others: tuple[float, Sequence[Path]] = (-math.inf, ())
        self._assets = {
            path: Response(
                body=(files("bridge.daemon.observe") / "page" / name).read_bytes(), kind=kind
            )
            for path, (name, kind) in ASSETS.items()
        }

    def answer(self, target: str) -> Response:
        """Answer a GET for a request target."""
        try:
            parts = urlsplit(target)
            query = parse_qs(parts.query, max_num_fields=16)
        except ValueError as error:
            return error_response(HTTPStatus.BAD_REQUEST, str(error))
        if parts.path in self._assets:
            return self._assets[parts.path]
        plain: dict[str, Callable[[], Response]] = {
            "/metrics": lambda: Response(body=self._metrics.exposition(), kind=METRICS),
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/api/status": self._api_status,
            "/api/recordings": lambda: self._api_recordings(query),
        }
        if parts.path in plain:
            return plain[parts.path]()
        folder, _, name = parts.path.rpartition("/")
        if folder == "/api/recordings" and name.isascii() and name.isdecimal():
            return self._api_recording(name)
        if folder == "/docs" and (found := document(name)) is not None:
            return Response(body=found[0], kind=found[1])
        return error_response(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _healthz(self) -> Response:
        check = loop_check(self._status.look())
        return _judged({"alive": check.ok, "checks": [check.as_json()]}, good=check.ok)

    def _readyz(self) -> Response:
        checks = self._checks(self._status.look(), measure_disks(self._folders))
        ready = all(check.ok for check in checks)
        failing = [check.name for check in checks if not check.ok]
        answer = {
            "ready": ready,
            "failing": failing,
            "checks": [one.as_json() for one in checks],
        }
        return _judged(answer, good=ready)

    def _checks(self, board: Board, disks: list[Disk]) -> list[Check]:
        return readiness_checks(board, disks=disks, disk_free_min_bytes=self._disk_free_min_bytes)

    def _api_status(self) -> Response:
        board = self._status.look()
        disks = measure_disks(self._folders)
        checks = self._checks(board, disks)
        try:
            lists = self._journal.ask(partial(part_lists, now_ns=board.now_ns))
        except JournalError as error:
            lists = {name: [] for name in PARTS}
            hint = error.hint
            checks.append(Check(name="journal", ok=False, detail=error.message, hint=hint))
        notifications = self._notifications.view() if self._notifications is not None else {}
        return json_response(
            status_view(
                board,
                verdict=verdict(board, checks),
                checks=checks,
                disks=disks,
                lists=lists,
                notifications=notifications,
                others=self._other_files(),
                version=__version__,
            )
        )

    def _other_files(self) -> Sequence[Path]:
        """List the files that are no recordings, as they were a moment ago at most."""
        looked_s, found = self._others
        now_s = time.monotonic()
        if now_s - looked_s > OTHERS_FOR_S:
            found = self._find_others()
            self._others = (now_s, found)
        return found

    def _api_recordings(self, query: Query) -> Response:
        try:
            limit = _number(query, "limit", PAGE_SIZE, least=1, most=PAGE_SIZE_MAX)
            offset = _number(query, "offset", 0, least=0, most=2**53)
            states = frozenset(State(name) for name in query.get("state", ())) or None
            order = _one_of(query, "order", ORDERS)
        except ValueError as error:
            return error_response(HTTPStatus.BAD_REQUEST, str(error))
        board = self._status.look()
        text = query.get("text", [""])[-1][:TEXT_CHARACTERS_MAX]
        found, total = self._journal.ask(
            partial(
                Journal.browse,
                states=states,
                text=text,
                queue_at_ns=board.now_ns if order == "queue" else None,
                limit=limit,
                offset=offset,
            )
        )
        # Among what was picked by a word, places in the whole queue are not known.
        placed = order == "queue" and not text
        shown = [
            recording_view(
                entry,
                why=why_waiting(entry, board, position=number if placed else None),
                folders=several_folders(board.status),
            )
            for number, entry in enumerate(found, start=offset + 1)
        ]
        after = offset + len(found)
        return json_response(
            {
                "recordings": shown,
                "total": total,
                "next_offset": after if found and after < total else None,
            }
        )

    def _api_recording(self, number: str) -> Response:
        # SQLite's numbers end at 2**63; longer ones name nothing.
        known = len(number) < len(str(2**63))
        folders = several_folders(self._status.look().status)
        ask = partial(_detail, entry_id=int(number), folders=folders)
        detail = self._journal.ask(ask) if known else None
        if detail is None:
            return error_response(
                HTTPStatus.NOT_FOUND, f"the journal knows no recording {number[:20]}"
            )
        return json_response(detail)


def _detail(
    journal: Journal, *, entry_id: int, folders: Mapping[str, Path]
) -> dict[str, Any] | None:
    entry = journal.get(entry_id)
    if entry is None:
        return None
    return recording_detail_view(
        entry,
        story=journal.transitions(entry_id),
        report=journal.report(entry_id),
        duplicates=journal.duplicates(entry_id),
        folders=folders,
    )


def json_response(plain: Mapping[str, Any], *, code: HTTPStatus = HTTPStatus.OK) -> Response:
    """Answer with JSON."""
    return Response(
        body=json.dumps(plain, default=str, allow_nan=False).encode() + b"\n", code=code
    )


def _judged(plain: Mapping[str, Any], *, good: bool) -> Response:
    return json_response(plain, code=HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE)


def error_response(code: HTTPStatus, message: str) -> Response:
    """Answer with what went wrong."""
    return json_response({"error": code.phrase, "message": message}, code=code)


def _one_of(query: Query, name: str, known: Sequence[str]) -> str:
    text = query.get(name, [known[0]])[-1]
    if text not in known:
        raise ValueError(f"{name}={text[:40]!r} is none of {', '.join(known)}")
    return text


def _number(query: Query, name: str, default: int, *, least: int, most: int) -> int:
    text = query.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):  # noqa: PLR2004 - digits of 2**63, so that parsing stays cheap
        raise ValueError(f"{name}={text[:40]!r} is not a number from {least} to {most}")
    return int(text)


TEXT = re.compile(r"[a-z][a-z-]*\.md")
PICTURES = {"overview.svg": "image/svg+xml"}
PICTURE = re.compile(r"[a-z][a-z-]*\.png|" + "|".join(map(re.escape, PICTURES)))
FRAME = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · mosaico-bridge</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css">
</head>
<body class="document">
<nav><a href="/">status</a> <a href="/docs/operations.md">operations</a> \
<a href="/docs/fix.md">fix</a> <a href="/docs/commands.md">commands</a> \
<a href="/docs/configuration.md">configuration</a> \
<a href="/docs/metrics.md">metrics</a></nav>
<main>
{body}</main>
</body>
</html>
"""


def document(name: str) -> tuple[bytes, str] | None:
    """Give a document's bytes and media type; None where there is no such document.

    Args:
        name: Its file name, as a caller spelt it.
    """
    folder = _folder()
    if folder is None:
        return None
    if TEXT.fullmatch(name) and (folder / name).is_file():
        return _page(folder / name), "text/html; charset=utf-8"
    if PICTURE.fullmatch(name) and (folder / name).is_file():
        return (folder / name).read_bytes(), PICTURES.get(name, "image/png")
    return None


@cache
def _folder() -> Path | None:
    with as_file(files("bridge")) as package:
        for folder in (package / "data" / "docs", package.parent / "docs"):
            if (folder / "fix.md").is_file():
                return folder
    return None


@cache
def _page(file: Path) -> bytes:
    """Write one document as HTML, with the anchors that code hosts give its headings."""
    parser = markdown.MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(file.read_text(encoding="utf-8"))
    title = file.stem
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inline.content))
            title = inline.content if opening.tag == "h1" else title
    body = parser.renderer.render(tokens, parser.options, {})
    return FRAME.format(title=html.escape(title), body=body).encode()


def anchor(heading: str) -> str:
    """Give the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
