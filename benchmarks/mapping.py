"""What mapping costs for each type: against the vendor's `translate`, and within decode and map.

Ours makes whole Arrow batches; the vendor's time is `translate` alone, from a message that was
decoded before, without the Arrow batch that it still has to make. Rows are compared first.
"""

from collections.abc import Callable
from typing import Any

from benchmarks.messages import START_NS
from benchmarks.scope import Scope
from benchmarks.tables import Table
from benchmarks.timing import clocked, timed

BLOCK_BYTES, ROWS_MAX, DISTINCT = 4 << 20, 20_000, 40
QUICK_ROWS_MAX = 40
VENDOR_ROWS, QUICK_VENDOR_ROWS = 40, 4
STEP_NS = 10_000_000

COLUMNS = (
    "type", "ontology tag", "rows", "rows/s", "us/row", "x vendor translate", "share of decode+map",
)  # fmt: skip


def run(scope: Scope) -> list[Table]:
    """Measure all types of the table, in one process of its own."""
    scope.say("mapping")
    rows = timed(_every_type, scope.quick, max(3, scope.runs), scope.names).result
    rows.sort(key=lambda row: (row[5] is None, row[5]))
    return [Table("Mapping by type, slowest against the vendor first", COLUMNS, rows)]


def _every_type(
    quick: bool,  # noqa: FBT001 - passed by position between processes
    runs: int,
    names: frozenset[str],
) -> Callable[[], list[tuple[object, ...]]]:
    from benchmarks.samples import is_known
    from bridge.mapping import DEFAULT_MAPPINGS

    def call() -> list[tuple[object, ...]]:
        # Types of other packages have no samples here.
        known = filter(is_known, sorted(DEFAULT_MAPPINGS))
        wanted = [msgtype for msgtype in known if not names or msgtype in names]
        return [_measure(msgtype, quick=quick, runs=runs) for msgtype in wanted]

    return call


def _measure(msgtype: str, *, quick: bool, runs: int) -> tuple[object, ...]:
    from benchmarks.samples import block_of, definition, sample
    from bridge.cdr import Decoder
    from bridge.definitions import parse_definition
    from bridge.mapping import plan_topic
    from bridge.model import Serialization, Topic

    messages = sample(msgtype, QUICK_VENDOR_ROWS if quick else DISTINCT)
    text = definition(msgtype)
    topic = Topic(
        index=0, name="/topic", msgtype=msgtype, serialization=Serialization.CDR, message_type=None
    )
    message_type = parse_definition(msgtype, text)
    decoder = Decoder(message_type, serialization=Serialization.CDR)
    plan = plan_topic(topic, message_type, decoder.arrow_type)
    block = block_of(
        msgtype,
        messages,
        bytes_max=BLOCK_BYTES,
        rows_max=QUICK_ROWS_MAX if quick else ROWS_MAX,
        start_ns=START_NS,
        step_ns=STEP_NS,
    )
    decoded = decoder.decode(block)
    mapped = plan.apply(decoded)
    rows = len(block.starts)
    if plan.kind != "mapped" or mapped.batch.num_rows != rows:
        raise SystemExit(f"{msgtype}: {plan.kind} {mapped.batch.num_rows} of {rows}, {plan.reason}")
    translate = _translator(msgtype, messages[: QUICK_VENDOR_ROWS if quick else VENDOR_ROWS])
    if translate is not None:
        _compare(msgtype, mapped.batch, translate())

    decode_s = min(clocked(lambda: decoder.decode(block)) for _ in range(runs))
    map_s = min(clocked(lambda: plan.apply(decoded)) for _ in range(runs))
    ratio = None
    if translate is not None:
        vendor_rows = len(translate())
        vendor_s = min(clocked(translate) for _ in range(runs))
        ratio = (rows / map_s) / (vendor_rows / vendor_s)
    share = map_s / (map_s + decode_s)
    return msgtype, plan.model.tag, rows, rows / map_s, 1e6 * map_s / rows, ratio, share


def _translator(msgtype: str, messages: list[Any]) -> Callable[[], list[Any]] | None:
    """Give the vendor's translation of messages that it has decoded; None where it has none."""
    import mosaicolabs.bridges.ros.adapters  # noqa: F401 - registers the adapters
    from mosaicolabs.bridges.ros import ROSBridge, ROSMessage
    from mosaicolabs.bridges.ros.helpers import _to_dict

    adapter = dict(ROSBridge.get_default_adapters()).get(msgtype)
    if adapter is None:
        return None
    wrapped = [
        ROSMessage(START_NS + number * STEP_NS, "/topic", msgtype, *_to_dict(message))
        for number, message in enumerate(messages)
    ]
    return lambda: [adapter.translate(message) for message in wrapped]


def _compare(msgtype: str, batch: Any, translated: list[Any]) -> None:
    """Hold the first rows against the vendor's; the bytes of images may be packed otherwise."""
    for number, message in enumerate(translated[:5]):
        ours = batch.slice(number, 1).to_pylist()[0]
        theirs = message._to_pa_record_batch().to_pylist()[0]  # noqa: SLF001 - no public way
        if msgtype == "sensor_msgs/msg/Image":
            for row in (ours, theirs):
                del row["data"], row["format"]
        if repr(ours) != repr(theirs):
            raise SystemExit(f"{msgtype}: row {number} differs:\n{ours}\n{theirs}")
