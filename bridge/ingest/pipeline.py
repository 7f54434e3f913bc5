"""Files become one sequence: what is there already, what is sent, what is proven.

`portions` decides which files of a recording these are.

The decisions are here; reading and converting are in `passes`, the platform's side in `sending`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from itertools import chain

from bridge.bags import RecordingReader, Survey, content_of, open_recording
from bridge.client import MosaicoClient, SequenceHandler, TopicReceipt
from bridge.errors import (
    DamagedRecordingError,
    DefinitionError,
    EmptyRecordingError,
    NotFoundError,
    PreconditionError,
    RecordingError,
    RefusedError,
    RejectedError,
)
from bridge.ingest.delivered import Holder, Race
from bridge.ingest.events import IngestEvents
from bridge.ingest.holding import receipts_of
from bridge.ingest.naming import describe, name_of, terms_of
from bridge.ingest.on_platform import Place, find_place
from bridge.ingest.open_upload import OpenUpload, groups_of, is_whole
from bridge.ingest.options import IngestOptions
from bridge.ingest.passes import Passes
from bridge.ingest.report import IngestReport, VerificationLevel, missing_files, not_sent
from bridge.ingest.salvage import UnannouncedDamageError, may_delete, taken_survey
from bridge.ingest.sending import QUALITY_TOPIC, Sending
from bridge.ingest.topic_lanes import TopicLane
from bridge.ingest.verify import compare_existing, counted_alike, lacking, verify
from bridge.mapping import TopicFilter
from bridge.model import MixedBlock, Recording
from bridge.units import counted

IDENTITY_DIGITS = 8
"""So much of its identity goes behind a name that the parts before have taken."""


def ingest_portion(
    recording: Recording,
    *,
    client: MosaicoClient,
    options: IngestOptions,
    events: IngestEvents,
    upload: OpenUpload | None = None,
    resend: bool = False,
    holder: Holder | None = None,
    follows: Sequence[str] = (),
    plain: Mapping[str, str] | None = None,
) -> IngestReport:
    """Put files onto the platform as one sequence, verified and finalised.

    What an earlier try of this bridge left is resumed where `upload` says how, and removed
    otherwise.

    Args:
        recording: The files.
        client: Connected to the platform.
        options: All choices.
        events: Receives what happens.
        upload: The last that an earlier try passed to `IngestEvents.upload_changed`; None for none.
        resend: Whether a finished sequence that differs from the files is removed and sent again;
            otherwise it is left alone, and the report says what it lacks.
        holder: The sequence that holds them already; it is compared and nothing is sent. None where
            they are to be sent.
        follows: Sequences that hold the rest of the recording, for the metadata.
        plain: What compressed files are when they are decompressed, by identity; for the metadata.

    Returns:
        What became of every topic and message.

    Raises:
        RecordingError: The files cannot be read, changed meanwhile, or hold nothing to send.
        ServerError: The platform is away, refuses or rejects; `trouble` says which.
        VerificationError: The platform holds something else than was sent.
    """
    opened = partial(
        open_recording,
        recording,
        limits=options.reading,
        definitions=options.definitions,
        scratch_dir=options.scratch_dir,
    )
    attempt = partial(
        _Run,
        client=client,
        options=options,
        events=events,
        upload=upload,
        follows=follows,
        plain=plain or {},
    )
    return _until_told_whole(opened, attempt, events=events, resend=resend, holder=holder)


def _until_told_whole(
    opened: Callable[..., RecordingReader],
    attempt: "Callable[..., _Run]",
    *,
    events: IngestEvents,
    resend: bool,
    holder: Holder | None,
) -> IngestReport:
    """Start again as often as what is on the platform cannot be built on.

    That is at most three times: what was left there is removed once, damage is announced once, and
    a file that lied about its channels is not believed a second time.
    """
    takes_up = True
    found: Survey | None = None
    thorough = False
    while True:
        started = time.perf_counter()
        with opened(thorough=thorough) as reader:
            events.stage_finished(stage="open", seconds=time.perf_counter() - started)
            if found is None and not reader.healthy:
                found = taken_survey(reader, events)
                if found.misled:
                    found, thorough = None, True
                    continue
            run = attempt(reader, survey=found)
            try:
                return run.execute(takes_up=takes_up, resend=resend, holder=holder)
            except _StartOverError:
                takes_up = resend = False
                holder = None
            except _MisledError:
                found, thorough = None, True
            except UnannouncedDamageError:
                found = taken_survey(reader, events)


class _StartOverError(Exception):
    """What the platform has of the recording cannot be built on; it is removed, or about to be."""


class _MisledError(Exception):
    """Messages were left out since a file lacks their channels where it lists all of them."""


class _Run:
    """The state of one ingest; every attribute is owned by the thread that executes it."""

    def __init__(
        self,
        reader: RecordingReader,
        *,
        client: MosaicoClient,
        options: IngestOptions,
        events: IngestEvents,
        upload: OpenUpload | None,
        survey: Survey | None,
        follows: Sequence[str],
        plain: Mapping[str, str],
    ) -> None:
        self.survey = survey
        self.follows = follows
        self.goes_on = survey is not None
        self.trusts_again = False
        self.passes = Passes(reader, options=options, events=events)
        self.reader = reader
        self.topics = self.passes.topics
        self.client = client
        self.options = options
        self.events = events
        self.upload = upload
        self.content = replace(content_of(reader.recording), plain=plain)

    def execute(self, *, takes_up: bool, resend: bool, holder: Holder | None) -> IngestReport:
        """Send everything, or find that it is there already.

        Raises:
            _StartOverError: What was found on the platform is to be replaced.
            UnannouncedDamageError: The recording is damaged, which its metadata must say.
        """
        blocks = iter(self.reader.mixed_blocks())
        first = next(blocks, None)
        start_ns = int(first.log_times_ns.min()) if first is not None else None
        name = name_of(self.reader.recording, self.content.fingerprint, start_ns, self.options)
        if name in self.follows:
            # A template without the identity: the first part of the recording has the name.
            name = f"{name}_{self.content.fingerprint[:IDENTITY_DIGITS]}"
        self.events.started(
            recording=str(self.reader.recording.path),
            sequence=name,
            size_bytes=self.reader.recorded_bytes,
            message_count=self.reader.message_count,
        )
        for topic in self.topics:
            self.events.topic_planned(topic=topic)
        if first is None or not self.passes.lanes:
            if self.reader.misled:
                raise _MisledError
            raise self._nothing_to_send()
        if holder is not None:
            blocks = chain([first], blocks)
            return self._found(holder.handler, blocks, resend=resend, exact=holder.exact)

        place = find_place(
            self.client,
            name,
            fingerprint=self.content.fingerprint,
            identity=self.options.identity,
            upload=self.upload if takes_up else None,
            terms=terms_of(self.reader, self.options),
            salvaged=self.survey is not None,
        )
        if place.salvaged and self.survey is None:
            raise UnannouncedDamageError
        if place.whole is not None:
            return self._found(place.whole, chain([first], blocks), resend=resend, exact=True)
        return self._send(place, chain([first], blocks))

    def _found(
        self,
        handler: SequenceHandler,
        blocks: Iterator[MixedBlock],
        *,
        resend: bool,
        exact: bool,
    ) -> IngestReport:
        """Compare what is there already with the files, as exactly as it takes.

        A sequence that holds more than these files is never removed: it may be the last copy of
        the rest.
        """
        report = self._report(handler.name)
        if not exact:
            return self._found_among_others(report, handler, blocks)
        lanes = self.passes.lanes
        held = receipts_of(handler)
        if self.reader.healthy and not resend and counted_alike(lanes.values(), held):
            report.verification = VerificationLevel.COUNTS
        else:
            self.passes.rehearse(self.client, blocks, lanes)
            if self.reader.misled:
                raise _MisledError
            self.passes.account()
            self.passes.enter_rest(report)
            report.verification, differences = compare_existing(lanes.values(), held)
            if differences and resend:
                self._remove(handler, differences)
                raise _StartOverError
            report.notes += differences
        report.already_there = True
        report.notes.append("the platform had this recording already; nothing was sent")
        return report

    def _found_among_others(
        self, report: IngestReport, handler: SequenceHandler, blocks: Iterator[MixedBlock]
    ) -> IngestReport:
        """Compare a sequence that holds more than these files: it has their rows at least."""
        lanes = self.passes.lanes
        self.passes.rehearse(self.client, blocks, lanes)
        if self.reader.misled:
            raise _MisledError
        self.passes.account()
        self.passes.enter_rest(report, whole=False)
        lacks = lacking(lanes.values(), receipts_of(handler))
        report.verification = VerificationLevel.NONE if lacks else VerificationLevel.CLOSED
        report.notes += lacks
        report.already_there = not lacks
        report.notes.append("the platform had these files already; nothing was sent")
        return report

    def _remove(self, compared: SequenceHandler, differences: list[str]) -> None:
        """Delete a finished sequence that is to be replaced, unless another has its name by now.

        Raises:
            PreconditionError: The platform does not let it be deleted.
        """
        sequence = compared.name
        self.client.clear_sequence_handlers_cache()
        found = self.client.sequence_handler(sequence)
        if found is None or found.created_timestamp != compared.created_timestamp:
            return  # comparing took a pass over the files
        try:
            with suppress(NotFoundError):
                self.client.sequence_delete(sequence)
        except (RejectedError, RefusedError) as error:
            raise PreconditionError(
                f"{sequence} differs from the recording and cannot be removed ({error.message}): "
                + "; ".join(differences),
                resource=sequence,
                hint="remove it on the platform itself, or give the bridge a key that may delete; "
                "then `retry --resend`",
            ) from error

    def _send(self, place: Place, blocks: Iterator[MixedBlock]) -> IngestReport:
        report = self._report(place.sequence)
        hashes = self.reader.hash_files() if self.options.hash_files else None
        instance = self.options.identity.instance
        race = Race(self.client, self.content, sequence=place.sequence, instance=instance)
        sending = Sending(
            client=self.client,
            sequence=place.sequence,
            fingerprint=self.content.fingerprint,
            topics=len(self.passes.lanes),
            size_bytes=self.reader.recorded_bytes,
            metadata=lambda: describe(
                self.reader,
                self.content,
                self.topics,
                self.options,
                survey=self.survey,
                follows=self.follows,
            ),
            was_compressed=lambda: self.reader.is_compressed,
            options=self.options,
            events=self.events,
            upload=self.upload,
            shows=race.ask,
        )
        with closing(race), sending:
            if self.upload is None:
                check = partial(self._check_sound, sending)
                whole = self.passes.send_all(sending, blocks, check=check)
            else:
                whole = self._send_rest(sending, blocks, resumes=place.resumes)
            self._check_sound(sending)
            self.passes.account()
            self.events.stage_finished(stage="read", seconds=self.passes.read_s)
            self.events.stage_finished(stage="convert", seconds=self.passes.convert_s)
            self.events.stage_finished(stage="send", seconds=sending.send_s)
            if hashes is not None:
                report.sha256 = {path.name: value for path, value in hashes.result().items()}
            if sending.writer is None or not whole:
                raise self._nothing_to_send()
            self.options.confirm_source()
            race.settle()
            verifying = time.perf_counter()
            report.verification = verify(
                self.client,
                sending.writer,
                [lane.report for lane in whole],
                self.options.verification,
                notes=report.notes,
            )
            self.events.stage_finished(stage="verify", seconds=time.perf_counter() - verifying)
            changed = sending.writer.texts_changed
            self.passes.enter_rest(report, whole=not self.follows, metadata_texts_changed=changed)
            sending.add_quality(report)
            sending.notify(report)
            finalizing = time.perf_counter()
        self.events.stage_finished(stage="finalize", seconds=time.perf_counter() - finalizing)
        return report

    def _send_rest(
        self, sending: Sending, blocks: Iterator[MixedBlock], *, resumes: bool
    ) -> list[TopicLane]:
        """Keep what is whole from an earlier try, and send the rest in groups.

        Raises:
            _StartOverError: What is not whole cannot be removed by itself.
        """
        assert self.upload is not None
        lanes = self.passes.lanes
        held = self._take_up(sending) if resumes else {}
        candidates = [
            index
            for index, lane in lanes.items()
            if (receipt := held.get(lane.report.platform_name)) is not None and receipt.locked
        ]
        self.passes.rehearse(self.client, blocks, candidates)
        self._check_sound(sending)
        kept = [index for index in candidates if self._is_kept(lanes[index], held)]
        whole_names = {lanes[index].report.platform_name for index in kept}
        if self.options.quality_topic and QUALITY_TOPIC in held and held[QUALITY_TOPIC].locked:
            # It is the last of all, and says the same of the same recording.
            whole_names.add(QUALITY_TOPIC)
            sending.has_quality = True
        self._make_room(sending, set(held) - whole_names)
        self.passes.reset(set(candidates) - set(kept))
        whole = [lanes[index] for index in kept]
        self.passes.show_read(kept)
        sizes = self.passes.sizes_bytes
        rest = {index: size for index, size in sizes.items() if index not in kept}
        for group in groups_of(rest, breaks=self.upload.tries):
            whole += self.passes.send_group(sending, group)
        silent = [lane for lane in lanes.values() if not lane.messages_read]
        return whole + sending.finish(silent)

    def _check_sound(self, sending: Sending) -> None:
        """Start again where damage has shown up that the sequence's metadata does not mention.

        Where the key may not delete what was sent so far, the upload goes on as it is, and a
        notification at the end says what is lost.

        Raises:
            UnannouncedDamageError: What was sent so far is to be removed.
            _MisledError: Likewise, since a file was wrong about its channels.
            ServerError: The platform cannot be asked what the key permits.
        """
        misled = self.reader.misled and not self.trusts_again
        if not misled and (self.goes_on or not self.reader.is_damaged):
            return
        if sending.writer is None or may_delete(self.client):
            raise _MisledError if misled else UnannouncedDamageError
        self.goes_on = self.trusts_again = True

    def _take_up(self, sending: Sending) -> dict[str, TopicReceipt]:
        try:
            return sending.take_up()
        except (NotFoundError, PreconditionError) as error:
            raise _StartOverError from error

    def _make_room(self, sending: Sending, names: set[str]) -> None:
        try:
            if names:
                sending.make_room(sorted(names))
        except (RejectedError, RefusedError) as error:
            # Nothing of G1 that is locked can be deleted alone, and some keys may not delete.
            raise _StartOverError from error

    def _is_kept(self, lane: TopicLane, held: Mapping[str, TopicReceipt]) -> bool:
        assert self.upload is not None
        name = lane.report.platform_name
        return is_whole(lane.report, held[name], self.upload.rows.get(name))

    def _report(self, sequence: str) -> IngestReport:
        return IngestReport(
            recording=str(self.reader.recording.path),
            sequence=sequence,
            fingerprint=self.content.fingerprint,
            topics=self.topics,
            healthy=self.reader.healthy,
            verification=VerificationLevel.NONE,
            recorded_bytes=self.reader.recorded_bytes,
            missing=missing_files(self.reader.recording),
            notes=[*self.reader.recording.notes, *self._idle_patterns()],
        )

    def _idle_patterns(self) -> list[str]:
        wanted = TopicFilter(self.options.topics)
        return [
            f"topic pattern {pattern} matches no topic"
            for pattern in wanted.idle_patterns([topic.name for topic in self.topics])
        ]

    def _nothing_to_send(self) -> RecordingError:
        path = self.reader.recording.path
        reasons = Counter(
            topic.reason or str(topic.messages_skipped or topic.outcome) for topic in self.topics
        )
        story = "; ".join(
            f"{reason} ({counted(count, 'topic')})" for reason, count in reasons.items()
        )
        message = f"{path} holds no message that can be sent"
        hint = "`mosaico-bridge inspect` shows every topic with its reason"
        if groups := not_sent(self.topics):
            remedies = [group.hint for group in groups if group.hint]
            return DefinitionError(
                f"{message}: {'; '.join(group.phrase for group in groups)}",
                msgtype=next(topic.msgtype for topic in self.topics if topic.left_out),
                path=path,
                # More than one would not fit a line.
                hint=remedies[0] if len(remedies) == 1 else hint,
            )
        if losses := self.reader.tally.losses:
            # Not empty: what was in it is lost, and somebody may want to look.
            return DamagedRecordingError(f"{message}: {losses[0].reason}", path=path, hint=hint)
        return EmptyRecordingError(
            f"{message}: {story}" if story else message, path=path, hint=hint
        )
