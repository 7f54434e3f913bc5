"""What an action is: a permission, the fields it needs, and what it does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.embedded.access import Permission
from bridge.embedded.archive import Archive
from bridge.embedded.wire import Json, Shape


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
