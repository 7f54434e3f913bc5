"""Where an archive is: a folder of this machine, or one of `s3://`, `gs://` and `abfss://`.

What stores say in errors may hold what they were asked with, so secrets are blotted out.
"""

import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import apsw
from pyarrow import fs

from bridge.config import BackfillSettings, archive_secrets, secret_key
from bridge.errors import (
    CommandLineError,
    ConfigError,
    RecordingVanishedError,
    UnreadableStorageError,
)

CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 60.0
TRIES_MAX = 5
"""How often a store's client asks before it gives up."""

READ_BYTES = 256 << 10
"""So much is read at once where a file of a store is read in small steps."""

SCHEMES = ("s3", "gs", "abfss")

KEY_IN_QUERY = re.compile(
    r"\?(.*&)?(sig|sv|access_key|secret_key|session_token|x-amz-\w+|x-goog-\w+)=", re.IGNORECASE
)
"""How an address that somebody signed or filled with a key looks."""

SPAN_STEPS_MAX = 100_000
"""So many steps a `.db3` gets to find its times; one with the recorder's index needs a hundred."""

SPAN_QUERY = "SELECT (SELECT min(timestamp) FROM messages), (SELECT max(timestamp) FROM messages)"
FAR_NAME = "file:far?immutable=1"


class Store:
    """The file system of an archive, for all calls that may fail.

    Args:
        url: The archive.
        settings: How to get at it.

    Raises:
        CommandLineError: The URL is none that can be read.
        ConfigError: A setting is missing or wrong.
        UnreadableStorageError: The store does not answer, or refuses.
    """

    def __init__(self, url: str, settings: BackfillSettings) -> None:
        self._secrets = forms_of(archive_secrets(settings))
        self.url = url.rstrip("/") or url
        scheme, _, rest = self.url.rpartition("://")
        folder = local_folder(url)
        self.is_local = folder is not None
        self.prefix = "" if self.is_local else f"{scheme}://"
        self.root = rest if folder is None else str(folder)
        if self.is_local:
            self.system: Any = fs.LocalFileSystem()
            return
        if scheme not in SCHEMES:
            raise CommandLineError(
                f"{scheme}:// is no archive that can be read",
                hint=f"a folder, or {', '.join(f'{known}://' for known in SCHEMES)}",
            )
        authority = rest.partition("/")[0]
        if (scheme != "abfss" and "@" in authority) or KEY_IN_QUERY.search(rest):
            raise CommandLineError(
                "a URL must not hold credentials: others see it in lists of processes and in logs",
                hint="set backfill.access_key and backfill.secret_key_file, or backfill.sas_token, "
                "or leave them to the store's usual means",
            )
        with self.reading(self.url):
            self.system, self.root = _opened(scheme, rest, settings)
        if scheme == "abfss":
            self.prefix = f"abfss://{authority}/"

    def url_of(self, key: str) -> str:
        """Give a file's URL."""
        if self.prefix.startswith("abfss://"):
            # Its keys start with the container, which the authority names already.
            return self.prefix + key.partition("/")[2]
        return self.prefix + key

    @contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Turn what a store raises into errors of ours, without secrets.

        Raises:
            RecordingVanishedError: There is no such file.
            UnreadableStorageError: The store does not answer, or refuses.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise RecordingVanishedError(f"there is nothing at {what}") from (
                None if self._secrets else error
            )
        except (OSError, ValueError) as error:
            raise UnreadableStorageError(
                f"{what} cannot be read: {self.blotted(_told(error))}",
                path=Path(what),
                hint="may the user who runs this read it and enter its folders?"
                if self.is_local
                else "is the store there, and may its key list and read? see [backfill]",
            ) from (None if self._secrets else error)

    def blotted(self, text: str) -> str:
        """Give a text without the secrets that it may hold."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def local_folder(url: str) -> Path | None:
    """Give the folder of this machine that a URL names; None where it names a store.

    Each folder has one name, whatever leads to it from here: shards and manifest go by it.

    Raises:
        CommandLineError: It names nothing.
    """
    scheme, mark, rest = url.rpartition("://")
    if not rest.strip("/") and not (rest and scheme in {"", "file"}):
        raise CommandLineError(
            f"{url!r} names no archive", hint="give a folder, or a URL such as s3://bucket/folder"
        )
    if scheme not in {"", "file"}:
        return None
    folder = Path(unquote(rest) if mark else rest).absolute()
    # A link may lead elsewhere; what is above it is not what is written before it.
    return folder.resolve() if ".." in folder.parts else folder


def _told(error: Exception) -> str:
    """Give what an error says, without the name of a file that is said already."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return error.strerror
    return str(error)


