"""Which recordings of archives are to be sent: chosen by the person, and not on the platform yet.

Recordings are asked about many at a time, while others are being sent already. What the manifest
knows of a recording saves reading its ends; whether the platform has it is asked of the platform.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from bridge.backfill.archive import ASKED_AT_ONCE, ArchivedRecording, is_young, list_archive
from bridge.backfill.manifest import ARRIVED, Known, Manifest
from bridge.backfill.scratch import identity_of
from bridge.backfill.store import local_folder, open_store
from bridge.backfill.task import Outcome, Result, failed, scratch_of
from bridge.compose import ingest_options
from bridge.config import Settings
from bridge.daemon import Failure
from bridge.errors import BridgeError, CommandLineError, ConfigError
from bridge.ingest import FoundParts

PAGE = 250
"""So many recordings are asked about together."""

Asked = Callable[[Iterable[str], dict[str, tuple[str, ...]]], FoundParts]
"""Gives the sequences that hold identities; see `bridge.ingest.find_parts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One of several runs that share an archive among them.

    Attributes:
        index: Which, from 0.
        count: How many there are.
    """

    index: int
    count: int

    def has(self, recording: ArchivedRecording) -> bool:
        """Say whether a recording is this run's; the same in every run, whatever else is there."""
        digest = hashlib.sha256(recording.url.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "little") % self.count == self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which recordings are wanted.

    Attributes:
        urls: The archives.
        include: Patterns of places below the archive, shell style; empty for all.
        since_ns: Those whose newest file is not older, or None.
        until_ns: Those whose newest file is older, or None.
        shard: Those of one shard; None for all.

    Raises:
        CommandLineError: No time is in between.
    """

    urls: tuple[str, ...]
    include: tuple[str, ...] = ()
    since_ns: int | None = None
    until_ns: int | None = None
    shard: Shard | None = None

    def __post_init__(self) -> None:
        """Refuse what no recording can fit."""
        if (
            self.since_ns is not None
            and self.until_ns is not None
            and self.since_ns >= self.until_ns
        ):
            raise CommandLineError(
                "--since is not before --until, so that no recording can fit",
                hint="--since 2024-05-01 --until 2024-06-01 takes those of May",
            )

    def has(self, recording: ArchivedRecording) -> bool:
        """Say whether a recording is wanted."""
        if self.include and not any(fnmatchcase(recording.place, one) for one in self.include):
            return False
        if self.since_ns is not None and recording.modified_ns < self.since_ns:
            return False
        if self.until_ns is not None and recording.modified_ns >= self.until_ns:
            return False
        return self.shard is None or self.shard.has(recording)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found in all archives.

    Attributes:
        recordings: Those that are wanted, by URL.
        passed_over: How many recordings are not wanted.
        others: URLs of files that belong to no recording.
        unreadable: URLs of places that cannot be read, each with the reason.
    """

    recordings: tuple[ArchivedRecording, ...]
    passed_over: int
    others: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    def rest_as_json(self) -> dict[str, object]:
        """Give what was found beside the recordings that are wanted, for JSON."""
        return {
            "passed_over": self.passed_over,
            "without_owner": list(self.others),
            "unreadable": [{"place": place, "reason": reason} for place, reason in self.unreadable],
        }


def require_sound(choice: Choice, settings: Settings) -> None:
    """Refuse what would fail for every recording, before the first.

    Raises:
        ConfigError: A setting cannot be meant.
    """
    # Custom mappings and placeholders are looked at here.
    ingest_options(settings)
    if settings.uplink.bytes_per_second_max == "pause":
        raise ConfigError(
            "the settings let nothing be sent", key="uplink.bytes_per_second_max", hint="set a rate"
        )
    scratch = scratch_of(settings)
    for url in choice.urls:
        folder = local_folder(url)
        if folder is not None and scratch.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(
                f"the scratch folder {scratch} is inside the archive {url}",
                key="backfill.scratch_folder",
                hint="choose another with --scratch",
            )


def find(choice: Choice, settings: Settings) -> Found:
    """List all archives and choose; a recording that is found twice counts once.

    Raises:
        BridgeError: An archive cannot be listed.
    """
    listings = [
        list_archive(url, settings.backfill, by_split=settings.ingest.unit == "split")
        for url in choice.urls
    ]
    every = {each.url: each for listing in listings for each in listing.recordings}
    wanted = [recording for recording in every.values() if choice.has(recording)]
    return Found(
        recordings=tuple(sorted(wanted, key=lambda each: each.url)),
        passed_over=len(every) - len(wanted),
        others=tuple(dict.fromkeys(url for listing in listings for url in listing.others)),
        unreadable=tuple(place for listing in listings for place in listing.unreadable),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is to be done about a recording.

    Attributes:
        recording: The recording.
        fingerprint: Identity of its content; empty where it could not be read.
        parts: Identities of its files, in order.
        marks: The store's mark of each file's content.
        settled: What became of it without anything being sent; None where it is to be sent.
        is_new: Whether the manifest does not say so yet.
        rows: Its rows on the platform, where it is settled and the manifest knows.
        held: The sequences that hold it, each with the identities by which it was found.
    """

    recording: ArchivedRecording
    fingerprint: str = ""
    parts: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    settled: Outcome | None = None
    is_new: bool = True
    rows: int = 0
    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def planned(
    recordings: Sequence[ArchivedRecording],
    settings: Settings,
    manifest: Manifest,
    ask: Asked,
) -> Iterator[Planned]:
    """Decide about recordings, in their order, a page at a time and not before it is needed.

    Raises:
        ServerError: The platform cannot be asked.
    """
    now_ns = time.time_ns()
    settle_s = settings.backfill.settle_s
    for start in range(0, len(recordings), PAGE):
        page = recordings[start : start + PAGE]
        young = [one for one in page if is_young(one, settle_s=settle_s, now_ns=now_ns)]
        for recording in young:
            reason = f"it was written less than {settle_s:.0f} s ago"
            outcome = Outcome(url=recording.url, result=Result.WAITS, reason=reason)
            yield Planned(recording=recording, settled=outcome)
        quiet = [one for one in page if not is_young(one, settle_s=settle_s, now_ns=now_ns)]
        yield from _decided(quiet, settings, manifest, ask)


def rehearsed(
    recordings: Sequence[ArchivedRecording], settings: Settings, manifest: Manifest
) -> list[Planned]:
    """Decide as `planned` does, without asking the platform: by the manifest's word alone."""

    def told(identities: Iterable[str], remembered: dict[str, tuple[str, ...]]) -> FoundParts:
        del identities
        return FoundParts(
            sequences={part: name for name in remembered for part in remembered[name]}
        )

    return list(planned(recordings, settings, manifest, told))


def _decided(
    recordings: Sequence[ArchivedRecording], settings: Settings, manifest: Manifest, ask: Asked
) -> Iterator[Planned]:
    known = {one.url: told for one in recordings if (told := manifest.known(one)) is not None}

    def identified(recording: ArchivedRecording) -> Planned:
        told = known.get(recording.url)
        if told is not None:
            return Planned(
                recording=recording,
                fingerprint=told.fingerprint,
                parts=told.parts,
                marks=told.marks,
                rows=told.rows,
            )
        try:
            store = open_store(recording.archive, settings.backfill)
            content, marks = identity_of(recording, store)
        except BridgeError as error:
            outcome = failed(recording.url, Failure.of(error))
            return Planned(recording=recording, settled=outcome)
        return Planned(
            recording=recording,
            fingerprint=content.fingerprint,
            parts=tuple(part.identity for part in content.parts),
            marks=marks,
        )

    with ThreadPoolExecutor(max_workers=ASKED_AT_ONCE) as pool:
        plans = list(pool.map(identified, recordings))
    wanted = {name for plan in plans for name in (plan.fingerprint, *plan.parts) if name}
    remembered: dict[str, tuple[str, ...]] = {}
    for told in known.values():
        for name, identities in told.held.items():
            remembered[name] = (*remembered.get(name, ()), *identities)
            wanted.update(identities)
    found = ask(wanted, remembered) if wanted else FoundParts(sequences={})
    for plan in plans:
        yield plan if plan.settled else _settled(plan, known.get(plan.recording.url), found)


def _settled(plan: Planned, known: Known | None, told: FoundParts) -> Planned:
    """Say what became of a recording already; what is not on the platform any more goes again."""
    url, settled, found = plan.recording.url, None, told.sequences
    remembered = {} if known is None else known.held
    held = dict(remembered)
    for identity in dict.fromkeys((plan.fingerprint, *plan.parts)):
        if not remembered and identity in found:
            held[found[identity]] = (*held.get(found[identity], ()), identity)
    if known is not None and known.is_final and known.result not in ARRIVED:
        settled = Outcome(url=url, result=known.result, reason=known.reason, failure=known.failure)
    elif _is_there(plan, known, found):
        lacks = [known.reason] if known is not None and known.result is Result.PARTIAL else []
        lacks += [told.lacking[name] for name in held if name in told.lacking]
        settled = Outcome(
            url=url, result=Result.PARTIAL if lacks else Result.HELD, reason="; ".join(lacks)
        )
    if settled is None:
        return replace(plan, rows=0)
    is_news = known is None or (known.result not in ARRIVED and settled.result in ARRIVED)
    return replace(plan, settled=settled, is_new=is_news, held=held)


def _is_there(plan: Planned, known: Known | None, found: Mapping[str, str]) -> bool:
    """Say whether the platform has all of a recording, in one sequence or several.

    Which of its files were sent, only the manifest knows: of a file and its compressed twin it is
    one. Without it every file has to be found, or the recording is looked at again.
    """
    if plan.fingerprint in found:
        return True
    if known is not None and known.result in ARRIVED and known.held:
        return all(identity in found for held in known.held.values() for identity in held)
    files = zip(plan.recording.files, plan.parts, strict=True)
    parts = [part for file, part in files if file.size_bytes]
    return bool(parts) and all(part in found for part in parts)
