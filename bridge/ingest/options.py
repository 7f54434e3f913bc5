"""All choices of an ingest: plain values, no settings file, no environment."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bridge.bags import ReadLimits
from bridge.client import OnErrorPolicy
from bridge.definitions import DefinitionSources
from bridge.errors import (
    SHUT_OUT,
    BridgeError,
    NotFoundError,
    PlatformBusyError,
    Trouble,
    UploadGoneError,
)
from bridge.ingest.earlier import Superseded
from bridge.ingest.report import VerificationLevel
from bridge.mapping import CustomMapping, TopicOptions
from bridge.quality import Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who sends, which is written into every sequence so that nobody removes another's work.

    Attributes:
        instance: Names this bridge permanently; stays the same over restarts.
        attempt: Counts the tries at this recording, from 1.
        final: Whether giving up follows when this try fails; only then `on_error` decides what
            stays on the platform, before that everything is removed.
        config_hash: Identifies the settings that were in force.
        resumes: Whether a try that fails is followed by another that gets its `OpenUpload`, so
            that what it leaves is kept for that one. No other follows a content that is rejected or
            poison; one does, in spite of `final`, while the platform is away or refuses, and after
            a try that brought topics to their end.
    """

    instance: str
    attempt: int = 1
    final: bool = True
    config_hash: str = ""
    resumes: bool = False

    def gives_up(self, error: BridgeError, *, got_on: bool) -> bool:
        """Return whether no try follows one that ended so.

        Args:
            error: How it ended.
            got_on: Whether it brought topics to their end.
        """
        if not self.resumes:
            return self.final
        if isinstance(error, NotFoundError | UploadGoneError):
            return False
        if error.trouble in {Trouble.REJECTED, Trouble.POISON}:
            return True
        passing = error.trouble in SHUT_OUT or isinstance(error, PlatformBusyError)
        return self.final and not passing and not got_on


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTargets:
    """When a topic's messages are sent.

    Attributes:
        max_batch_size_bytes: Payload bytes of one batch.
        max_batch_size_records: Rows of one batch.
        memory_budget_bytes: Bytes that wait in all topics together, those of small topics in one
            buffer counted half; at the bound the biggest topics are sent early.
        send_queue_bytes: Bytes of batches that wait for the network; at the bound decoding waits.
        begin_bytes: Payload bytes that wait when the biggest topic is sent early, if none was sent
            yet and more comes: so sequence and topics are created while batches fill.
    """

    max_batch_size_bytes: int = 8 << 20
    max_batch_size_records: int = 100_000
    memory_budget_bytes: int = 64 << 20
    send_queue_bytes: int = 8 << 20
    begin_bytes: int = 4 << 20

    def sent_by(self, threads: int) -> "BatchTargets":
        """Give the targets for so many threads that send.

        Several are kept at work by a longer queue, and each holds a batch and what it compresses it
        to, so less waits to become batches.
        """
        if threads == 1:
            return self
        return replace(
            self,
            memory_budget_bytes=self.memory_budget_bytes // 2,
            send_queue_bytes=2 * self.send_queue_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOptions:
    """All choices of an ingest.

    Attributes:
        identity: Who sends.
        supersedes: The sequence that the recording's older content became; None for none.
        sequence_name: Template, see `bridge.mapping.sequence_name`.
        topics: Topic patterns, see `bridge.mapping.TopicFilter`.
        topic_prefix: Put before every topic's name on the platform.
        topic_options: Choices by topic pattern; the first pattern that matches decides.
        default_topic_options: Choices for all other topics.
        custom_mappings: Mappings that go before the built-in ones.
        metadata: Constants for the sequence's metadata and name, placeholders not filled in.
        environment: Variables for the placeholders.
        hostname: Name of this machine, for placeholders and names.
        on_error: What stays on the platform at the final give-up.
        topic_errors: Whether a topic that cannot be sent is dropped or fails the recording.
        message_errors_max: The most skipped messages before the recording fails; None for any.
        verification: How much is proven before the sequence is finalised, as far as the platform's
            revision reports enough.
        hash_files: Whether to take the SHA-256 of every file for the report.
        expectations: What is expected of topics, by pattern, see `bridge.quality.judge`; nothing
            of it holds an upload up.
        quality_topic: Whether a topic of the sequence says how each topic was recorded.
        batches: When messages are sent.
        reading: What a file may claim.
        definitions: Where to look for definitions that the recording does not carry.
        scratch_dir: Where private copies may be made; None for the system's choice.
        wait_turn: Called by a sending thread before each batch, to wait as long as it must;
            see `bridge.client.Pacer`. None for no waiting.
        confirm_source: Called before the sequence is verified and finalised; raises where the files
            are not what they were any more.
    """

    identity: Identity
    supersedes: Superseded | None = None
    sequence_name: str = "{stem}_{id}"
    topics: Sequence[str] = ()
    topic_prefix: str = ""
    topic_options: Mapping[str, TopicOptions] = field(default_factory=dict)
    default_topic_options: TopicOptions = field(default_factory=TopicOptions)
    custom_mappings: Sequence[CustomMapping] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    hostname: str = ""
    on_error: OnErrorPolicy = OnErrorPolicy.Delete
    topic_errors: Literal["drop", "fail"] = "drop"
    message_errors_max: int | None = None
    verification: VerificationLevel = VerificationLevel.COUNTS
    hash_files: bool = False
    expectations: Mapping[str, Expectation] = field(default_factory=dict)
    quality_topic: bool = False
    batches: BatchTargets = field(default_factory=BatchTargets)
    reading: ReadLimits = field(default_factory=ReadLimits)
    definitions: DefinitionSources | None = None
    scratch_dir: Path | None = None
    wait_turn: Callable[[threading.Event], None] | None = None
    confirm_source: Callable[[], None] = lambda: None