def forms_of(secrets: Iterable[str]) -> tuple[str, ...]:
    """Give secrets in all forms in which errors may repeat them, the longest first.

    What is part of an address is shown quoted there, and the signature of an Azure token alone is
    as good as the token.
    """
    given = [*filter(None, secrets)]
    given += [value for one in given for value in parse_qs(one).get("sig", ())]
    forms = {form for one in given for form in (one, unquote(one), quote(one), quote(one, safe=""))}
    return tuple(sorted(forms, key=len, reverse=True))


class StoredSource:
    """A file of a store, read where it is wanted; see `bridge.bags.container.Source`.

    What lies close together is read together: a summary is read in small steps.

    Args:
        store: Where it is.
        key: Which.
        size_bytes: Its size as it was listed.
    """

    def __init__(self, store: Store, key: str, size_bytes: int) -> None:
        self.path = Path(store.url_of(key))
        self.size_bytes = size_bytes
        self.torn = ""
        self.seekable = True
        self._store = store
        with store.reading(store.url_of(key)):
            self._opened = store.system.open_input_file(key)
        self._kept_at = 0
        self._kept = b""

    def read_at(self, offset: int, size: int) -> bytes:
        """Read bytes; fewer than `size` only where the file ends."""
        size = max(0, min(size, self.size_bytes - offset))
        start = offset - self._kept_at
        if not 0 <= start <= start + size <= len(self._kept):
            wanted = min(max(size, READ_BYTES), self.size_bytes)
            self._kept_at = max(0, min(offset, self.size_bytes - wanted))
            with self._store.reading(str(self.path)):
                self._kept = self._opened.read_at(wanted, self._kept_at)
            start = offset - self._kept_at
        return self._kept[start : start + size]

    def check_unchanged(self) -> None:
        """Do nothing: what was read is compared when it is copied."""

    def close(self) -> None:
        """Give up the connection."""
        self._opened.close()


