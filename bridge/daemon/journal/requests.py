"""What people ask for: trying a recording again, sending it again, doubting or forgetting one.

A running daemon finds requests in the journal and answers them there; where none runs, the asking
process takes the journal and acts directly.
"""

from collections.abc import Callable
from pathlib import Path

from bridge.daemon.journal.entry import Entry, Request, RequestKind
from bridge.daemon.journal.journal import Journal
from bridge.daemon.journal.states import AT_REST, IN_WORK, State, allowed
from bridge.errors import UsageError


def carry_out(
    journal: Journal,
    request: Request,
    *,
    is_there: Callable[[Entry], bool] | None = None,
) -> list[Entry]:
    """Do what was asked and answer it.

    Args:
        journal: The journal, owned.
        request: What was asked.
        is_there: Whether a recording's source is where it was seen; None to ask the disk, which
            the daemon's loop must not.

    Returns:
        The entries that were forgotten.
    """
    entry = journal.get(request.entry_id)
    if entry is None:
        journal.answer(request.id, "the journal knows no such recording")
        return []
    if is_there is None:
        there = entry.path.exists() and journal.at(entry.path) == entry
    else:
        there = is_there(entry)
    with journal.transaction():
        if request.kind is RequestKind.DOUBT:
            answer, forgotten = _doubt(journal, entry, is_there=there)
            journal.answer(request.id, answer)
            return forgotten
        if request.kind is not RequestKind.FORGET:
            resend = request.kind is RequestKind.RESEND
            journal.answer(request.id, _retry(journal, entry, resend=resend, is_there=there))
            return []
        if entry.state in IN_WORK:
            journal.answer(request.id, "it is in work; try again when that is over")
            return []
        journal.forget(entry.id)
        journal.answer(request.id, "forgotten; if it is still in the folder it starts afresh")
    return [entry]


def _doubt(journal: Journal, entry: Entry, *, is_there: bool) -> tuple[str, list[Entry]]:
    """Mark a recording as lost; where its source is gone, its copies count from now on."""
    if not allowed(entry.state, State.LOST):
        return f"it is {entry.state}", []
    found = "`verify` found that the platform does not hold it whole"
    if is_there:
        journal.move(entry.id, State.LOST, f"{found}; its source stays")
        return "marked as lost: its source stays; `retry --resend` sends it again", []
    journal.move(entry.id, State.LOST, f"{found}; its source is gone")
    copies = journal.duplicates(entry.id)
    for copy in copies:
        # Found again, it is known as this recording, which is back.
        journal.forget(copy.id)
    if copies:
        return "marked as lost: its source is gone; its copy is sent in its place", copies
    return "marked as lost, and its source is gone; put it into the folder again", []


def _retry(journal: Journal, entry: Entry, *, resend: bool, is_there: bool) -> str:
    if entry.duplicate_of is not None:
        return f"it is a copy of recording {entry.duplicate_of}; retry that one"
    if not entry.fingerprint:
        return "it is not complete yet; `explain` says what it waits for"
    if entry.state is State.READY:
        journal.note(entry.id, resend=resend or entry.resend)
        return "it is in the queue already"
    if entry.state not in AT_REST | {State.WAITING}:
        return f"it is {entry.state}"
    if not is_there:
        # In the queue it would wait for ever.
        return f"it is {entry.state}, and its source is not there; put it into the folder again"
    journal.move(
        entry.id,
        State.READY,
        "sent again on request where the platform differs" if resend else "tried again on request",
        attempts=0,
        interruptions=0,
        deaths=0,
        resend=resend,
    )
    return "it is in the queue again"


def ask(folder: Path, kind: RequestKind, entry_ids: list[int]) -> list[Request]:
    """Ask for something, of the running daemon or, where none runs, of the journal itself.

    Args:
        folder: The state folder.
        kind: What is asked.
        entry_ids: The recordings.

    Returns:
        The requests; answered ones carry what became of them, the others are with the daemon.

    Raises:
        JournalError: There is no journal, or it cannot be used.
        UsageError: A recording is not in the journal.
    """
    with Journal.read(folder) as journal:
        for entry_id in entry_ids:
            if journal.get(entry_id) is None:
                raise UsageError(f"the journal knows no recording {entry_id}")
        numbers = [journal.ask(kind, entry_id) for entry_id in entry_ids]
    owned = Journal.own_if_free(folder)
    if owned is not None:
        with owned as journal:
            for request in journal.requests():
                carry_out(journal, request)
    with Journal.read(folder) as journal:
        return [request for request in journal.requests(pending=False) if request.id in numbers]


def retry(folder: Path, entry_ids: list[int]) -> list[Request]:
    """Ask for recordings to be tried again; see `ask`."""
    return ask(folder, RequestKind.RETRY, entry_ids)


def resend(folder: Path, entry_ids: list[int]) -> list[Request]:
    """Ask for recordings to be compared with the platform, and sent again where it differs."""
    return ask(folder, RequestKind.RESEND, entry_ids)


def doubt(folder: Path, entry_ids: list[int]) -> list[Request]:
    """Have recordings marked that the platform was found not to hold whole; see `ask`."""
    return ask(folder, RequestKind.DOUBT, entry_ids)


def forget(folder: Path, entry_ids: list[int]) -> list[Request]:
    """Ask for recordings to be taken out of the journal; see `ask`."""
    return ask(folder, RequestKind.FORGET, entry_ids)
