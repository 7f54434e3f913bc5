"""Asks the platform whether it holds recordings whole, right before their sources go.

Used from a disposer's thread only, never from the daemon's loop: an answer may take as long as the
platform's deadline allows.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bridge.client import MosaicoClient
from bridge.compose import connect
from bridge.config import LiveSettings
from bridge.errors import BridgeError, OfflineError
from bridge.ingest import Held, Holding, SequenceContent, VerificationLevel, held_whole

Address = Callable[[], tuple[str, int]]
Prove = Callable[[Sequence[SequenceContent]], Mapping[str, Holding]]


class Proof(StrEnum):
    """What lets a source go."""

    ASKED = "asked"
    REMEMBERED = "remembered"
    NONE = "none"


class PlatformProof:
    """Asks over a connection that it keeps until there is trouble with it.

    Args:
        live: The settings in force.
        address: Gives host and port of the platform; may raise OSError or BridgeError.
    """

    def __init__(self, live: LiveSettings, address: Address) -> None:
        self._live = live
        self._address = address
        self._client: MosaicoClient | None = None

    def __call__(self, contents: Sequence[SequenceContent]) -> Mapping[str, Holding]:
        """Ask about several sequences together; answers come by name.

        Raises:
            BridgeError: The platform cannot be asked, which proves nothing.
        """
        try:
            if self._client is None:
                self._client = connect(self._live.now, *self._address())
            return held_whole(self._client, contents)
        except OSError as error:
            self.close()
            raise OfflineError(f"the server's address is not known: {error}") from error
        except BridgeError:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection up; may be called again."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the platform's answers say of one recording.

    Attributes:
        whole: Whether every sequence is whole, at the level asked for.
        lost: Whether one of them is not there any more, so that it has to be sent again.
        reason: Why it is not whole, as a sentence; empty where it is.
    """

    whole: bool
    lost: bool = False
    reason: str = ""


def judge(
    contents: Collection[SequenceContent],
    holdings: Mapping[str, Holding],
    *,
    needed: VerificationLevel,
) -> Answer:
    """Say what the platform's answers mean for a recording.

    Args:
        contents: What must be there.
        holdings: The answers, by name of the sequence.
        needed: How much must be proven. What was read back once is asked for by its counts now:
            reading it back again would take as long as sending it did.
    """
    # What can be asked for without reading everything back.
    needed = VerificationLevel.weakest((needed, VerificationLevel.COUNTS))
    for content in contents:
        found = holdings.get(content.sequence)
        if found is not None and found.proves(needed):
            continue
        if found is None:
            return Answer(whole=False, reason=f"the platform did not answer for {content.sequence}")
        lost = found.held in {Held.ABSENT, Held.UNFINISHED}
        told = "; ".join(found.differences) or f"the platform proves no more than {found.level}"
        return Answer(whole=False, lost=lost, reason=f"{content.sequence}: {told}")
    if not contents:
        return Answer(whole=False, reason="it is not known what the platform must hold of it")
    return Answer(whole=True)
