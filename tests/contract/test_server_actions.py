"""The actions on sequences, sessions, topics and notifications, with every refusal."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.contract import protobuf
from tests.contract.wire import Wire, batch, refused

NOBODY = str(uuid4())


def test_info_tells_version_and_limits(wire: Wire) -> None:
    """`info` gives the version and the three limits that clients go by."""
    info = wire.do("info")
    semver = info["semver"]
    assert semver.keys() == {"major", "minor", "patch", "pre"}
    assert (semver["major"], semver["minor"]) == wire.version
    assert info["version"].startswith("{}.{}.".format(*wire.version))
    assert info["config"].keys() == {
        "grpc_max_decode_message_size",
        "grpc_max_encode_message_size",
        "grpc_target_encode_message_size",
    }


@pytest.mark.parametrize("action", ["version", "sequence_abort", "api_key_create", ""])
def test_unknown_action_is_refused(wire: Wire, action: str) -> None:
    """An action that the revision does not have is named in the refusal."""
    with refused("INVALID_ARGUMENT", f"Bad request: no available action for string `{action}`."):
        wire.results(action, b"{}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"\xff",
        b"{}",
        b'{"locator":"a"}',
        b'{"user_metadata":{}}',
        b'{"locator":1,"user_metadata":{}}',
        b'{"locator":null,"user_metadata":{}}',
        b'{"locator":"a","user_metadata":NaN}',
        b'{"locator":"a","user_metadata":"\\ud800"}',
        b'{"locator":"a","user_metadata":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_body_that_is_not_the_request_is_refused(json_wire: Wire, body: bytes) -> None:
    """A body that is no JSON object with the required fields is refused, whatever is wrong."""
    with refused("INVALID_ARGUMENT", "Bad request: body deserialization error."):
        json_wire.results("sequence_create", body)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"locator":"a","user_metadata":{}}',
        b"\x0a",  # a text without its length
        b"\x0a\x05ab",  # a text that is cut
        b"\x0a\x01\xff",  # a text that is not UTF-8
        b"\x08\x01" + b"\x0b",  # a group without its end
        b"\xff",
    ],
)
def test_body_that_is_not_the_message_is_refused(protobuf_wire: Wire, body: bytes) -> None:
    """A body that cannot be decoded is refused, JSON above all."""
    with refused("INVALID_ARGUMENT", "Bad request: body decode error."):
        protobuf_wire.results("sequence_create", body)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (b"{", "Bad request: body deserialization error."),
        (b'{"a":NaN}', "Bad request: body deserialization error."),
        (b"\xff", "Bad request: body deserialization error."),
        (b"[" * 5000 + b"]" * 5000, "Bad request: body deserialization error."),
    ],
)
def test_metadata_that_is_no_json_is_refused(
    protobuf_wire: Wire, name: str, metadata: bytes, text: str
) -> None:
    """Metadata stay JSON, inside the message."""
    body = protobuf.field(1, name.encode()) + protobuf.field(2, metadata)
    with refused("INVALID_ARGUMENT", text):
        protobuf_wire.results("sequence_create", body)


def test_what_is_missing_is_empty(protobuf_wire: Wire) -> None:
    """No field has to be there; what is missing is refused for its content."""
    with refused("INVALID_ARGUMENT", " is not a valid locator."):
        protobuf_wire.results("sequence_create", b"")
    with refused("INVALID_ARGUMENT", " is not a valid UUID."):
        protobuf_wire.results("session_finalize", b"")


def test_unknown_fields_are_ignored(json_wire: Wire, name: str) -> None:
    """Fields that a request does not know do no harm."""
    assert json_wire.do("sequence_create", locator=name, user_metadata={}, color="red") is None


def test_unknown_numbers_are_ignored(protobuf_wire: Wire, name: str) -> None:
    """Fields of numbers that a request does not know do no harm; of two alike the last counts."""
    body = protobuf.field(1, b"other") + protobuf.field(99, b"x") + protobuf.field(1, name.encode())
    assert protobuf_wire.results("sequence_create", body) == [b""]
    assert protobuf_wire.sequence_facts(name)["user_metadata"] is None


def test_refusal_carries_no_traceback(wire: Wire) -> None:
    """What a client is told ends with the refusal; nothing of the server's code leaks."""
    with pytest.raises(Exception, match="no available action") as caught:
        wire.results("nothing", b"{}")
    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)


def test_long_refusal_arrives(wire: Wire) -> None:
    """A refusal that quotes a huge name still arrives as what it is."""
    with refused("INVALID_ARGUMENT", "Bad request: no available action for string `éé"):
        wire.results("é" * 100_000, b"{}")


