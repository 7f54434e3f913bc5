"""`mosaico-bridge notifications`: what the platform had to say, and clearing it there."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.options import AsJson, ConfigFile, Host, HttpPort, ServerPort, StateFolder
from bridge.cli.platform import reach
from bridge.cli.terminal import Exit, cell, clock_time, out, print_json, show, table
from bridge.client import MosaicoClient
from bridge.config import load_settings
from bridge.daemon import STORE_FILE, Journal, Notice, NotificationStore, Target
from bridge.errors import JournalError, NotFoundError, UsageError

SHOWN_MAX = 100_000

notifications = typer.Typer(
    help="Show the notifications of the platform, or clear them there.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@notifications.command("list")
def list_(
    sequence: Annotated[
        str | None, typer.Argument(help="Only what is about this sequence.", metavar="[SEQUENCE]")
    ] = None,
    config: ConfigFile = None,
    state: StateFolder = None,
    json: AsJson = False,
) -> int:
    """List the notifications that the running bridge has seen, the latest first.

    Looks into the state folder only; the bridge asks the platform every now and then
    (`[notifications]` in the settings). Exits with 0 when there are none, 3 when there are some.
    """
    folder = load_settings(config, {"state.folder": state}).state.folder
    notices: list[Notice] = []
    # Opening would make it, possibly as a user whose files the bridge may not write.
    if _is_kept(folder, needed=True):
        with NotificationStore(folder) as store:
            notices = [
                notice
                for notice in store.latest(SHOWN_MAX)
                if sequence in {None, notice.target.sequence}
            ]
    if json:
        print_json({"notifications": [notice.as_json() for notice in notices]})
    elif not notices:
        out.print("no notifications")
    else:
        _print(notices)
    return Exit.PARTIAL if notices else Exit.OK


@notifications.command("clear")
def clear(
    sequence: Annotated[
        str | None, typer.Argument(help="The sequence concerned.", metavar="[SEQUENCE]")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything that the bridge has seen.")
    ] = False,
    config: ConfigFile = None,
    host: Host = None,
    port: ServerPort = None,
    state: StateFolder = None,
    http_port: HttpPort = None,
) -> int:
    """Remove the notifications about a sequence and its topics from the platform, for everybody.

    Needs a key that may delete.
    """
    if (sequence is None) != everything:
        raise UsageError("name a sequence, or give --all")
    settings = load_settings(
        config,
        {
            "server.host": host,
            "server.port": port,
            "state.folder": state,
            "http.port": http_port,
        },
    )
    folder = settings.state.folder
    # Opening would make it, possibly as a user whose files the bridge may not write.
    known = NotificationStore(folder) if _is_kept(folder, needed=everything) else nullcontext()
    with known as store, reach(settings) as client:
        seen = [notice.target for notice in store.latest(SHOWN_MAX)] if store is not None else []
        targets = {one: None for one in seen if sequence in {None, one.sequence}}
        if sequence is not None:
            targets |= dict.fromkeys(_on_platform(client, sequence))
        cleared = 0
        for target in targets:
            cleared += _clear(client, target)
            if store is not None:
                store.forget(target)
    out.print(f"cleared: {cleared:,}, of {len(targets):,} sequences and topics")
    return Exit.OK


def _on_platform(client: MosaicoClient, sequence: str) -> list[Target]:
    """Name what the platform may have notifications of, whether the bridge has seen them or not."""
    handler = client.sequence_handler(sequence)
    topics = [] if handler is None else handler.topics
    return [Target(sequence=sequence), *(Target(sequence=sequence, topic=name) for name in topics)]


def _clear(client: MosaicoClient, target: Target) -> int:
    """Clear what the platform lists, and count it."""
    try:
        if target.topic:
            listed = client.list_topic_notify(target.sequence, target.topic)
            client.clear_topic_notify(target.sequence, target.topic)
        else:
            listed = client.list_sequence_notify(target.sequence)
            client.clear_sequence_notify(target.sequence)
    except NotFoundError:
        # It was deleted there, and its notifications with it.
        return 0
    return len(listed)


def _print(notices: list[Notice]) -> None:
    made = table(
        [("when", "left"), ("type", "left"), ("sequence", "left"), ("topic", "left"),
         ("message", "fold")]
    )  # fmt: skip
    for notice in notices:
        made.add_row(
            clock_time(notice.created_s),
            cell(notice.kind),
            cell(notice.target.sequence),
            cell(notice.target.topic) or "-",
            cell(notice.message),
        )
    show(made)


def _is_kept(folder: Path, *, needed: bool) -> bool:
    """Tell whether the state folder has a store of notifications.

    Raises:
        JournalError: The folder may not be read by this user, or needs a bridge and has had none.
    """
    try:
        there = (folder / STORE_FILE).exists()
    except OSError as error:
        raise JournalError(
            f"the state folder {folder} cannot be read: {error.strerror}",
            hint="run the command as the bridge's user: sudo -u mosaico-bridge mosaico-bridge ...",
        ) from error
    if needed and not there:
        Journal.read(folder).close()
    return there
