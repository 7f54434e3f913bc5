"""`mosaico-bridge`, whose embedded server tells one row fewer of each topic than it was sent."""

import dataclasses
from typing import Any

from bridge.cli import main
from bridge.embedded.session import flights as session_flights

honest = session_flights._endpoint


def lossy(archive: Any, topic: Any, wanted: Any) -> Any:
    return honest(archive, dataclasses.replace(topic, rows=topic.rows - 1), wanted)


if __name__ == "__main__":
    session_flights._endpoint = lossy
    main()
