"""Topic patterns, judged by the vendor's filter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mosaicolabs.bridges.helpers import _filter_from_list

from bridge.mapping import TopicFilter

TOPICS = ["/f", "/s", "/s/a", "/S", "t"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], TOPICS),
        (["/s*"], ["/s", "/s/a"]),
        (["!/s"], ["/f", "/s/a", "/S", "t"]),
        (["/f", "!/f"], []),
        (["!/f", "/f"], ["/f"]),
        (["s"], []),
        (["/?"], ["/f", "/s", "/S"]),
        (["/[fS]"], ["/f", "/S"]),
        (["*", "!/s*", "/s/a"], ["/f", "/s/a", "/S", "t"]),
    ],
)
def test_patterns_select_in_order(patterns: list[str], expected: list[str]) -> None:
    """The last pattern that matches decides; only exclusions leave everything else in."""
    topics = TopicFilter(patterns)
    assert [name for name in TOPICS if topics.selects(name)] == expected


PATTERNS = st.lists(
    st.builds(
        str.__add__, st.sampled_from(["", "!"]), st.text("/fsS*?[]a", min_size=1, max_size=4)
    ),
    max_size=4,
)


@given(PATTERNS)
def test_any_patterns_select_what_the_vendor_selects(patterns: list[str]) -> None:
    """Our filter and the vendor's agree on every list of patterns."""
    topics = TopicFilter(patterns)
    assert {name for name in TOPICS if topics.selects(name)} == set(
        _filter_from_list(TOPICS, patterns)
    )


def test_patterns_that_match_nothing_are_told() -> None:
    """A misspelt pattern can be reported."""
    assert TopicFilter(["/f", "!/x", "/S"]).idle_patterns(TOPICS) == ["!/x"]
