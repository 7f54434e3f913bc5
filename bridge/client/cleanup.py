"""What becomes of a sequence whose writing failed: nothing of it stays, or what is whole does."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from bridge.client.catalog import WHOLE, Dialect, Upload
from bridge.client.connection import Connection
from bridge.client.revisions import Generation
from bridge.client.text import split_locator, topic_locator
from bridge.client.topics import TopicWriter
from bridge.errors import NotFoundError, PreconditionError, RefusedError, ServerError

ABANDONED = "abandoned, not deleted for want of permission"
"""What the notification begins with on a sequence that should be gone and is not."""


class OnErrorPolicy(StrEnum):
    """What becomes of a sequence whose writing fails."""

    Delete = "delete"
    Report = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """Follows the error policy for one upload; what cannot be done is kept, never raised.

    Topics, sequences and notifications go by name, and an upload that somebody has deleted leaves
    its name to others. So nothing is done before the upload itself was seen to be there.

    Attributes:
        name: The sequence's name.
        upload: What was written to.
        dialect: The server's calls.
        connection: To make many of them at a time.
        topics: The topics that were created here, by name.
        errors: What could not be cleaned up; added to.
    """

    name: str
    upload: Upload
    dialect: Dialect
    connection: Connection
    topics: Mapping[str, TopicWriter]
    errors: list[ServerError]

    def abort_open(self) -> None:
        """Abort the topics that are still open, so that the server does not take them for whole."""

        def leave(topic: TopicWriter) -> None:
            with suppress(ServerError):
                if topic.ended and not topic.aborted:
                    # Too late for that: the server takes it for complete, or has refused it.
                    topic.close()
                else:
                    topic.abort()

        self.connection.parallel("abort").map(
            partial(leave, topic)
            for topic in list(self.topics.values())
            if not topic.closed and not topic.aborted
        )

    def follow(self, policy: OnErrorPolicy, error: BaseException) -> None:
        """Do what the policy says; what cannot be done is noted on *error*."""
        if policy is OnErrorPolicy.Delete:
            self._try(self._delete)
            if any(isinstance(left, RefusedError) for left in self.errors):
                # Its mark shows why this is unfinished, and that it may be deleted.
                mark = f"{ABANDONED}: {type(error).__name__}: {error}"
                self._try(self.dialect.notify, self.name, mark)
        else:
            self._try(self._report, error)
        for left in self.errors:
            error.add_note(f"not cleaned up: {left.message}")

    def _delete(self) -> None:
        """Delete the upload and the sequence around it."""
        before = self.dialect.sequence_facts(self.name, WHOLE)
        self._check_there()
        self._try(self.dialect.upload_delete, self.upload)
        if self.dialect.revision.generation is Generation.KEYED:
            return  # the upload was the sequence
        left = self.dialect.sequence_facts(self.name, WHOLE)
        if left.created_ns == before.created_ns:
            self.dialect.sequence_delete(self.name)

    def _check_there(self) -> None:
        """See that the upload is there, finalised or not.

        Raises:
            NotFoundError: It is gone, and the sequence's name may be another's by now.
            ServerError: Nobody knows.
        """
        with suppress(PreconditionError):
            self.dialect.upload_check(self.upload)

    def _report(self, error: BaseException) -> None:
        """Keep what is whole, remove what is not, and say on the sequence what happened."""
        self._check_there()
        whole: list[str] = []
        self._try(self._sort_out, whole)
        sorted_out = not self.errors
        self._try(self.dialect.notify, self.name, f"{type(error).__name__}: {error}")
        if whole and sorted_out:  # or what is not whole would be final, too
            self._try(self.dialect.upload_finalize, self.upload)

    def _sort_out(self, whole: list[str]) -> None:
        """Delete the topics that are not whole, and list the others in *whole*."""
        broken_here = {name for name, topic in self.topics.items() if not topic.closed}
        found = {
            split_locator(facts.locator)[1]: facts.locked
            for facts in self.dialect.upload_topics(self.upload)
        }
        whole += [name for name, locked in found.items() if locked and name not in broken_here]
        for level in deepest_first(self.dialect, found.keys() - set(whole)):
            self.connection.parallel("delete").map(
                partial(self._try, self.dialect.topic_delete, topic_locator(self.name, name))
                for name in level
            )

    def _try(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except NotFoundError:
            return
        except ServerError as error:
            self.errors.append(error)


def deepest_first(dialect: Dialect, names: Iterable[str]) -> list[list[str]]:
    """Sort topics so that none is deleted before those below it, whose data would go, too."""
    if not dialect.revision.nested_files:
        return [list(names)]
    levels: dict[int, list[str]] = {}
    for name in names:
        levels.setdefault(name.count("/"), []).append(name)
    return [levels[depth] for depth in sorted(levels, reverse=True)]
