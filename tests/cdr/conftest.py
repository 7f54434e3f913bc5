"""The ways the decoder walks collections, each of which must give the same."""

from collections.abc import Iterator

import pytest

from bridge.cdr import nested, steps


@pytest.fixture(scope="module", params=["together", "alone", "repeated"])
def every_walk(request: pytest.FixtureRequest) -> Iterator[None]:
    """Walk rows together, row by row, or take rows that are alike for one, however few they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nested, "TOGETHER_ROWS_MIN", 10 if request.param == "alone" else 1)
        if request.param == "repeated":
            patch.setattr(steps, "REPEATED_ROWS_MIN", 1)
            patch.setattr(steps, "REPEATED_SAMPLE_ROWS", 1)
        yield