class TestSequences:
    def test_create_answers_null(self, wire: Wire, name: str) -> None:
        """A created sequence has no key to tell; it is listed at once."""
        assert wire.do("sequence_create", locator=name, user_metadata={"a": 1}) is None
        assert wire.sequence_facts(name)["user_metadata"] == {"a": 1}

    def test_name_is_taken_once(self, wire: Wire, name: str) -> None:
        """A second sequence of the same name is refused."""
        wire.sequence(name)
        with refused("ALREADY_EXISTS", " already exists."):
            wire.sequence(name)

    @pytest.mark.parametrize("bad", ["", "a/b", "/a", "a:b", "a b", "a.b", "é", "a$", "a%", "a'"])
    def test_bad_name_is_refused(self, wire: Wire, bad: str) -> None:
        """Only plain ASCII names without separators are sequences."""
        with refused("INVALID_ARGUMENT", f"{bad} is not a valid locator."):
            wire.sequence(bad)

    @pytest.mark.parametrize("key", ["a.b", "a:b", "", "a--b", "é", "a/b"])
    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_bad_metadata_key_is_refused(self, wire: Wire, name: str, key: str, depth: int) -> None:
        """Keys that no query could address are refused at every depth, also inside lists."""
        metadata: Any = {key: 1}
        for _ in range(depth):
            metadata = {"outer": [metadata]}
        with refused("INVALID_ARGUMENT", f"Bad request: invalid json key: {key}"):
            wire.do("sequence_create", locator=name, user_metadata=metadata)

    def test_metadata_keeps_its_shape(self, wire: Wire, name: str) -> None:
        """Metadata comes back as the JSON it was."""
        metadata = {
            "text": "Zürich ☂ \U0001f697",
            "deep": {"list": [1, 2.5, True, None, {"x-y_z 1": "v"}]},
            "big": 2**62,
            "empty": {},
        }
        wire.sequence(name, metadata)
        assert wire.sequence_facts(name)["user_metadata"] == metadata

    def test_null_metadata_reads_as_object(self, wire: Wire, name: str) -> None:
        """Null metadata is accepted; in JSON it is an object again, which clients insist on."""
        wire.do("sequence_create", locator=name, user_metadata=None)
        assert wire.sequence_facts(name)["user_metadata"] == (None if wire.is_protobuf else {})

    def test_delete_takes_everything(self, wire: Wire, name: str) -> None:
        """A deleted sequence is gone with sessions, locked topics and notifications."""
        wire.recorded(name, imu=batch(1, 2))
        wire.do("sequence_notification_create", locator=name, notification_type="error", msg="m")
        assert wire.do("sequence_delete", locator=name) is None
        for locator in (name, f"{name}/imu"):
            with refused("NOT_FOUND", " not found."):
                wire.info(locator)
        wire.sequence(name)
        assert wire.do("sequence_notification_list", locator=name)["notifications"] == []

    def test_delete_of_nothing_is_refused(self, wire: Wire, name: str) -> None:
        """A sequence that does not exist cannot be deleted."""
        with refused("NOT_FOUND", " not found."):
            wire.do("sequence_delete", locator=name)


