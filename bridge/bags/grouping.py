"""Which files of a folder are one recording: told by evidence, never by a number in a name alone.

Evidence is a `metadata.yaml` that lists the files, or names that a recorder gives to splits, each
only where that recorder writes them:

* rosbag2 up to Kilted: `{folder}_{n}`, in a folder of its own;
* rosbag2 from Lyrical on: `{n}_{prefix}_{YYYY_MM_DD-HH_MM_SS}`, in a folder of its own that is
  called `{prefix}` or `{prefix}_{YYYY_MM_DD-HH_MM_SS}`;
* `rosbag record --split` of ROS 1: `{prefix}_{n}.bag` and `{prefix}_{YYYY-MM-DD-HH-MM-SS}_{n}.bag`,
  in any folder.

In these n is not padded and counts up from any start without big gaps, and each split begins when
the one before it ends, as far as the files say: two robots record `robot_1.bag` and `robot_2.bag`
at one time. Dates and clock times in names are no numbers of splits.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from bridge.bags.formats import StorageName, storage_name
from bridge.model import Container

File = tuple[StorageName, int]
"""A storage file by its name, and its size in bytes."""

Spans = Callable[[Sequence[StorageName]], Sequence[tuple[int, int] | None]]
"""Gives the first and last record time, in ns, of each of some files; None where unknown."""

SPAN_MIN_NS = 1_000_000_000
"""What is shorter says nothing: a split may hold nothing but latched messages."""

GAP_MAX = 10
"""So many splits in a row may be missing, deleted by a cleaner; more, and it is another series."""

DIGITS_MAX = 5
"""Numbers of splits have no more digits; longer ones are dates and clock times."""

_NUMBER = rf"(?P<number>0|[1-9][0-9]{{0,{DIGITS_MAX - 1}}})"
_DATE = r"(?P<date>[0-9]{4}_[0-9]{2}_[0-9]{2}-[0-9]{2}_[0-9]{2}_[0-9]{2})"
_NUMBER_LAST = re.compile(rf"(?P<base>.+)_{_NUMBER}")
_LYRICAL = re.compile(rf"{_NUMBER}_(?P<base>.+)_{_DATE}")
_FOLDER = re.compile(rf"(?P<base>.+)_{_DATE}")
_ROS1_DATED = re.compile(r"(?P<base>.+)_(?P<date>[0-9]{4}(-[0-9]{2}){5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitName:
    """What the name of a split says.

    Attributes:
        base: The name that all splits of its recording share.
        number: The recorder's number for it.
        date: When it was started, local time as text that sorts; empty where the name has none.
    """

    base: str
    number: int
    date: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Files that are one recording.

    Attributes:
        files: The files in their order.
        name: The recording's name; empty where it is that of its folder.
        is_folder: Whether the whole folder is the recording.
    """

    files: tuple[File, ...]
    name: str = ""
    is_folder: bool = False


def rosbag2_split(stem: str) -> SplitName | None:
    """Read a name as that of a split in a rosbag2 folder."""
    if match := _LYRICAL.fullmatch(stem):
        return SplitName(base=match["base"], number=int(match["number"]), date=match["date"])
    if match := _NUMBER_LAST.fullmatch(stem):
        return SplitName(base=match["base"], number=int(match["number"]))
    return None


def ros1_split(stem: str) -> SplitName | None:
    """Read a name as that of a split by `rosbag record --split`."""
    match = _NUMBER_LAST.fullmatch(stem)
    if match is None:
        return None
    dated = _ROS1_DATED.fullmatch(match["base"])
    return SplitName(
        base=dated["base"] if dated else match["base"],
        number=int(match["number"]),
        date=dated["date"] if dated else "",
    )


def is_split_of_ros1(name: str) -> bool:
    """Say whether a file has the name of a split by `rosbag record --split`."""
    named = storage_name(name)
    if named is None or named.container is not Container.ROSBAG1:
        return False
    return ros1_split(named.stem) is not None


def split_name(named: StorageName, *, in_own_folder: bool) -> SplitName | None:
    """Read the name of a split, as the recorder writes it in these surroundings.

    Args:
        named: The file.
        in_own_folder: Whether its folder is one recording.
    """
    if named.container is Container.ROSBAG1:
        return ros1_split(named.stem)
    return rosbag2_split(named.stem) if in_own_folder else None


def group_files(
    storage: Sequence[File],
    *,
    folder: str,
    listed: Sequence[str] | None,
    is_root: bool,
    spans: Spans,
) -> list[Group]:
    """Tell which files of a folder belong together.

    Args:
        storage: The storage files in it.
        folder: Its name.
        listed: The files that its `metadata.yaml` lists; None without one.
        is_root: Whether it is a folder that people put recordings into; then it is never a
            recording itself, whatever a `metadata.yaml` in it says.
        spans: Asked for the times of files whose names alone would make them one recording.
    """
    whole = [] if is_root else _files_of_folder(storage, folder, listed, spans)
    taken = {named.name for named, _ in whole}
    groups = [Group(files=tuple(whole), is_folder=True)] if whole else []
    return groups + _lone([file for file in storage if file[0].name not in taken], spans)


