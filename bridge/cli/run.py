"""`mosaico-bridge run` and `once`: the daemon, until it is stopped or for one pass."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bridge.bags import find_others
from bridge.cli.options import (
    ConfigFile,
    Embedded,
    Host,
    HttpPort,
    ServerPort,
    StateFolder,
    WatchFolder,
    disk_folders,
    source,
)
from bridge.cli.platform import (
    Address,
    destination,
    platform,
    require_destination,
    require_folders,
)
from bridge.cli.running import require_alone
from bridge.cli.terminal import Exit, err, is_interactive
from bridge.client import MosaicoClient
from bridge.compose import connect, ingest_options
from bridge.config import Settings, load_settings, secrets
from bridge.daemon import (
    Daemon,
    DaemonObserver,
    DaemonStatus,
    EventLog,
    Gate,
    HttpServer,
    JournalReader,
    LiveState,
    Metrics,
    NotificationPoller,
    NotificationStore,
    Observers,
    PlatformFacts,
    ServiceNotifier,
    ServiceObserver,
    State,
    check_permissions,
    configure_logging,
    ignored,
    plan_reload,
)
from bridge.errors import BridgeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A daemon with everything around it, ready to run.

    Attributes:
        daemon: The daemon.
        address: The platform it sends to.
        http: Its port for metrics, health and status.
    """

    daemon: Daemon
    address: Address
    http: HttpServer


def run(
    config: ConfigFile = None,
    folder: WatchFolder = None,
    state: StateFolder = None,
    host: Host = None,
    port: ServerPort = None,
    http_port: HttpPort = None,
) -> int:
    """Put every complete recording of a folder onto the platform, until stopped.

    SIGTERM and Ctrl-C finish the recordings in work, for a while, and stop; a second signal stops
    at once. Nothing is lost either way: what was not finished is taken up at the next start.
    SIGHUP reads the settings again, unless a terminal is attached.
    """
    overrides = _overrides(folder, state, host, port, http_port)
    settings = load_settings(config, overrides)
    with compose(settings, file=config, overrides=overrides) as parts:
        err.print(source(config, settings), markup=False, soft_wrap=True)
        _announce(parts)
        parts.daemon.run()
    return Exit.OK


def once(
    config: ConfigFile = None,
    folder: WatchFolder = None,
    state: StateFolder = None,
    host: Host = None,
    port: ServerPort = None,
    embedded: Embedded = False,
) -> int:
    """Ingest what is in the folder now, wait for retries, then exit.

    Without a platform in the settings, --host or --embedded names the destination. Exits with 0
    when every recording arrived whole, 3 when some arrived in part or wait for something, 1 when
    some cannot be ingested.
    """
    host = destination(host, embedded=embedded)
    settings = load_settings(config, _overrides(folder, state, host, port, 0))
    require_destination(settings, embedded=embedded)
    require_folders(settings)
    with compose(settings, file=config) as parts:
        status = parts.daemon.run_once()
    return _verdict(status)


