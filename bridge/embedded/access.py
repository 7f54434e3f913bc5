"""API keys: what a token must look like, what it permits, and until when."""

import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from pyarrow import flight

from bridge.embedded.refusals import Refusal, Status, as_flight_error

HEADER = "mosaico-api-key-token"
MIDDLEWARE = "api-key"


class Permission(IntEnum):
    """What a key may do. As the one word for a key, each includes the ones before."""

    READ = 1
    WRITE = 2
    DELETE = 3
    MANAGE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """What the owner of a token may do.

    Attributes:
        permission: How much.
        expires_ns: From when on nothing any more, nanoseconds since the epoch; None for never.
        only: Exactly these instead, as the platform has it from 0.6 on: a key that may write need
            not be allowed to read.
    """

    permission: Permission = Permission.READ
    expires_ns: int | None = None
    only: frozenset[Permission] | None = None

    @classmethod
    def of(cls, text: str, *, expires_ns: int | None = None) -> "ApiKey | None":
        """Read `write`, which includes what comes before, or `write|delete`, which does not.

        Returns:
            The key; None where a word is no permission.
        """
        known = {permission.name.lower(): permission for permission in Permission}
        words = [word for word in text.split("|") if word]
        if not words or not known.keys() >= set(words):
            return None
        if "|" in text:
            only = frozenset(known[word] for word in words)
            return cls(permission=max(only), only=only, expires_ns=expires_ns)
        return cls(permission=known[text], expires_ns=expires_ns)

    @property
    def permits(self) -> frozenset[Permission]:
        """All that it may do."""
        return _up_to(self.permission) if self.only is None else self.only


def _up_to(most: Permission) -> frozenset[Permission]:
    return frozenset(permission for permission in Permission if permission <= most)


class Access:
    """The keys of a server; with None as keys everybody may do everything."""

    def __init__(self, api_keys: Mapping[str, ApiKey] | None) -> None:
        self._api_keys = dict(api_keys) if api_keys is not None else None

    def permits(self, token: str) -> frozenset[Permission]:
        """Give what the owner of a token may do.

        Raises:
            Refusal: PERMISSION_DENIED without a token or with an unknown or expired one,
                INVALID_ARGUMENT with a malformed one.
        """
        if self._api_keys is None:
            return _up_to(Permission.MANAGE)
        if not token:
            raise Refusal(Status.PERMISSION_DENIED, "Missing API key in request header.")
        fault = form_fault(token)
        if fault:
            raise Refusal(Status.INVALID_ARGUMENT, f"Bad request: {fault}.")
        key = self._api_keys.get(token)
        if key is None:
            raise Refusal(Status.PERMISSION_DENIED, "Unauthorized: API key does not exist.")
        if key.expires_ns is not None and time.time_ns() >= key.expires_ns:
            raise Refusal(Status.PERMISSION_DENIED, "Unauthorized: API key is expired.")
        return key.permits

    def require(self, token: str, needed: Permission) -> None:
        """Check a call that is no action.

        Raises:
            Refusal: As `permits`, or PERMISSION_DENIED when the key is too weak.
        """
        if needed not in self.permits(token):
            raise Refusal(
                Status.PERMISSION_DENIED,
                f"Unauthorized: provided API key does not have {needed.name} permissions.",
            )


def form_fault(token: str) -> str:
    """Tell what is wrong with `msco_<payload>_<CRC-32 of the payload>`; empty where nothing is."""
    parts = token.split("_")
    if len(parts) != 3:  # noqa: PLR2004 - the three parts of the form above
        return "the token is incomplete"
    header, payload, fingerprint = parts
    rules = (
        (header == "msco", "bad header"),
        (len(payload) == 32 and len(fingerprint) == 8, "bad length"),  # noqa: PLR2004 - the form of tokens
        (re.fullmatch("[a-z0-9]*", payload), "bad payload"),
        (re.fullmatch("[0-9a-f]*", fingerprint), "bad fingerprint"),
        (fingerprint == f"{zlib.crc32(payload.encode()):08x}", "fingerprint mismatch"),
    )
    return next((fault for holds, fault in rules if not holds), "")


class _Token(flight.ServerMiddleware):  # type: ignore[misc]
    """Carries the token of one call from its headers to its handler."""

    def __init__(self, token: str) -> None:
        self.token = token


class TokenReader(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Reads the token from the headers of every call; judging it is left to the handler.

    But for GetSchema, whose handler pyarrow gives no way to answer PERMISSION_DENIED.
    """

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._access = access

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, list[str]]) -> _Token:
        """Keep the token of a call."""
        values = headers.get(HEADER, [])
        token = values[0] if values else ""
        if info.method == flight.FlightMethod.GET_SCHEMA:
            try:
                self._access.require(token, Permission.READ)
            except Refusal as refusal:
                raise as_flight_error(refusal) from None
        return _Token(token)


def token_of(context: flight.ServerCallContext) -> str:
    """Give the token that a call came with, or an empty text."""
    token: str = context.get_middleware(MIDDLEWARE).token
    return token