class TestSessions:
    def test_create_tells_uuid_and_locator(self, wire: Wire, name: str) -> None:
        """A session is known by a uuid and by the sequence with a ULID."""
        opened = wire.session(wire.sequence(name))
        assert str(UUID(opened["uuid"])) == opened["uuid"]
        assert re.fullmatch(rf"{name}:[0-9A-HJKMNP-TV-Z]{{26}}", opened["locator"])

    def test_create_needs_the_sequence(self, wire: Wire, name: str) -> None:
        """No session without a sequence."""
        with refused("NOT_FOUND", " not found."):
            wire.session(name)

    def test_sessions_can_be_open_side_by_side(self, wire: Wire, name: str) -> None:
        """Two sessions of one sequence do not disturb each other."""
        wire.sequence(name)
        one, two = wire.session(name), wire.session(name)
        wire.put(wire.topic(one, "a"), batch(1))
        wire.put(wire.topic(two, "b"), batch(2))
        wire.do("session_finalize", session_uuid=one["uuid"])
        sessions = {
            session["locator"]: session for session in wire.sequence_facts(name)["sessions"]
        }
        assert sessions[one["locator"]]["locked"] is True
        assert sessions[two["locator"]]["locked"] is False
        assert sessions[two["locator"]]["completed_at_ns"] is None

    def test_finalize_needs_a_uuid_that_exists(self, wire: Wire) -> None:
        """Finalize checks the form of the uuid first, then whether there is such a session."""
        with refused("INVALID_ARGUMENT", "nonsense is not a valid UUID."):
            wire.do("session_finalize", session_uuid="nonsense")
        with refused("NOT_FOUND", " not found."):
            wire.do("session_finalize", session_uuid=NOBODY)

    def test_empty_session_is_not_finalized(self, wire: Wire, name: str) -> None:
        """A session without topics stays open."""
        opened = wire.session(wire.sequence(name))
        with refused("FAILED_PRECONDITION", f"Session `{opened['locator']} is empty.`."):
            wire.do("session_finalize", session_uuid=opened["uuid"])

    def test_topic_never_put_blocks_finalize(self, wire: Wire, name: str) -> None:
        """Every topic needs a put, if an empty one."""
        opened = wire.session(wire.sequence(name))
        topic = wire.topic(opened, "a")
        with refused("FAILED_PRECONDITION", f"DoPut not called for topic `{topic[0]}`."):
            wire.do("session_finalize", session_uuid=opened["uuid"])
        wire.put(topic)
        assert wire.do("session_finalize", session_uuid=opened["uuid"]) is None

    def test_finalize_happens_once(self, wire: Wire, name: str) -> None:
        """A finalized session takes neither a second finalize nor another topic."""
        opened = wire.session(wire.sequence(name))
        wire.put(wire.topic(opened, "a"), batch(1))
        wire.do("session_finalize", session_uuid=opened["uuid"])
        with refused("FAILED_PRECONDITION", "` already finalized."):
            wire.do("session_finalize", session_uuid=opened["uuid"])
        with refused("FAILED_PRECONDITION", "` already finalized."):
            wire.topic(opened, "b")

    def test_delete_takes_its_topics_only(self, wire: Wire, name: str) -> None:
        """A deleted session takes its topics along, even when it is finalized."""
        wire.recorded(name, keep=batch(1))
        opened = wire.session(name)
        wire.put(wire.topic(opened, "gone"), batch(2))
        wire.do("session_finalize", session_uuid=opened["uuid"])
        assert wire.do("session_delete", locator=opened["locator"]) is None
        assert wire.times(f"{name}/keep") == [1]
        with refused("NOT_FOUND", " not found."):
            wire.info(f"{name}/gone")

    def test_delete_needs_a_session(self, wire: Wire, name: str) -> None:
        """Delete wants the locator of a session that exists."""
        with refused("INVALID_ARGUMENT", f"{name} is not a valid locator."):
            wire.do("session_delete", locator=name)
        with refused("NOT_FOUND", " not found."):
            wire.do("session_delete", locator=f"{name}:01JQ3E5B8Z4T6W9X2Y7K1M0NPR")


class TestTopics:
    def request(self, **changes: Any) -> dict[str, Any]:
        return {
            "serialization_format": "default",
            "ontology_tag": "Probe",
            "user_metadata": {},
        } | changes

    def test_checks_come_in_order(self, wire: Wire, name: str) -> None:
        """Of several faults the first is told: metadata, uuid, locator, session, sequence, name."""
        opened = wire.session(wire.sequence(name))
        other = wire.session(wire.sequence(f"{name}-other"))
        done = wire.session(name)
        wire.put(wire.topic(done, "taken"), batch(1))
        wire.do("session_finalize", session_uuid=done["uuid"])
        faults: list[tuple[dict[str, Any], str, str]] = [
            ({"user_metadata": {"a.b": 1}}, "INVALID_ARGUMENT", "invalid json key"),
            ({"session_uuid": "x"}, "INVALID_ARGUMENT", "x is not a valid UUID."),
            ({"locator": name}, "INVALID_ARGUMENT", f"{name} is not a valid locator."),
            ({"session_uuid": NOBODY}, "NOT_FOUND", " not found."),
            ({"session_uuid": done["uuid"]}, "FAILED_PRECONDITION", "already finalized."),
            ({"session_uuid": other["uuid"]}, "PERMISSION_DENIED", "do not share the same"),
            ({}, "ALREADY_EXISTS", " already exists."),
        ]
        # Each fault is sent together with all later ones that can stand beside it.
        for index, (_, status, text) in enumerate(faults):
            request = self.request(session_uuid=opened["uuid"], locator=f"{name}/taken")
            for change, _, _ in reversed(faults[index:]):
                request |= change
            with refused(status, text):
                wire.do("topic_create", **request)

    @pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "a:b", "a b", "a.b", "ü"])
    def test_bad_path_is_refused(self, wire: Wire, name: str, path: str) -> None:
        """A topic's path has no empty step and only plain characters."""
        opened = wire.session(wire.sequence(name))
        with refused("INVALID_ARGUMENT", f"{name}/{path} is not a valid locator."):
            wire.topic(opened, path)

    @pytest.mark.parametrize("storage", ["Default", "parquet", ""])
    def test_bad_format_is_refused(self, json_wire: Wire, name: str, storage: str) -> None:
        """A serialization format that does not exist is a malformed request."""
        opened = json_wire.session(json_wire.sequence(name))
        with refused("INVALID_ARGUMENT", "Bad request: body deserialization error."):
            json_wire.topic(opened, "a", storage=storage)

    @pytest.mark.parametrize("number", [0, 4, 2**31 - 1])
    def test_bad_number_of_a_format_is_refused(
        self, protobuf_wire: Wire, name: str, number: int
    ) -> None:
        """A serialization format has a number, which is never left out."""
        body = protobuf.field(1, f"{name}/a".encode()) + protobuf.number_field(3, number)
        with refused("INVALID_ARGUMENT", "Bad request: unknown serialization format"):
            protobuf_wire.results("topic_create", body)

    @pytest.mark.parametrize("storage", ["default", "ragged", "image"])
    def test_every_format_is_stored(self, wire: Wire, name: str, storage: str) -> None:
        """All three formats take and give the same rows."""
        topic = wire.topic(wire.session(wire.sequence(name)), "deep/er/path", storage=storage)
        wire.put(topic, batch(1, 2))
        assert wire.described(topic[0])["serialization_format"] == storage
        assert wire.times(topic[0]) == [1, 2]

    def test_name_is_taken_across_sessions(self, wire: Wire, name: str) -> None:
        """A topic's name is unique in its sequence, whatever session it came in."""
        wire.recorded(name, imu=batch(1))
        with refused("ALREADY_EXISTS", " already exists."):
            wire.topic(wire.session(name), "imu")

    def test_delete_frees_the_name(self, wire: Wire, name: str) -> None:
        """A locked topic can be deleted, and made again in an open session."""
        wire.recorded(name, imu=batch(1), gps=batch(5))
        assert wire.do("topic_delete", locator=f"{name}/imu") is None
        with refused("NOT_FOUND", " not found."):
            wire.do("topic_delete", locator=f"{name}/imu")
        topic = wire.topic(wire.session(name), "imu")
        wire.put(topic, batch(7))
        assert wire.times(topic[0]) == [7]

    def test_uuid_is_taken_in_any_form(self, wire: Wire, name: str) -> None:
        """A uuid is what it says, not how it is written."""
        opened = wire.session(wire.sequence(name))
        opened["uuid"] = opened["uuid"].replace("-", "").upper()
        wire.topic(opened, "a")