@contextmanager
def compose(
    settings: Settings,
    *observers: DaemonObserver,
    file: Path | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Iterator[Composition]:
    """Put the daemon together with its platform, metrics, HTTP port and logs.

    Args:
        settings: All settings.
        observers: Who listens besides metrics, status page, log and service manager.
        file: The settings file, which is looked at for who may read it, and read again on SIGHUP.
        overrides: What the command line said, which still wins then.

    Raises:
        BridgeError: The embedded server, the journal or the HTTP port cannot be opened.
    """
    configure_logging(settings.log.level, settings.log.format, secrets=secrets(settings))
    check_permissions(settings, file=file)
    # Before anything is started that the other bridge has running already.
    require_alone(settings.state.folder)
    _make_places(settings)
    folders, watched = disk_folders(settings), _watched_folders(settings)
    with (
        platform(settings) as address,
        ServiceNotifier.from_environment(os.environ) as notifier,
        JournalReader(settings.state.folder) as journal,
        NotificationStore(settings.state.folder) as store,
    ):
        metrics, board = Metrics(folders=folders, watched=watched, journal=journal), LiveState()
        daemon = Daemon(
            settings,
            server=(address.host, address.port),
            observer=Observers([metrics, board, EventLog(), ServiceObserver(notifier), *observers]),
            # From a terminal SIGHUP means that it is gone, and the daemon with it.
            reload=None
            if is_interactive()
            else Reloader(settings, file=file, overrides=overrides or {}, notifier=notifier),
        )
        poller = NotificationPoller(
            connect=partial(_connect, settings, address, (metrics, board)),
            journal=journal,
            store=store,
            metrics=metrics,
            **settings.notifications.model_dump(),
            may_ask=partial(_platform_is_there, board),
        )
        http = HttpServer(
            settings.http.host,
            settings.http.port,
            metrics=metrics,
            status=board,
            journal=journal,
            notifications=poller,
            folders=folders,
            disk_free_min_bytes=settings.state.disk_free_min_bytes,
            find_others=partial(_find_others, settings),
        )
        with http, poller:
            yield Composition(daemon=daemon, address=address, http=http)


def _watched_folders(settings: Settings) -> dict[str, Path]:
    return {name: inside.watch.folder for name, inside in settings.watched.items()}


def _make_places(settings: Settings) -> None:
    """Make the folders that recordings go to one day, so that their disks can be measured now."""
    for inside in settings.watched.values():
        for place in (inside.disposal.archive_folder, inside.disposal.quarantine_folder):
            if place is not None:
                # Where that is not possible, readiness says so, as `check` does.
                with suppress(OSError):
                    place.mkdir(parents=True, exist_ok=True)


def _find_others(settings: Settings) -> list[Path]:
    """List the files in the watched folders that are no recordings and that nobody ignores."""
    found = []
    for inside in settings.watched.values():
        watch = inside.watch
        found += [
            path
            for path in find_others(watch.folder, recursive=watch.recursive)
            if not ignored(path.relative_to(watch.folder), watch.ignore)
        ]
    return found


def _connect(
    settings: Settings, address: Address, shown: tuple[Metrics, LiveState]
) -> MosaicoClient:
    client = connect(settings, address.host, address.port)
    platform = PlatformFacts(
        address=str(address),
        revision=client.revision,
        version=client.server_version,
        reservation=client.reservation,
    )
    for each in shown:
        each.platform_known(platform)
    return client


def _platform_is_there(board: LiveState) -> bool:
    status = board.look().status
    return status is not None and status.gate.gate is Gate.OPEN


def _announce(parts: Composition) -> None:
    if parts.address.embedded:
        err.print(
            f"[yellow]no platform configured:[/] sending to the embedded server on {parts.address}"
        )
    err.print(
        f"status page on {parts.http.address}, metrics on {parts.http.address}metrics",
        soft_wrap=True,
    )


def _verdict(status: DaemonStatus) -> Exit:
    present = {State(name) for name, count in status.counts.items() if count}
    if present & {State.QUARANTINED, State.REJECTED, State.LOST}:
        return Exit.FAILED
    whole = {
        State.FINALISED, State.DISPOSED, State.SUPERSEDED, State.EMPTY, State.IGNORED,
        State.VANISHED,
    }  # fmt: skip
    return Exit.OK if present <= whole else Exit.PARTIAL


def _overrides(
    folder: WatchFolder,
    state: StateFolder,
    host: Host,
    port: ServerPort,
    http_port: HttpPort,
) -> dict[str, object]:
    return {
        "watch.folder": folder,
        "state.folder": state,
        "server.host": host,
        "server.port": port,
        "http.port": http_port,
    }


log = logging.getLogger(__name__)


class Reloader:
    """Called by the daemon between two turns of its loop; keeps the settings in force.

    Args:
        settings: The settings in force.
        file: The settings file, or None for the environment alone.
        overrides: What the command line said, which still wins.
        notifier: The service manager, which hears of start and end.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        file: Path | None,
        overrides: Mapping[str, Any],
        notifier: ServiceNotifier,
    ) -> None:
        self._settings = settings
        self._file = file
        self._overrides = dict(overrides)
        self._notifier = notifier

    def __call__(self) -> Settings | None:
        """Read, check and compare the settings; log what changed and what cannot.

        Returns:
            The settings to go on with; None where everything stays as it was.
        """
        self._notifier.reloading()
        try:
            return self._read()
        finally:
            self._notifier.ready()

    def _read(self) -> Settings | None:
        try:
            found = load_settings(self._file, self._overrides)
            # What is wrong with these shows only in use.
            ingest_options(found)
            hidden = secrets(found)
            plan = plan_reload(self._settings, found)
        except BridgeError as error:
            reason, hint = error.message, error.hint
            log.error("settings not reloaded: %s", reason, extra={"hint": hint})  # noqa: TRY400 - an operator's mistake, no bug
            return None
        except ValueError as error:
            log.error("settings not reloaded: %s", error)  # noqa: TRY400 - see above
            return None
        for change in plan.refused:
            log.warning(
                "setting %s cannot change while the bridge runs; restart it", change.key,
                extra={"in_force": change.before, "read": change.after},
            )  # fmt: skip
        if not plan.applied:
            log.info("settings read again: nothing changes")
            return None
        for change in plan.applied:
            facts = {"before": change.before, "after": change.after}
            log.info("setting %s changed", change.key, extra=facts)
        if plan.settings.log != self._settings.log:
            configure_logging(plan.settings.log.level, plan.settings.log.format, secrets=hidden)
        log.info("settings reloaded", extra={"changed": len(plan.applied)})
        self._settings = plan.settings
        return plan.settings
