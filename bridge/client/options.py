"""How to reach a server, checked: the options of `MosaicoClient.connect`, and compression."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, Unpack

import pyarrow as pa

from bridge.client.translate import NO_SECRET, Secret
from bridge.errors import UsageError
from bridge.units import address_text, plain_host

BODY_COMPRESSIONS = ("", "lz4", "zstd", "auto-lz4", "auto-zstd")
AUTO = "auto-"
"""Before a codec: it is used for the topics whose first batch it makes small enough."""
GRPC_COMPRESSIONS = ("", "deflate", "gzip")


class ConnectOptions(TypedDict, total=False):
    """Keyword arguments of `MosaicoClient.connect`, all optional.

    Attributes:
        tls: Whether to encrypt; by default exactly when root certificates are given.
        tls_root_certs: PEM of the certificates to trust, or a file with it; by default the
            system's.
        tls_client_cert: PEM (or file) of our certificate, for mutual TLS.
        tls_client_key: PEM (or file) of its key.
        api_key: The key to send with each call.
        compression: Compress Arrow bodies that we send: `"lz4"` or `"zstd"`; `"auto-lz4"` or
            `"auto-zstd"` for the topics where it pays, on servers that are known to take it.
        grpc_compression: Compress gRPC messages: `"gzip"`; the server must have it enabled.
        keepalive_s: Seconds of silence after which the link is probed (300, as often as gRPC
            servers put up with unless told otherwise); 0 for never.
        keepalive_timeout_s: Seconds without an answer after which the link is dead (20).
        call_timeout_s: Deadline of each control call (30).
        stall_timeout_s: Seconds without progress after which a stream is cut (60).
        streams_max: The most put or get streams that share one TCP connection (64).
    """

    tls: bool | None
    tls_root_certs: bytes | str | Path
    tls_client_cert: bytes | str | Path
    tls_client_key: bytes | str | Path
    api_key: str | Secret
    compression: str | None
    grpc_compression: str | None
    keepalive_s: float
    keepalive_timeout_s: float
    call_timeout_s: float
    stall_timeout_s: float
    streams_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How to reach a server.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether to encrypt.
        tls_root_certs: PEM of the roots to trust; empty for those of the system.
        tls_client_cert: PEM of our certificate, for mutual TLS; empty for none.
        tls_client_key: PEM of its key.
        api_key: The key to send with each call.
        compression: Compression of Arrow IPC bodies that we send: `lz4`, `zstd`, either with
            `auto-` before it, or empty.
        grpc_compression: Compression of gRPC messages: `gzip`, `deflate` or empty.
        keepalive_s: Seconds of silence after which the link is probed; 0 turns probing off.
        keepalive_timeout_s: Seconds without an answer to a probe after which the link is dead.
        call_timeout_s: Deadline of a control call.
        stall_timeout_s: Seconds without progress after which a stream is cut.
        streams_max: The most put or get streams that share a connection.
    """

    host: str
    port: int
    tls: bool
    tls_root_certs: bytes
    tls_client_cert: bytes
    tls_client_key: Secret
    api_key: Secret
    compression: str
    grpc_compression: str
    keepalive_s: float
    keepalive_timeout_s: float
    call_timeout_s: float
    stall_timeout_s: float
    streams_max: int

    @property
    def address(self) -> str:
        """The server as `host:port`."""
        return address_text(self.host, self.port)


def connection_options(host: str, port: int, **given: Unpack[ConnectOptions]) -> ConnectionOptions:
    """Check the options and read the certificates they name.

    Raises:
        UsageError: An option has no such value, or a certificate cannot be read.
    """
    compression = given.get("compression") or ""
    if compression not in BODY_COMPRESSIONS:
        raise UsageError(
            f"no such compression: {compression}", hint="use lz4, zstd, auto-lz4 or auto-zstd"
        )
    grpc_compression = given.get("grpc_compression") or ""
    if grpc_compression not in GRPC_COMPRESSIONS:
        raise UsageError(f"no such gRPC compression: {grpc_compression}", hint="use gzip")
    roots = _pem(given.get("tls_root_certs", b""))
    certificate, key = (
        _pem(given.get("tls_client_cert", b"")),
        _pem(given.get("tls_client_key", b"")),
    )
    if bool(certificate) is not bool(key):
        raise UsageError("a client certificate and its key only work together")
    tls = given.get("tls")
    if certificate and not (roots or tls):
        raise UsageError("a client certificate needs TLS", hint="set tls, or give tls_root_certs")
    api_key = Secret.of(given.get("api_key", NO_SECRET))
    if not re.fullmatch(r"[!-~]*", api_key.value):
        # gRPC would hold the header back, or the call.
        raise UsageError(
            "the API key holds a blank, a line break or another character that no key has",
            hint="is it the right file, with the key alone in it?",
        )
    return ConnectionOptions(
        host=plain_host(host),
        port=port,
        tls=bool(roots) if tls is None else tls,
        tls_root_certs=roots,
        tls_client_cert=certificate,
        tls_client_key=Secret(key.decode()),
        api_key=api_key,
        compression=compression,
        grpc_compression=grpc_compression,
        keepalive_s=given.get("keepalive_s", 300.0),
        keepalive_timeout_s=given.get("keepalive_timeout_s", 20.0),
        call_timeout_s=given.get("call_timeout_s", 30.0),
        stall_timeout_s=given.get("stall_timeout_s", 60.0),
        streams_max=given.get("streams_max", 64),
    )


