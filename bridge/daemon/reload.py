"""Which settings may change while the daemon runs: one literal table, the documentation's too.

A setting that is left out is bound to something that was opened at the start: the journal, the
folder's watch, the port, the connection to the platform, the worker processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.config import Settings

# Dotted keys, or whole sections.
CHANGEABLE = (
    "watch.settle_s",
    "watch.stale_s",
    "watch.rescan_interval_s",
    "watch.ignore",
    "ingest",
    "topics",
    "expect",
    "metadata",
    "mappings",
    "definitions",
    "state.keep_days",
    "retry",
    "workers.memory_limit_bytes",
    "workers.stall_timeout_s",
    "workers.drain_timeout_s",
    "uplink",
    "disposal.mode",
    "disposal.verification",
    "disposal.emergency",
    "disposal.emergency_free_min_bytes",
    "log",
)
SECRET_KEYS = frozenset(
    {
        "server.api_key",
        *(f"backfill.{key}" for key in ("secret_key", "session_token", "account_key", "sas_token")),
    }
)
ABSENT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting that reads otherwise than before.

    Attributes:
        key: Its dotted name.
        before: The value in force, as text; a secret as stars.
        after: The value read now.
    """

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What comes of reading the settings again.

    Attributes:
        settings: The settings to go on with: the new ones where they may change.
        applied: What changed.
        refused: What reads otherwise now but stays as it was until the next start.
    """

    settings: Settings
    applied: tuple[Change, ...] = ()
    refused: tuple[Change, ...] = ()


def plan_reload(before: Settings, after: Settings) -> Reload:
    """Decide which new settings can be taken over by a running daemon.

    Args:
        before: The settings in force.
        after: The settings as they read now.

    Raises:
        ValueError: The part that can be taken over contradicts the part that cannot.
    """
    old, new = before.model_dump(), after.model_dump()
    applied: list[Change] = []
    refused: list[Change] = []
    merged: dict[str, Any] = dict(old)
    for section in old:
        if old[section] == new[section]:
            continue
        if section == "folders":
            merged[section] = _plan_folders(old[section], new[section], applied, refused)
            continue
        if section in CHANGEABLE:
            merged[section] = new[section]
            applied += _changes(section, old[section], new[section])
            continue
        changes = _changes(section, old[section], new[section])
        applied += [change for change in changes if change.key in CHANGEABLE]
        refused += [change for change in changes if change.key not in CHANGEABLE]
        merged[section] = {
            name: new[section][name] if f"{section}.{name}" in CHANGEABLE else value
            for name, value in old[section].items()
        }
    return Reload(
        settings=Settings.model_validate(merged) if applied else before,
        applied=tuple(applied),
        refused=tuple(refused),
    )


def _plan_folders(
    old: Mapping[str, Any], new: Mapping[str, Any], applied: list[Change], refused: list[Change]
) -> dict[str, Any]:
    """Take over what may change in the folders that stay; which they are and where does not."""
    merged: dict[str, Any] = dict(old)
    for name in {**old, **new}:
        key = f"folders.{name}"
        if name not in old or name not in new:
            refused.append(_change(key, old.get(name, ABSENT), new.get(name, ABSENT)))
            continue
        merged[name] = dict(old[name])
        for section in old[name]:
            before, after = old[name][section], new[name][section]
            for change in _changes(section, before, after):
                changeable = section in CHANGEABLE or change.key in CHANGEABLE
                told = Change(key=f"{key}.{change.key}", before=change.before, after=change.after)
                (applied if changeable else refused).append(told)
            if isinstance(before, Mapping):
                merged[name][section] = _taken_over(section, before, after)
    return merged


def _taken_over(section: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Any:
    """Give a folder's table as it may be from now on: also without keys that are gone."""
    if section in CHANGEABLE:
        return after
    changeable = {key for key in {**before, **after} if f"{section}.{key}" in CHANGEABLE}
    return {
        **{key: value for key, value in before.items() if key not in changeable},
        **{key: value for key, value in after.items() if key in changeable},
    }


def _changes(section: str, before: Any, after: Any) -> list[Change]:
    """Name what differs in a section, key by key where it has keys."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return [_change(section, before, after)] if before != after else []
    return [
        _change(f"{section}.{name}", before.get(name, ABSENT), after.get(name, ABSENT))
        for name in {**before, **after}
        if before.get(name, ABSENT) != after.get(name, ABSENT)
    ]


def _change(key: str, before: Any, after: Any) -> Change:
    if key in SECRET_KEYS:
        return Change(key=key, before="***", after="***")
    return Change(key=key, before=_text(before), after=_text(after))


def _text(value: Any) -> str:
    return "unset" if value is ABSENT else str(value)
