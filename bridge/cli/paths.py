"""Paths on the command line: which recordings they mean, before anything is opened or created."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bridge.bags import load_recording, recordings_in
from bridge.cli.terminal import err, printable
from bridge.errors import BridgeError, NotARecordingError, RecordingError, RecordingVanishedError
from bridge.files import is_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What the paths of a command line mean.

    Attributes:
        recordings: Paths of recordings, each once, in the order in which they were named.
        failures: Paths that lead to no recording, each with the reason.
        searched: Whether a folder was searched, so that somebody may want a summary.
    """

    recordings: tuple[Path, ...]
    failures: tuple[tuple[Path, BridgeError], ...]
    searched: bool


def find_named(paths: Sequence[Path]) -> Named:
    """Find the recordings that paths mean; a folder that is no recording is searched.

    What was found below a folder is shown on standard error. A path that leads to no recording is
    a failure; what a search finds is judged when it is opened.
    """
    recordings: dict[Path, None] = {}
    failures: list[tuple[Path, BridgeError]] = []
    searched = False
    for path in paths:
        try:
            below = _search(path, failures) if is_folder(path) else None
            if below is None:
                load_recording(path)
                recordings[path] = None
                continue
        except RecordingError as error:
            failures.append((path, error))
            continue
        searched = True
        noun = "recording" if len(below) == 1 else "recordings"
        shown = printable(str(path)).rstrip("/")
        err.print(f"{len(below):,} {noun} below {shown}/", markup=False, soft_wrap=True)
        recordings |= dict.fromkeys(below)
    return Named(recordings=tuple(recordings), failures=tuple(failures), searched=searched)


def _search(folder: Path, failures: list[tuple[Path, BridgeError]]) -> list[Path] | None:
    """List the recordings below a folder; None where the folder is a recording itself.

    A folder with the files of one recording and nothing else below is that recording, with or
    without a `metadata.yaml`.

    Raises:
        RecordingError: The folder may not be read.
        NotARecordingError: It holds no recording at all.
    """
    found, deeper = recordings_in(folder, is_root=False)
    paths = [recording.path for recording in found]
    while deeper:
        inner = deeper.pop()
        try:
            more, below = recordings_in(inner, is_root=False)
        except RecordingVanishedError:
            continue
        except RecordingError as error:
            failures.append((inner, error))
            continue
        paths += [recording.path for recording in more]
        deeper += below
    if not paths:
        raise NotARecordingError(
            "there is no recording in this folder or below it",
            path=folder,
            hint="a recording is a .mcap, .db3 or .bag file, or a folder of these",
        )
    if len(paths) == 1 and len(found) == 1:
        return None
    return sorted(paths, key=str)
