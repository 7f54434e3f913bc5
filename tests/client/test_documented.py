"""The documented client API as it is written: keyword names, defaults, members, kinds of errors.

`SENTENCES` are the documented calls, copied; the contract suite tests what they do.
"""

import builtins
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge import (
    BridgeError,
    Integer64,
    MosaicoClient,
    OnErrorPolicy,
    Query,
    QuerySequence,
    SequenceHandler,
    SequenceWriter,
    SerializationFormat,
    TopicHandler,
    TopicWriter,
)
from tests.client.conftest import ROOT
from tests.servers.served import embedded_server

PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")

SENTENCES: dict[str, tuple[type, str]] = {
    "connect": (MosaicoClient, "host, port, timeout=5"),
    "close": (MosaicoClient, ""),
    "sequence_handler": (MosaicoClient, "sequence_name"),
    "topic_handler": (MosaicoClient, "sequence_name, topic_name"),
    "sequence_create": (
        MosaicoClient,
        (
            "sequence_name, metadata, on_error=OnErrorPolicy.Delete, max_batch_size_bytes=None,"
            " max_batch_size_records=None"
        ),
    ),
    "sequence_delete": (MosaicoClient, "sequence_name"),
    "list_sequences": (MosaicoClient, ""),
    "list_sequence_notify": (MosaicoClient, "sequence_name"),
    "clear_sequence_notify": (MosaicoClient, "sequence_name"),
    "list_topic_notify": (MosaicoClient, "sequence_name, topic_name"),
    "clear_topic_notify": (MosaicoClient, "sequence_name, topic_name"),
    "query": (MosaicoClient, "*queries, query=None"),
    "clear_sequence_handlers_cache": (MosaicoClient, ""),
    "clear_topic_handlers_cache": (MosaicoClient, ""),
    "__init__": (
        MosaicoClient,
        "host, port, timeout, control_client, connection_pool, executor_pool, sentinel",
    ),
    "topic_create": (SequenceWriter, "topic_name, metadata, ontology_type"),
    "push": (TopicWriter, "message"),
}

HANDLED = {
    SequenceHandler: "name topics user_metadata created_datetime is_locked total_size_bytes"
    " timestamp_ns_min timestamp_ns_max sessions updated_timestamps reload",
    TopicHandler: "name sequence_name user_metadata ontology_tag serialization_format"
    " created_datetime is_locked chunks_number total_size_bytes timestamp_ns_min"
    " timestamp_ns_max row_count",
}


def arguments(sentence: str) -> list[tuple[str, str | None]]:
    """Take a documented list of arguments apart: names with the text of their defaults."""
    found = []
    for part in filter(None, sentence.split(", ")):
        name, equals, default = part.strip().partition("=")
        found.append((name, default if equals else None))
    return found


@pytest.mark.parametrize("call", SENTENCES)
def test_calls_take_the_documented_arguments(call: str) -> None:
    """Each documented argument goes by position in this order, by its name, with its default."""
    owner, sentence = SENTENCES[call]
    taken = inspect.signature(getattr(owner, call))
    own = {"self": None} if "self" in taken.parameters else {}
    told = arguments(sentence)
    plain = [name for name, _ in told if not name.startswith("*")]

    taken.bind(**own, **dict.fromkeys(plain))
    if not any(name.startswith("*") for name, _ in told):
        taken.bind(*own, *plain)
    for name, default in told:
        if default is not None:
            known = taken.parameters["timeout_s" if name == "timeout" else name].default
            assert known == eval(default, {"OnErrorPolicy": OnErrorPolicy}), name