def _pem(source: bytes | str | Path) -> bytes:
    """Give PEM text, read from a file where a path is given."""
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes() if str(source) else b""
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from error


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """What compression is in use; empty for none.

    Attributes:
        body: Of Arrow bodies that we put: `lz4` or `zstd`, with `auto-` before it where each topic
            is tried; None while the server has to be tried, which the first put does.
        grpc: Of gRPC messages: `gzip` or `deflate`.
    """

    body: str | None
    grpc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyCodec:
    """How the bodies of a topic are compressed, where it pays.

    Attributes:
        name: `lz4`, `zstd`, or empty for not at all.
        level: Of zstd; None for Arrow's own.
        saving_min: The least part of a topic that has to be saved.
    """

    name: str
    level: int | None = None
    saving_min: float = 0.0

    def write_options(self) -> pa.ipc.IpcWriteOptions:
        """Give what Arrow calls it."""
        codec = self.name or None
        if self.level is not None:
            codec = pa.Codec(self.name, compression_level=self.level)
        return pa.ipc.IpcWriteOptions(compression=codec)


PLAIN = BodyCodec(name="")

# Raw images and what was compressed before give nothing, IMU seven tenths, scans a tenth.
QUICK = BodyCodec(name="lz4", saving_min=0.2)
# Level 3 is what recorders use; Arrow's own, 1, sends a tenth more.
AS_RECORDED = BodyCodec(name="zstd", level=3, saving_min=0.02)
# 35 MB/s of noise on a core: images become a third smaller, by level 3 an eighth.
SMALL = BodyCodec(name="zstd", level=7, saving_min=0.02)

LONG_LINE_S = 0.025
"""A round trip from which on the line is the limit: a connection's window of about a MiB carries
40 MB/s over it at most, which is what a core compresses by `SMALL`."""


def automatic_codec(settled: str, *, was_compressed: bool, round_trip_s: float) -> BodyCodec:
    """Choose what a topic is tried with.

    Args:
        settled: What the connection is to do, `auto-lz4` or `auto-zstd`.
        was_compressed: Whether what is sent was compressed where it comes from. Whoever recorded
            it so wants few bytes, and not more on the wire than on the disk.
        round_trip_s: How long the line is, at most.
    """
    if settled == f"{AUTO}zstd" or round_trip_s >= LONG_LINE_S:
        return SMALL
    return AS_RECORDED if was_compressed else QUICK


# How much of a topic's first batch is compressed to see whether it pays.
_TRIAL_BYTES = 256 << 10
# It speaks for others where it saves so many times the least that pays.
_CLEAR_FACTOR = 2.0


class Trials:
    """Finds out whether compression pays, and remembers where it clearly did.

    A trial costs a millisecond, which does not show of a topic that begins with megabytes. Of
    hundreds of small topics of one model the first speaks for all. Only its yes is taken over: it
    may cost some processor time, but never bytes.
    """

    def __init__(self) -> None:
        self._clear: set[tuple[str, BodyCodec]] = set()

    def pays(self, tag: str, batch: pa.RecordBatch, codec: BodyCodec) -> bool:
        """Tell whether a codec makes enough of a topic's first batch.

        Args:
            tag: The ontology tag of the topic.
            batch: The topic's first rows.
            codec: What to try.
        """
        small = pa.ipc.get_record_batch_size(batch) <= _TRIAL_BYTES
        if small and (tag, codec) in self._clear:
            return True
        saved = _saved_share(batch, codec)
        if saved >= _CLEAR_FACTOR * codec.saving_min:
            self._clear.add((tag, codec))
        return saved >= codec.saving_min


def _saved_share(batch: pa.RecordBatch, codec: BodyCodec) -> float:
    """Give the part of a batch's first rows that a codec saves; costs about a millisecond."""
    size_bytes = pa.ipc.get_record_batch_size(batch)
    rows = max(1, batch.num_rows * _TRIAL_BYTES // max(size_bytes, 1))
    sample = batch.slice(0, rows)
    # The schema that both begin with is no part of what can be saved.
    saved_bytes = _stream_bytes(sample, PLAIN) - _stream_bytes(sample, codec)
    return saved_bytes / int(pa.ipc.get_record_batch_size(sample))


def _stream_bytes(batch: pa.RecordBatch, codec: BodyCodec) -> int:
    sink = pa.MockOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=codec.write_options()) as writer:
        writer.write_batch(batch)
    return int(sink.size())


@dataclass(slots=True, kw_only=True, eq=False)
class BodyCompression:
    """Settles, once for a connection, how the bodies of puts are compressed.

    Attributes:
        wanted: What was asked for.
        trial: Finds out whether the server takes a codec; None where that is known.
        in_use: What was settled; None before that. Guarded by `_lock`.
    """

    wanted: str
    trial: Callable[[str], bool] | None = None
    in_use: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settled(self) -> str:
        """Give what to compress by, after a trial if one is needed.

        Raises:
            ServerError: The server could not be asked.
        """
        with self._lock:
            if self.in_use is None and self.wanted.startswith(AUTO):
                self.in_use = self.known()
            if self.in_use is None:
                taken = not self.wanted or self.trial is None or self.trial(self.wanted)
                if not taken:
                    _log.warning(
                        "the server does not take data compressed by %s: sending it as it is",
                        self.wanted,
                    )
                self.in_use = self.wanted if taken else ""
            return self.in_use

    def known(self) -> str | None:
        """Give what is in use as far as it is known without a call.

        Nobody is tried for what was not asked for by name.
        """
        if self.wanted.startswith(AUTO):
            return self.wanted if self.trial is None else ""
        return self.wanted if self.trial is None or not self.wanted else self.in_use
