"""The archive: catalogue and store together, under one root folder that one server owns."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
from pathlib import Path

from bridge.embedded.catalogue import Catalogue, SequenceRecord, SessionRecord, TopicRecord
from bridge.embedded.query.reading import TopicReader
from bridge.embedded.store import Store, make_folder
from bridge.errors import ConfigError

CATALOGUE = "catalogue.sqlite"

_log = logging.getLogger(__name__)


class TopicGoneError(Exception):
    """A topic was deleted while it was put or read.

    Attributes:
        locator: The topic.
    """

    def __init__(self, locator: str) -> None:
        super().__init__(f"{locator} was deleted meanwhile")
        self.locator = locator


class Archive:
    """Everything a server holds, on disk.

    Attributes:
        catalogue: What exists.
        store: The data of the topics.
        message_bytes_max: The largest record batch that a put may send.
        is_closing: Set when the server stops and uploads must end.
    """

    def __init__(self, root: Path, *, message_bytes_max: int) -> None:
        """Take the folder for this process alone, and clear what a crash left behind.

        Raises:
            ConfigError: Another server uses the folder, or it cannot be written.
        """
        self.message_bytes_max = message_bytes_max
        self.is_closing = threading.Event()
        with contextlib.ExitStack() as opened:
            try:
                make_folder(root)
                self._lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                opened.callback(os.close, self._lock)
                self._take(root)
                self.catalogue = Catalogue(root / CATALOGUE)
                opened.callback(self.catalogue.close)
                self.store = Store(root / "chunks")
            except OSError as error:
                raise ConfigError(
                    f"the embedded server cannot use the folder {root}: {error}",
                    hint="Give it a folder that this user may write.",
                ) from error
            except sqlite3.Error as error:
                raise ConfigError(
                    f"the embedded server cannot read {root / CATALOGUE}: {error}",
                    hint="Restore the file from a backup, or choose an empty folder.",
                ) from error
            self._sweep()
            self._opened = opened.pop_all()

    def _take(self, root: Path) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another embedded server uses the folder {root}",
                hint="Stop it, connect to it, or choose another folder.",
            ) from None

    def _sweep(self) -> None:
        known = {
            topic.uuid: {segment.number for segment in self.catalogue.segments(topic)}
            for topic in self.catalogue.all_topics()
        }
        for path in self.store.sweep(known):
            _log.warning("removed %s, left behind by a crash before it was complete", path)

    def close(self) -> None:
        """Close the catalogue and give the folder free; idempotent."""
        self._opened.close()

    def open(self, topic: TopicRecord) -> TopicReader:
        """Open the sealed segments of a topic.

        Raises:
            TopicGoneError: The topic was deleted meanwhile.
        """
        segments = self.catalogue.segments(topic)
        try:
            return TopicReader([self.store.path(topic, segment.number) for segment in segments])
        except FileNotFoundError:
            raise TopicGoneError(topic.locator) from None

    def delete(self, resource: SequenceRecord | SessionRecord | TopicRecord) -> None:
        """Forget a resource with all that is in it, then remove its data.

        A kill in between leaves files nobody knows, which the next start removes.
        """
        with self.catalogue.transaction():
            if isinstance(resource, TopicRecord):
                topics = [resource]
                self.catalogue.delete_topic(resource)
            else:
                topics = self.catalogue.topics(resource)
                if isinstance(resource, SequenceRecord):
                    self.catalogue.delete_sequence(resource)
                else:
                    self.catalogue.delete_session(resource)
        self.store.remove(topics)
