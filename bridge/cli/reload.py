"""Reads the settings again when the daemon is told to by SIGHUP, and says what came of it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.compose import ingest_options, secrets
from bridge.config import Settings, load_settings
from bridge.daemon import ServiceNotifier, configure_logging, plan_reload
from bridge.errors import BridgeError

log = logging.getLogger(__name__)


class Reloader:
    """Called by the daemon between two turns of its loop; keeps the settings in force.

    Args:
        settings: The settings in force.
        file: The settings file, or None for the environment alone.
        overrides: What the command line said, which still wins.
        notifier: The service manager, which is told of beginning and end.
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