class TestNotifications:
    def test_they_are_listed_until_purged(self, wire: Wire, name: str) -> None:
        """Notifications of a sequence and of its topics are kept apart, in order."""
        wire.recorded(name, imu=batch(1))
        for kind, locator in (("sequence", name), ("topic", f"{name}/imu")):
            for text in ("first ☂", "second"):
                response = wire.do(
                    f"{kind}_notification_create",
                    locator=locator,
                    notification_type="error",
                    msg=f"{kind} {text}",
                )
                assert response is None
            listed = wire.do(f"{kind}_notification_list", locator=locator)["notifications"]
            assert [entry["msg"] for entry in listed] == [f"{kind} first ☂", f"{kind} second"]
            assert {entry["name"] for entry in listed} == {locator}
            assert {entry["notification_type"] for entry in listed} == {"error"}
        assert wire.do("sequence_notification_purge", locator=name) is None
        assert wire.do("sequence_notification_list", locator=name)["notifications"] == []
        locator = f"{name}/imu"
        assert len(wire.do("topic_notification_list", locator=locator)["notifications"]) == 2
        assert wire.do("topic_notification_purge", locator=locator) is None
        assert wire.do("topic_notification_list", locator=locator)["notifications"] == []

    def test_their_time_can_be_read(self, wire: Wire, name: str) -> None:
        """The date is UTC text that Python reads once the suffix is an offset."""
        wire.sequence(name)
        wire.do("sequence_notification_create", locator=name, notification_type="error", msg="")
        (entry,) = wire.do("sequence_notification_list", locator=name)["notifications"]
        text = entry["created_datetime"]
        assert text.endswith(" UTC")
        created = datetime.fromisoformat(text.removesuffix(" UTC") + "+00:00")
        assert abs(datetime.now(tz=UTC) - created) < timedelta(minutes=2)

    def test_only_errors_exist(self, wire: Wire, name: str) -> None:
        """No other type of notification is known."""
        wire.sequence(name)
        with refused("INVALID_ARGUMENT", "Bad request: invalid notification type `warning`."):
            wire.do(
                "sequence_notification_create", locator=name, notification_type="warning", msg=""
            )

    @pytest.mark.parametrize("verb", ["create", "list", "purge"])
    @pytest.mark.parametrize("kind", ["sequence", "topic"])
    def test_they_need_their_resource(self, wire: Wire, name: str, kind: str, verb: str) -> None:
        """What does not exist has no notifications."""
        locator = name if kind == "sequence" else f"{name}/imu"
        with refused("NOT_FOUND", " not found."):
            wire.do(
                f"{kind}_notification_{verb}", locator=locator, notification_type="error", msg=""
            )