def span_of_database(source: StoredSource) -> tuple[int, int] | None:
    """Give the first and last time of a `.db3`, in ns; None where it does not say.

    Python's own SQLite opens only what has a name on this machine. Cost: a few reads of 4 KiB, by
    the index that recorders make.

    Raises:
        UnreadableStorageError: The store does not answer.
    """
    system = _FarSystem(f"far-{uuid.uuid4().hex}", source)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    try:
        with closing(apsw.Connection(FAR_NAME, flags, vfs=system.name)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            # Without an index all rows would be looked at.
            database.set_progress_handler(lambda: True, SPAN_STEPS_MAX)
            ((start_ns, end_ns),) = database.execute(SPAN_QUERY).fetchall()
    except apsw.Error:
        return None
    finally:
        system.unregister()
    return (start_ns, end_ns) if isinstance(start_ns, int) and isinstance(end_ns, int) else None


class _FarSystem(apsw.VFS):
    """What SQLite takes for a file system: one file, which is a source."""

    def __init__(self, name: str, source: StoredSource) -> None:
        super().__init__(name, "")
        self.name = name
        self._source = source

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> "_FarFile":  # type: ignore[override] # noqa: N802 - what it asks of a file is enough
        """Open the file."""
        del name
        flags[1] = flags[0]
        return _FarFile(self._source)


class _FarFile:
    """What SQLite asks of a file that nobody writes."""

    def __init__(self, source: StoredSource) -> None:
        self._source = source

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        """Read; what is missing behind the end counts as zeros."""
        return self._source.read_at(offset, amount)

    def xFileSize(self) -> int:  # noqa: N802 - SQLite's name
        """Give the size."""
        return self._source.size_bytes

    def xFileControl(self, operation: int, pointer: int) -> bool:  # noqa: N802 - SQLite's name
        """Know of no extras."""
        del operation, pointer
        return False

    def xDeviceCharacteristics(self) -> int:  # noqa: N802 - SQLite's name
        """Say that nobody writes it."""
        return apsw.SQLITE_IOCAP_IMMUTABLE

    def xSectorSize(self) -> int:  # noqa: N802 - SQLite's name
        """Give the least that is read."""
        return 4096

    def xClose(self) -> None:  # noqa: N802 - SQLite's name
        """Leave the source open: it is its owner's."""


def open_store(url: str, settings: BackfillSettings) -> Store:
    """Give the file system of an archive, the same one each time; see `Store`."""
    return _kept(url, settings)


@lru_cache(maxsize=16)
def _kept(url: str, settings: BackfillSettings) -> Store:
    return Store(url, settings)


def _opened(scheme: str, rest: str, settings: BackfillSettings) -> tuple[Any, str]:
    """Make a store's file system; gives it with the archive's folder in it."""
    at = urlsplit(settings.endpoint)
    if settings.endpoint and not (at.scheme in {"http", "https"} and at.netloc):
        raise ConfigError(
            f"{settings.endpoint} is no address of a store",
            key="backfill.endpoint",
            hint="for example https://minio.example.com:9000",
        )
    endpoint: dict[str, Any] = {}
    if settings.endpoint and scheme != "abfss":
        endpoint = {"endpoint_override": at.netloc, "scheme": at.scheme}
    if scheme == "gs":
        limit = timedelta(seconds=REQUEST_TIMEOUT_S)
        google = fs.GcsFileSystem(anonymous=settings.anonymous, retry_time_limit=limit, **endpoint)
        return google, rest
    if scheme == "s3":
        return _s3(rest.partition("/")[0], settings, endpoint), rest
    container, _, after = rest.partition("@")
    host, _, path = after.partition("/")
    account = host.partition(".")[0]
    if not container or not account:
        raise CommandLineError(
            f"abfss://{rest} names no account",
            hint="abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/FOLDER",
        )
    if settings.endpoint:
        kinds = ("blob_storage", "dfs_storage")
        endpoint = {f"{kind}_authority": at.netloc for kind in kinds}
        endpoint |= {f"{kind}_scheme": at.scheme for kind in kinds}
    for name in ("account_key", "sas_token"):
        secret = getattr(settings, name)
        if secret is not None:
            endpoint[name] = secret.get_secret_value()
    return fs.AzureFileSystem(account, **endpoint), f"{container}/{path}".rstrip("/")


def _s3(bucket: str, settings: BackfillSettings, endpoint: dict[str, Any]) -> Any:
    key = secret_key(settings)
    if bool(settings.access_key) != (key is not None):
        raise ConfigError(
            "an S3 access key and its secret key belong together, and one is missing",
            key="backfill.access_key",
            hint="set both, or neither to leave it to the usual means",
        )
    region = settings.region
    known = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not known:
        region = "us-east-1" if settings.endpoint else fs.resolve_s3_region(bucket)
    token = settings.session_token
    return fs.S3FileSystem(
        access_key=settings.access_key or None,
        secret_key=key,
        session_token=None if token is None else token.get_secret_value(),
        anonymous=settings.anonymous,
        region=region or None,
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=TRIES_MAX),
        **endpoint,
    )
