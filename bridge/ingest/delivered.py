"""Which parts of a recording the platform holds already, whatever they were grouped with then.

The platform is asked about every part. A question that fails is not an absence: it fails the
ingest, which is tried again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bridge.bags import Content
from bridge.client import MosaicoClient, QuerySequence, SequenceHandler
from bridge.client import Sequence as Sequences
from bridge.errors import BusyElsewhereError, NotFoundError
from bridge.ingest.holding import ASKED_AT_ONCE
from bridge.ingest.marks import PART_PREFIX, PARTIAL_NOTE, marks_of, parts_in
from bridge.ingest.report import SequenceContent
from bridge.mapping import BRIDGE_KEY
from bridge.model import Recording
from bridge.ontology import QueryError
from bridge.parallel import ParallelCalls, settle

FINGERPRINT = Sequences.Q.user_metadata[f"{BRIDGE_KEY}.fingerprint"]

ASKED_TOGETHER = 500
"""So many fingerprints go into one question, where a revision takes several."""

PAGE_GROWTH = 8
"""So many times more parts are asked for together than in the round before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A finished sequence that holds parts of a recording.

    Attributes:
        handler: The sequence.
        parts: Identities of the recording's parts that it holds.
        named: The same as the sequence names them: a part that was compressed since, or was
            compressed then, has another identity there.
        exact: Whether it holds these parts in this form, and nothing else.
        expected: What it must hold, where that is remembered.
    """

    handler: SequenceHandler
    parts: frozenset[str]
    named: frozenset[str]
    exact: bool
    expected: SequenceContent | None = None


def find_delivered(
    client: MosaicoClient,
    content: Content,
    *,
    instance: str,
    remembered: Iterable[SequenceContent] = (),
    under_way: str = "",
) -> list[Holder]:
    """Find the finished sequences that hold parts of a recording.

    Args:
        client: The platform.
        content: The recording's parts.
        instance: This bridge's own name.
        remembered: Where parts are by the journal; looked at first, and believed only as far as the
            platform confirms it.
        under_way: The sequence that an earlier try has left unfinished; empty for none.

    Returns:
        The sequences, in the order of their first parts; each part is in one of them at most.

    Raises:
        BusyElsewhereError: Another bridge is sending one of the parts; where it `gives_way`, the
            sequence under way has to go.
        ServerError: The platform cannot be asked.
    """
    # A cached handler would answer from the past.
    client.clear_sequence_handlers_cache()
    search = _Search(client=client, content=content, instance=instance, under_way=under_way)
    for expected in remembered:
        search.look_at(expected.sequence, expected)
    if open_forms := search.open_forms:
        search.ask(_fingerprint_questions(client, {content.fingerprint, *open_forms}))
    asked: set[str] = set()
    page = ASKED_AT_ONCE
    # Parts were mostly sent together: the first few answers often leave nothing to ask.
    while forms := [form for form in search.open_forms if form not in asked][:page]:
        asked.update(forms)
        search.ask(_part_questions(client, forms))
        page *= PAGE_GROWTH
    order = {part.identity: place for place, part in enumerate(content.parts)}
    return sorted(search.holders, key=lambda holder: min(order[part] for part in holder.parts))


class Race:
    """Whether another bridge sends parts of what is being sent here, as something else.

    Both may have asked before either had created anything, and where they group the parts in
    different ways the names do not collide. So each asks again once its own sequence can be found,
    while it sends: at least one of them finds the other.

    Args:
        client: The platform.
        content: What is sent.
        sequence: Its sequence.
        instance: This bridge's own name.
    """

    def __init__(
        self, client: MosaicoClient, content: Content, *, sequence: str, instance: str
    ) -> None:
        self._client = client
        self._forms = [form for part in content.parts for form in content.forms(part.identity)]
        self._sequence = sequence
        self._instance = instance
        self._answers: list[Future[list[str]]] = []

    def ask(self) -> None:
        """Ask about all parts, in other threads; the sequence can be found from now on."""
        calls = ParallelCalls()
        self._answers = [
            calls.submit(question, repeatable=True)
            for question in _part_questions(self._client, self._forms)
        ]

    def settle(self) -> None:
        """See that no other bridge has sent, or is sending, a part of it.

        Where both find each other the one whose sequence's name sorts first waits for the other,
        which gives way.

        Raises:
            BusyElsewhereError: One has, or is. Where it `gives_way`, nothing of what was sent here
                may stay.
            ServerError: The platform cannot be asked.
        """
        found = {name for answer in self._answers for name in answer.result()} - {self._sequence}
        self._answers = []
        if found:
            # A cached handler would answer from the past.
            self._client.clear_sequence_handlers_cache()
        for name in sorted(found):
            handler = self._client.sequence_handler(name)
            marks = {} if handler is None else marks_of(handler)
            # Servers differ in how exactly they look.
            if handler is None or parts_in(marks).keys().isdisjoint(self._forms):
                continue
            if handler.is_locked:
                raise BusyElsewhereError(
                    f"bridge {marks.get('instance')} has sent parts of it as {name} meanwhile",
                    resource=name,
                    hint="the next attempt finds them there",
                    gives_way=True,
                )
            if marks.get("instance") != self._instance:
                raise _busy(name, marks, gives_way=name < self._sequence)

    def close(self) -> None:
        """Ask no more, and leave no call under way."""
        settle(self._answers)


def _busy(name: str, marks: Mapping[str, Any], *, gives_way: bool) -> BusyElsewhereError:
    return BusyElsewhereError(
        f"sequence {name} is being written by bridge {marks.get('instance')}",
        resource=name,
        hint="wait for the other bridge; if it is gone, delete the sequence and retry",
        gives_way=gives_way,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundParts:
    """Which identities finished sequences hold.

    Attributes:
        sequences: The sequence's name for each identity that was found.
        lacking: Sequences that lack something of their recording, each with what that is; of those
            that were remembered nothing is said.
    """

    sequences: Mapping[str, str]
    lacking: Mapping[str, str] = field(default_factory=dict)


def find_parts(
    client: MosaicoClient,
    identities: Iterable[str],
    *,
    remembered: Mapping[str, Collection[str]] | None = None,
) -> FoundParts:
    """Find which parts, or whole contents, finished sequences hold; many recordings at once.

    One question for every 500 identities, and two about each sequence found that is not
    remembered. What was sent in a group with other parts is found only by what is remembered; that
    an identity is not found proves nothing.

    Args:
        client: The platform.
        identities: Identities of parts, and fingerprints of contents.
        remembered: Finished sequences by name, each with the identities that it holds; counted as
            far as the platform still names the sequence.

    Raises:
        ServerError: The platform cannot be asked.
    """
    known = remembered or {}
    finished: list[str] = []
    client.clear_sequence_handlers_cache()
    with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
        pages = pool.map(lambda ask: ask(), _fingerprint_questions(client, identities))
        names = sorted({name for page in pages for name in page})
        looks = pool.map(client.sequence_handler, [name for name in names if name not in known])
        found = {part: name for name in names for part in known.get(name, ())}
        for handler in looks:
            if handler is not None and handler.is_locked:
                marks = marks_of(handler)
                held = {*parts_in(marks), str(marks.get("fingerprint"))}
                found |= dict.fromkeys(held, handler.name)
                finished.append(handler.name)
        notes = pool.map(partial(_note_of_lack, client), finished)
        lacking = {name: note for name, note in zip(finished, notes, strict=True) if note}
    return FoundParts(sequences=found, lacking=lacking)


def _note_of_lack(client: MosaicoClient, name: str) -> str:
    """Say what a sequence lacks of its recording, as its sender noted it; empty for nothing."""
    try:
        notes = [note.message for note in client.list_sequence_notify(name)]
    except NotFoundError:
        return ""
    lacks = [note.removeprefix(PARTIAL_NOTE) for note in notes if note.startswith(PARTIAL_NOTE)]
    return lacks[-1] if lacks else ""


@dataclass(slots=True, kw_only=True)
class _Search:
    """What was found so far."""

    client: MosaicoClient
    content: Content
    instance: str
    under_way: str
    holders: list[Holder] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def open_parts(self) -> list[str]:
        """The parts that are in none of the sequences found, in order."""
        found = {part for holder in self.holders for part in holder.parts}
        return [part.identity for part in self.content.parts if part.identity not in found]

    @property
    def open_forms(self) -> list[str]:
        """The identities under which these may be on the platform."""
        return [form for part in self.open_parts for form in self.content.forms(part)]

    def ask(self, questions: Sequence[Callable[[], list[str]]]) -> None:
        """Put questions, several at once, and look at every sequence that they name."""
        with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
            found = {
                name for names in pool.map(lambda question: question(), questions) for name in names
            }
        for name in sorted(found):
            self.look_at(name, None)

    def look_at(self, name: str, expected: SequenceContent | None) -> None:
        """Take note of what a sequence holds; servers differ in how exactly they look."""
        if name in self.seen or not self.open_parts:
            return
        self.seen.add(name)
        handler = self.client.sequence_handler(name)
        if handler is None:
            return
        marks = marks_of(handler)
        held = self._held(marks, expected)
        if not held:
            return
        if handler.is_locked:
            self.holders.append(
                Holder(
                    handler=handler,
                    parts=frozenset(held),
                    named=frozenset(held.values()),
                    exact=self._is_exact(marks, held),
                    expected=expected,
                )
            )
        elif marks.get("instance") != self.instance:
            raise _busy(name, marks, gives_way=name < self.under_way)

    def _held(self, marks: Mapping[str, Any], expected: SequenceContent | None) -> dict[str, str]:
        """Name the parts of ours that a sequence holds and no other sequence was found for.

        Returns:
            By identity, how the sequence names each.
        """
        named = parts_in(marks)
        identity = marks.get("fingerprint")
        held: dict[str, str] = {}
        for part in self.open_parts:
            forms = [form for form in self.content.forms(part) if form in named or form == identity]
            if forms or identity == self.content.fingerprint:
                held[part] = forms[0] if forms else part
        if held or named or expected is None or identity != expected.fingerprint:
            return held
        # What versions sent that named no parts; the journal knows them by name and size.
        return {part: part for part in self.open_parts if part in expected.parts}

    def _is_exact(self, marks: Mapping[str, Any], held: Mapping[str, str]) -> bool:
        if any(part != form for part, form in held.items()):
            return False
        named = parts_in(marks)
        if named:
            return named.keys() <= {form for part in held for form in self.content.forms(part)}
        return marks.get("fingerprint") in {self.content.fingerprint, *held}


def _fingerprint_questions(
    client: MosaicoClient, identities: Iterable[str]
) -> list[Callable[[], list[str]]]:
    """Ask for sequences of exactly this content, or of a part alone, whatever version sent them."""
    wanted = sorted(set(identities))

    def question(page: Sequence[str]) -> list[str]:
        try:
            return _names(client, FINGERPRINT.in_(*page))
        except QueryError:
            # Before G2c metadata is compared with one value at a time.
            return [name for one in page for name in _names(client, FINGERPRINT.eq(one))]

    pages = [wanted[at : at + ASKED_TOGETHER] for at in range(0, len(wanted), ASKED_TOGETHER)]
    return [partial(question, page) for page in pages]


def _part_questions(client: MosaicoClient, parts: Sequence[str]) -> list[Callable[[], list[str]]]:
    """Ask for sequences that name a part, whatever else they hold."""
    keys = (f"{BRIDGE_KEY}.parts.{PART_PREFIX}{part}" for part in parts)
    return [partial(_names, client, Sequences.Q.user_metadata[key].ex()) for key in keys]


def _names(client: MosaicoClient, condition: Any) -> list[str]:
    found = client.query(QuerySequence().with_expression(condition), insist=True)
    return [item.sequence.name for item in found or ()]


def portion(recording: Recording, content: Content, parts: Iterable[str]) -> Recording:
    """Give those files of a recording that are certain parts, as a recording of the same place.

    Of files of the same content the first is given.
    """
    wanted = set(parts)
    found = zip(reversed(recording.files), reversed(content.parts), strict=True)
    first = {part.identity: file.path for file, part in found if part.identity in wanted}
    paths = set(first.values())
    files = tuple(file for file in recording.files if file.path in paths)
    return replace(recording, files=files, missing={})
