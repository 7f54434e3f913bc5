"""What a plug-in may import: `from bridge.mapping.api import Mapping, Source, header`.

These names keep their meaning from one release to the next; everything else in `bridge.mapping`
may change. Models come from `bridge.ontology`. docs/mapping.md shows a whole plug-in.
"""

from bridge.mapping.columns import absent, constant, lists, nullable, struct
from bridge.mapping.pieces import (
    covariance,
    header,
    motion,
    pose,
    quaternion,
    same_names,
    stamp,
    vector3,
)
from bridge.mapping.source import Source
from bridge.mapping.table import Mapping

__all__ = [
    "Mapping",
    "Source",
    "absent",
    "constant",
    "covariance",
    "header",
    "lists",
    "motion",
    "nullable",
    "pose",
    "quaternion",
    "same_names",
    "stamp",
    "struct",
    "vector3",
]