def _files_of_folder(
    storage: Sequence[File], folder: str, listed: Sequence[str] | None, spans: Spans
) -> list[File]:
    """Choose the files that make the folder itself a recording; none where it is not one."""
    if listed is None:
        own = [
            part
            for series in _series_in_folder(storage)
            if _is_named(series, folder)
            for part in _in_turn(series, spans)
        ]
        return own[0] if len(own) == 1 else []
    there = {named.stem for named, _ in storage}
    stems = {stem: place for place, stem in enumerate(listed_stems(listed, there))}
    chosen = [file for file in storage if file[0].stem in stems]
    series = _series_in_folder(storage)
    if chosen:
        names = {named.name for named, _ in chosen}
        # A torn or early metadata.yaml lists fewer splits than there are.
        chosen += [
            file
            for one in series
            if any(named.name in names for named, _ in one)
            for file in one
            if file[0].name not in names
        ]
    elif len(series) + len(_loose(storage)) == 1:
        # The folder was renamed, or the list is lost; it was written for these files.
        chosen = list(storage)
    else:
        own = [one for one in series if _is_named(one, folder)]
        chosen = own[0] if len(own) == 1 else []
    return sorted(chosen, key=lambda file: _order(file, stems))


def _order(file: File, listed: dict[str, int]) -> tuple[int, int, str]:
    split = rosbag2_split(file[0].stem)
    place = listed.get(file[0].stem, len(listed))
    return (-1, place, file[0].name) if split is None else (split.number, place, file[0].name)


def _series_in_folder(storage: Iterable[File]) -> list[list[File]]:
    """Find the series of rosbag2's splits in a folder, whatever they are called."""
    return _series(storage, lambda named: rosbag2_split(named.stem))


def _loose(storage: Iterable[File]) -> set[str]:
    return {named.stem for named, _ in storage if rosbag2_split(named.stem) is None}


def _is_named(series: Sequence[File], folder: str) -> bool:
    """Say whether splits have the names that their recorder gives them in this very folder."""
    first = rosbag2_split(series[0][0].stem)
    assert first is not None
    dated = _FOLDER.fullmatch(folder) if first.date else None
    return first.base == folder or (dated is not None and dated["base"] == first.base)


def _lone(storage: Iterable[File], spans: Spans) -> list[Group]:
    """Group what is no folder of its own: splits of ROS 1, and files that are recordings."""
    files = list(storage)
    bags = [file for file in files if file[0].container is Container.ROSBAG1]
    groups = [
        Group(files=tuple(series), name=split.base)
        for alike in _series(bags, lambda named: ros1_split(named.stem))
        for series in _in_turn(alike, spans)
        if len({named.stem for named, _ in series}) > 1
        and (split := ros1_split(series[0][0].stem)) is not None
    ]
    taken = {named.name for group in groups for named, _ in group.files}
    stems: dict[tuple[str, Container], list[File]] = {}
    for file in files:
        if file[0].name not in taken:
            # A compressed file and its plain twin are one recording.
            stems.setdefault((file[0].stem, file[0].container), []).append(file)
    return groups + [Group(files=tuple(twins), name=twins[0][0].stem) for twins in stems.values()]


def _series(
    storage: Iterable[File], read: Callable[[StorageName], SplitName | None]
) -> list[list[File]]:
    """Join splits of one name and format whose numbers count up without big gaps."""
    alike: dict[tuple[str, Container, bool], list[tuple[SplitName, File]]] = {}
    for file in storage:
        split = read(file[0])
        if split is not None:
            key = (split.base, file[0].container, bool(split.date))
            alike.setdefault(key, []).append((split, file))
    found: list[list[File]] = []
    for splits in alike.values():
        splits.sort(key=lambda each: (each[0].number, each[1][0].name))
        before: SplitName | None = None
        for split, file in splits:
            if before is None or not _follows(split, before):
                found.append([])
            found[-1].append(file)
            before = split
    return found


def _in_turn(series: list[File], spans: Spans) -> list[list[File]]:
    """Part a series where a file begins before the one in front of it is half over."""
    if len({named.stem for named, _ in series}) == 1:
        return [series]
    found: list[list[File]] = [[]]
    before: tuple[int, int] | None = None
    for file, span in zip(series, spans([named for named, _ in series]), strict=True):
        if span is not None and span[1] - span[0] >= SPAN_MIN_NS:
            if before is not None and span[0] < (before[0] + before[1]) // 2:
                found.append([])
            before = span
        found[-1].append(file)
    return found


def _follows(split: SplitName, before: SplitName) -> bool:
    return split.number - before.number <= GAP_MAX + 1 and split.date >= before.date


def listed_stems(listed: Sequence[str], there: AbstractSet[str]) -> list[str]:
    """Give the stem that each listed name means.

    Some file systems change the case of names, or how accents are written, in what is copied there
    and back. Such a name means the one file that is else called the same and is not listed itself.
    """
    stems = [stem_of(name) for name in listed]
    others: dict[str, list[str]] = {}
    for stem in there - set(stems):
        others.setdefault(_folded(stem), []).append(stem)
    wanted = Counter(_folded(stem) for stem in set(stems) - there)
    meant = {
        folded: stems[0]
        for folded, stems in others.items()
        if len(stems) == 1 and wanted[folded] == 1
    }
    return [stem if stem in there else meant.get(_folded(stem), stem) for stem in stems]


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", stem).casefold())


def stem_of(name: str) -> str:
    """Give the name of a storage file without extensions; other names as they are."""
    named = storage_name(name)
    return name if named is None else named.stem