@pytest.mark.parametrize("revision", ["G1.2", "G2d"])
def test_calls_work_by_keyword(revision: Any, tmp_path: Path) -> None:
    """Every documented call, with every documented argument by its name, on both generations."""
    with embedded_server(tmp_path, revision) as server:
        host, _, port = server.address.rpartition(":")
        with MosaicoClient.connect(host=host, port=int(port), timeout=5) as client:
            with client.sequence_create(
                sequence_name="run",
                metadata={"a": 1},
                on_error=OnErrorPolicy.Report,
                max_batch_size_bytes=1 << 20,
                max_batch_size_records=10,
            ) as writer:
                topic = writer.topic_create(
                    topic_name="/t", metadata={"b": 2}, ontology_type=Integer64
                )
                topic.push(message={"timestamp_ns": 1, "data": 1})
            client.sequence_notify("run", "odd")
            client.topic_notify("run", "/t", "odd")
            (one,) = client.list_sequence_notify(sequence_name="run")
            (other,) = client.list_topic_notify(sequence_name="run", topic_name="/t")
            assert (one.topic_name, other.topic_name) == (None, "/t")
            client.clear_sequence_notify(sequence_name="run")
            client.clear_topic_notify(sequence_name="run", topic_name="/t")
            assert client.list_sequence_notify("run") == client.list_topic_notify("run", "/t") == []

            sequence = client.sequence_handler(sequence_name="run")
            handler = client.topic_handler(sequence_name="run", topic_name="/t")
            assert sequence is not None
            assert handler is not None
            for each in (sequence, handler):
                for name in HANDLED[type(each)].split():
                    getattr(each, name)
            found = client.query(query=Query(QuerySequence().with_name("run")))
            assert found is not None
            assert [item.sequence.name for item in found] == ["run"]
            client.clear_sequence_handlers_cache()
            client.clear_topic_handlers_cache()
            assert client.sequence_handler("run") is not sequence
            assert client.list_sequences() == ["run"]
            if revision != "G1.2":  # A finalised sequence stays, there.
                client.sequence_delete(sequence_name="run")
                assert client.list_sequences() == []


def test_serialization_formats_by_both_spellings() -> None:
    """Members go by the documented names, and are those that the wire knows."""
    for name in ("Default", "Ragged", "Image"):
        assert SerializationFormat[name].value == name.lower()


def spans() -> list[str]:
    """Give every piece of code in the prose of the page."""
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    return re.findall(r"`([^`]+)`", prose)


OWNERS: Mapping[str, Any] = {
    "client": MosaicoClient,
    "writer": SequenceWriter,
    "field": Integer64.Q.data,
}


def test_names_in_prose_exist() -> None:
    """`writer.session`, `TopicWriter.oversize`, `QueryError`: what the page names is there."""
    looked_at = 0
    for span in spans():
        found = re.fullmatch(r"(\w+)\.(\w+)(\(\))?", span)
        if found:
            owner = OWNERS.get(found[1]) or getattr(bridge, found[1])
            member = getattr(owner, found[2], None)
            known = member is not None or found[2] in getattr(owner, "__annotations__", {})
            assert known, span
            assert not found[3] or callable(member), span
            looked_at += 1
        elif re.fullmatch(r"[A-Z]\w+Error", span):
            assert hasattr(bridge, span) or hasattr(builtins, span), span
            looked_at += 1
    assert looked_at > 20


def test_table_of_errors_is_the_tree() -> None:
    """Each row's `retryable`, and each "is a kind of it", is so."""
    table = PAGE.partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \| (.+) \| (yes|no) \|$", table, re.MULTILINE)
    assert len(rows) == 6
    for names, text, retryable in rows:
        kinds = [getattr(bridge, name) for name in re.findall(r"`(\w+)`", names)]
        below = re.findall(r"`(\w+Error)`", text) if "kind" in text else []
        for kind in kinds:
            assert issubclass(kind, BridgeError)
            assert kind.retryable is (retryable == "yes"), kind
        for name in below:
            assert issubclass(getattr(bridge, name), kinds[0]), name


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: MosaicoClient(host="h", port=1, timeout=5), RuntimeError),
        (lambda: MosaicoClient("h", 1, 5), RuntimeError),
        (lambda: MosaicoClient.connect("127.0.0.1", 1, timeout=0.01), ConnectionError),
        (lambda: Integer64.Q.data.match("x"), ValueError),
    ],
    ids=["constructor by name", "constructor by position", "nobody there", "senseless query"],
)
def test_documented_errors_are_those_of_python(
    call: Callable[[], object], kind: type[Exception]
) -> None:
    """Whoever catches what Python has for it catches ours."""
    with pytest.raises(kind):
        call()
