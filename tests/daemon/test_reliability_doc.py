"""docs/reliability.md says what the code does: its tables are the code's tables."""

import re
from pathlib import Path

from bridge.daemon.journal.states import MEANING, TRANSITIONS, State
from bridge.daemon.watch.completeness import Rule

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def table(name: str) -> list[list[str]]:
    """Read the rows of a marked table, without its head."""
    marked = TEXT.split(f"<!-- {name} -->")[1].split(f"<!-- /{name} -->")[0]
    rows = [line.strip("|").split("|") for line in marked.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def test_documented_states_are_those_of_the_code() -> None:
    """State, meaning and every allowed step are the same in both."""
    documented = {
        state.strip("`"): (meaning, set(re.findall(r"`([a-z]+)`", steps)))
        for state, meaning, steps in table("states")
    }

    assert documented == {
        str(state): (MEANING[state], {str(after) for after in TRANSITIONS[state]})
        for state in State
    }


def test_documented_rules_are_those_of_the_code() -> None:
    """Every completeness rule is documented, in the order of their precedence."""
    assert [row[0].strip("`") for row in table("rules")] == [str(rule) for rule in Rule]


def test_named_tests_exist() -> None:
    """A promise names a test that is there."""
    for name in re.findall(r"`(test_\w+\.py)`", TEXT):
        assert (Path(__file__).parent / name).exists()
