"""Notifications in the forms that the revisions give them."""

from datetime import UTC, datetime

import pytest

from bridge.client.catalog import NotifyType, parse_datetime, parse_notification
from bridge.errors import ProtocolError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-04-02 09:15 UTC", datetime(2026, 4, 2, 9, 15, tzinfo=UTC)),
        ("2026-04-02 09:15:07 UTC", datetime(2026, 4, 2, 9, 15, 7, tzinfo=UTC)),
        ("2026-04-02 09:15:07.250 UTC", datetime(2026, 4, 2, 9, 15, 7, 250_000, tzinfo=UTC)),
        (
            "2026-01-29 10:30:00.123456789 UTC",
            datetime(2026, 1, 29, 10, 30, 0, 123_456, tzinfo=UTC),
        ),
        ("2026-04-02T11:15:07+02:00", datetime(2026, 4, 2, 9, 15, 7, tzinfo=UTC)),
    ],
)
def test_times_of_all_revisions_are_read(text: str, expected: datetime) -> None:
    """Minutes only, seconds, milli-, micro- and nanoseconds, always UTC."""
    assert parse_datetime(text) == expected


def test_topic_notification_names_both() -> None:
    """The locator in the list is split into sequence and topic."""
    told = {
        "name": "run/a/b",
        "type": "error",
        "msg": "broken",
        "created_datetime": "2026-04-02 09:15 UTC",
    }
    notified = parse_notification(told)
    assert (notified.sequence_name, notified.topic_name) == ("run", "/a/b")
    assert (notified.notify_type, notified.message) == (NotifyType.ERROR, "broken")
    assert parse_notification(told | {"name": "run"}).topic_name is None


@pytest.mark.parametrize("change", [{"type": "hint"}, {"created_datetime": "yesterday"}])
def test_strange_notification_is_a_protocol_error(change: dict[str, str]) -> None:
    """What is no notification is not passed on as one."""
    told = {"name": "run", "type": "error", "created_datetime": "2026-04-02 09:15 UTC"}
    with pytest.raises(ProtocolError):
        parse_notification(told | change)
