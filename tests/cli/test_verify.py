"""`verify`: the platform against the journal."""

from typing import Any

from bridge.cli.verify import compare
from bridge.daemon import Journal
from bridge.ontology import IMU


def test_verify_finds_everything_as_it_was_sent(arrived: Any, command: Any) -> None:
    """Sequence, fingerprint, lock, and every topic's rows and times."""
    done = command("verify", "--all", "-c", arrived.config)

    assert done.code == 0
    assert "as it was sent" in done.out
    assert "1 compared, 0 differ" in done.out
    assert "first and last times, row counts" in " ".join(done.out.split())


def test_verify_names_each_difference_with_both_figures(arrived: Any, command: Any) -> None:
    """Rows, times, topics and content are each compared with what the journal kept."""
    with Journal.read(arrived.state) as journal:
        (entry,) = (one for one in journal.recordings() if one.sequence)
        report = journal.report(entry.id)
    assert report is not None
    (content,) = report["contents"]
    imu, odometry = content["topics"]["/imu/data"], content["topics"]["/odom"]
    rows, end_ns = imu[0], odometry[2]
    imu[0] += 1
    odometry[2] += 7
    content["topics"]["/never/sent"] = content["topics"].pop("/joint_states")
    with arrived.client(command) as client:
        finding = compare(client, entry, report)

    assert not finding.missing
    assert set(finding.differences) == {
        f"/imu/data: rows: sent {rows + 1}, the platform has {rows}",
        f"/odom: last time in ns: sent {end_ns + 7}, the platform has {end_ns}",
        "/never/sent: the platform has no such topic",
    }


def test_verify_resends_what_the_platform_has_lost(arrived: Any, command: Any) -> None:
    """A platform restored from an old backup gets the recording once more."""
    with arrived.client(command) as client:
        (sequence,) = client.list_sequences()
        client.sequence_delete(sequence)
    found = command("verify", "--all", "-c", arrived.config)
    again = command("verify", arrived.drive, "--resend", "-c", arrived.config)
    arrived.await_states(command, finalised=1, quarantined=1)

    assert (found.code, again.code) == (3, 3)
    assert "no such sequence" in found.out
    assert "in the queue again" in again.out
    assert command("verify", "--all", "-c", arrived.config).code == 0


def test_verify_refuses_what_never_arrived(arrived: Any, command: Any) -> None:
    """Only what the journal has on the platform can be compared."""
    done = command("verify", next(arrived.folder.glob("junk*")), "-c", arrived.config)

    assert done.code == 1
    assert "not on the platform" in done.err


def test_verify_resends_what_the_platform_has_in_part(arrived: Any, command: Any) -> None:
    """A sequence that lost a topic and rows in a restore is removed and sent again, once."""
    with arrived.client(command) as client:
        (sequence,) = client.list_sequences()
        whole = {
            topic: client.topic_handler(sequence, topic).row_count
            for topic in client.sequence_handler(sequence).topics
        }
        metadata = dict(client.sequence_handler(sequence).user_metadata)
        model, batch = imu_batch(client, sequence)
        client.sequence_delete(sequence)
        with client.sequence_create(sequence, metadata) as writer:
            writer.topic_create("/imu/data", {}, model).write_batch(batch.slice(0, 3))
    found = command("verify", "--all", "-c", arrived.config)
    told = command("retry", arrived.drive, "-c", arrived.config)
    again = command("verify", arrived.drive, "--resend", "-c", arrived.config)
    arrived.await_states(command, finalised=1, quarantined=1)
    with arrived.client(command) as client:
        held = {
            topic: client.topic_handler(sequence, topic).row_count
            for topic in client.sequence_handler(sequence).topics
        }

        assert client.list_sequences() == [sequence]
    assert (found.code, told.code, again.code) == (3, 3, 3)
    assert "/imu/data: rows: sent" in found.out.replace("\n", "")
    assert "in the queue again" in again.out
    assert held == whole
    assert command("verify", "--all", "-c", arrived.config).code == 0


def imu_batch(client: Any, sequence: str) -> tuple[Any, Any]:
    """Give the model of the IMU topic and its first rows as the platform has them."""
    handler = client.topic_handler(sequence, "/imu/data")
    model = IMU
    return model, next(iter(handler.batches())).cast(model.schema)


def test_verify_resends_nothing_under_a_foreign_name(arrived: Any, command: Any) -> None:
    """Where the name belongs to other content by now, nothing is removed and the person is told."""
    with arrived.client(command) as client:
        (sequence,) = client.list_sequences()
        model, batch = imu_batch(client, sequence)
        client.sequence_delete(sequence)
        with client.sequence_create(sequence, {"mine": True}) as writer:
            writer.topic_create("/imu/data", {}, model).write_batch(batch)
    done = command("verify", "--all", "--resend", "-c", arrived.config)
    with arrived.client(command) as client:
        handler = client.sequence_handler(sequence)
        client.sequence_delete(sequence)
    again = command("verify", "--all", "--resend", "-c", arrived.config)
    arrived.await_states(command, finalised=1, quarantined=1)

    assert (done.code, again.code) == (3, 3)
    assert "belongs to other content" in " ".join(done.out.split())
    assert dict(handler.user_metadata) == {"mine": True}
