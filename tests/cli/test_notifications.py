"""`notifications`: listing what was seen, clearing it on the platform."""

from pathlib import Path
from typing import Any

from bridge.daemon import Journal, NotificationStore


def test_notifications_are_listed_and_cleared_here_and_there(arrived: Any, command: Any) -> None:
    """What the poller has seen is shown, hostile words harmless; clearing reaches the platform."""
    with arrived.client(command) as client:
        (sequence,) = client.list_sequences()
        client.sequence_notify(sequence, "index \x1b[31m[bold]broken")
        client.topic_notify(sequence, "/imu/data", "topic is odd")
        told = client.list_sequence_notify(sequence)
        told += client.list_topic_notify(sequence, "/imu/data")
    with NotificationStore(arrived.state) as store:
        store.remember(told, now_s=1.0)
    listed = command("notifications", "list", "-c", arrived.config)
    others = command("notifications", "list", "another", "-c", arrived.config)
    plain = command("notifications", "list", sequence, "-c", arrived.config, "--json").json
    cleared = command("notifications", "clear", sequence, "-c", arrived.config)
    after = command("notifications", "list", "-c", arrived.config)

    assert listed.code == 3
    assert "topic is odd" in listed.out
    assert r"index \x1b[31m[bold]broken" in listed.out
    assert others.code == 0
    assert {one["topic"] for one in plain["notifications"]} == {"", "/imu/data"}
    assert cleared.code == 0
    assert "cleared: 2" in cleared.out
    assert after.code == 0
    with arrived.client(command) as client:
        assert not client.list_sequence_notify(sequence)
        assert not client.list_topic_notify(sequence, "/imu/data")


def test_listing_makes_no_database_where_there_is_none(tmp_path: Path, command: Any) -> None:
    """An operator who looks as root must not leave files that the bridge cannot write."""
    Journal.own(tmp_path).close()
    before = sorted(tmp_path.iterdir())
    done = command("notifications", "list", "--state", tmp_path)

    assert done.code == 0
    assert "no notifications" in done.out
    assert sorted(tmp_path.iterdir()) == before


def test_clearing_reaches_what_was_never_seen(arrived: Any, command: Any) -> None:
    """The platform knows of more than the bridge has asked for, on topics too."""
    with arrived.client(command) as client:
        (sequence,) = client.list_sequences()
        client.topic_notify(sequence, "/imu/data", "nobody has asked yet")
    cleared = command("notifications", "clear", sequence, "-c", arrived.config)

    assert cleared.code == 0
    assert "cleared: 1" in cleared.out
    with arrived.client(command) as client:
        assert not client.list_topic_notify(sequence, "/imu/data")
