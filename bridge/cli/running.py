"""Finds the daemon that runs on a state folder, if one does, and asks it over its HTTP port."""

import fcntl
import json
import os
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from bridge.config import Settings
from bridge.daemon import INSTANCE_FILE, LOCK_FILE
from bridge.errors import JournalError
from bridge.facade import later
from bridge.units import MEBIBYTE

# Brings TLS along; most commands find no daemon that they could ask.
http = later("http.client")

PATIENCE_S = 3.0
# Workers of a daemon that was killed end by themselves, within this time.
HANDOVER_S = 5.0
LOOK_S = 0.1
ANSWER_BYTES_MAX = 64 * MEBIBYTE
# Addresses to listen on everywhere, and where one then finds the listener.
ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to be replaced


def daemon_runs(folder: Path) -> bool | None:
    """Tell whether a daemon holds the journal of a state folder; None where we may not look."""
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        # Shared and given up at once: a bridge that starts in this instant waits longer than that.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def require_alone(folder: Path) -> None:
    """Wait a moment for what is left of a killed daemon to go, before another one is started.

    Raises:
        JournalError: A daemon works on this state folder.
    """
    give_up_at_s = time.monotonic() + HANDOVER_S
    while daemon_runs(folder):
        if time.monotonic() >= give_up_at_s:
            raise JournalError(
                f"another bridge is using the state folder {folder}",
                hint="one bridge per state.folder; stop the other one or choose another folder",
            )
        time.sleep(LOOK_S)


def ask_daemon(settings: Settings) -> dict[str, Any] | None:
    """Get `/api/status` of the daemon of these settings.

    Returns:
        Its answer; None where nobody answers at the configured port, or a bridge of another state
        folder does.
    """
    if not settings.http.port:
        return None
    answer = _get(settings.http.host, settings.http.port, "/api/status")
    daemon = (answer or {}).get("daemon")
    if not isinstance(daemon, dict):
        return None
    ours = _instance(settings.state.folder)
    return answer if ours in {"", daemon.get("instance")} else None


def ask_recordings(
    settings: Settings,
    *,
    states: Collection[str],
    text: str,
    queue: bool,
    limit: int,
    offset: int,
) -> dict[str, Any] | None:
    """Get a page of `/api/recordings` of the daemon of these settings; None as `ask_daemon`.

    Args:
        settings: The settings.
        states: Only recordings in one of these states; empty for all.
        text: Only those with this in name, path or sequence.
        queue: Whether to order them as they will go.
        limit: At most so many.
        offset: Leave out so many at the start.
    """
    if ask_daemon(settings) is None:
        return None
    query = [("limit", limit), ("offset", offset), ("text", text)]
    query += [("state", str(state)) for state in sorted(states)]
    query += [("order", "queue")] if queue else []
    path = f"/api/recordings?{urlencode(query)}"
    return _get(settings.http.host, settings.http.port, path)


def daemon_server(settings: Settings) -> tuple[str, int] | None:
    """Give host and port of the platform that the running daemon sends to, if it can be asked."""
    answer = ask_daemon(settings)
    host, _, port = str(answer["daemon"].get("server", "")).rpartition(":") if answer else ("",) * 3
    return (host, int(port)) if host and port.isdecimal() else None


def _get(host: str, port: int, path: str) -> dict[str, Any] | None:
    connection = http.HTTPConnection(ANYWHERE.get(host, host), port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read(ANSWER_BYTES_MAX))
    except (OSError, http.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else None


def _instance(folder: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return (folder / INSTANCE_FILE).read_text(encoding="ascii").strip()
    return ""
