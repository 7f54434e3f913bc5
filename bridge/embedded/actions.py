"""What an action is, and the order in which every one of them is checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.embedded.access import Permission
from bridge.embedded.archive import Archive
from bridge.embedded.refusals import Refusal, Status
from bridge.embedded.wire import Json, MalformedError, Shape, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One action of a revision.

    Attributes:
        needs: The permission of the key.
        shape: The required fields of the request.
        run: Does it, and gives the responses.
        streams: Whether there are any number of responses, a line each, instead of one.
    """

    needs: Permission
    run: Callable[[Archive, Mapping[str, Any]], Iterator[Json]]
    shape: Shape = field(default_factory=dict)
    streams: bool = False


def parse(actions: Mapping[str, Action], name: str, body: bytes) -> tuple[Action, dict[str, Any]]:
    """Find an action and decode its request.

    Raises:
        Refusal: INVALID_ARGUMENT for an unknown action or a request that it does not understand.
    """
    action = actions.get(name)
    if action is None:
        raise Refusal(
            Status.INVALID_ARGUMENT, f"Bad request: no available action for string `{name}`."
        )
    try:
        return action, decode(body, action.shape)
    except MalformedError:
        raise Refusal(Status.INVALID_ARGUMENT, "Bad request: body deserialization error.") from None
