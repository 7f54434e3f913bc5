"""The client of the Mosaico platform, over Arrow Flight; all protocol generations."""

from typing import TYPE_CHECKING

from bridge.facade import on_first_use

if TYPE_CHECKING:
    from bridge.client.catalog import Notified, NotifyType, SessionFacts
    from bridge.client.cleanup import ABANDONED, OnErrorPolicy
    from bridge.client.client import DEFAULT_PORT, MosaicoClient, ServerLimits
    from bridge.client.handlers import SequenceHandler, TopicHandler
    from bridge.client.options import Compression, ConnectOptions
    from bridge.client.pacing import Pacer, UplinkShare, Wire
    from bridge.client.query.query import (
        Query,
        QueryOntologyCatalog,
        QuerySequence,
        QueryTopic,
        Sequence,
        Topic,
    )
    from bridge.client.query.results import (
        Cluster,
        FoundSequence,
        FoundTopic,
        QueryResponse,
        QueryResponseItem,
        TimestampRange,
    )
    from bridge.client.readers import TopicReader
    from bridge.client.text import holds_nul
    from bridge.client.topics import Known, TopicReceipt, TopicWriter
    from bridge.client.translate import Secret
    from bridge.client.writers import (
        SequenceStatus,
        SequenceWriter,
        TopicErrorPolicy,
    )

__all__ = [
    "ABANDONED",
    "DEFAULT_PORT",
    "Cluster",
    "Compression",
    "ConnectOptions",
    "FoundSequence",
    "FoundTopic",
    "Known",
    "MosaicoClient",
    "Notified",
    "NotifyType",
    "OnErrorPolicy",
    "Pacer",
    "Query",
    "QueryOntologyCatalog",
    "QueryResponse",
    "QueryResponseItem",
    "QuerySequence",
    "QueryTopic",
    "Secret",
    "Sequence",
    "SequenceHandler",
    "SequenceStatus",
    "SequenceWriter",
    "ServerLimits",
    "SessionFacts",
    "TimestampRange",
    "Topic",
    "TopicErrorPolicy",
    "TopicHandler",
    "TopicReader",
    "TopicReceipt",
    "TopicWriter",
    "UplinkShare",
    "Wire",
    "holds_nul",
]

__getattr__ = on_first_use(__name__, __file__)
