"""The property tests of this folder, run long: for an hour of leisure, not for every change."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cdr import test_against_rosbags, test_damage, test_decoder

EXAMPLES = int(os.environ.get("CDR_SWEEP_EXAMPLES", "1500"))

PROPERTIES: dict[str, Callable[..., None]] = {
    "reference": test_decoder.test_decoder_equals_reference_codec,
    "truncation": test_damage.test_truncation_at_every_byte_drops_only_the_truncated,
    "damage": test_damage.test_random_damage_is_judged_as_the_reference_does,
}
SINGLE: dict[str, Callable[..., None]] = {
    "garbage": test_damage.test_garbage_never_raises,
    "mixed": test_damage.test_mixed_encapsulations_keep_the_order_of_the_block,
    "anywhere": test_damage.test_payloads_may_lie_anywhere_in_any_order,
    "rosbags": test_against_rosbags.test_three_decoders_agree_on_generated_types,
    "reference codec": test_against_rosbags.test_rosbags_writes_what_the_reference_writes,
}


pytestmark = pytest.mark.usefixtures("every_walk")


def sweep(check: Any, **known: Any) -> None:
    """Run the body of a property on many more examples than by default."""
    body = check.hypothesis.inner_test

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        body(data=data, **known)

    run()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("wire", test_decoder.WIRES.values(), ids=test_decoder.WIRES)
@pytest.mark.parametrize("name", PROPERTIES)
def test_property_holds_for_long_in_every_serialisation(name: str, wire: Any) -> None:
    """What holds for a few examples holds for many."""
    sweep(PROPERTIES[name], wire=wire)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SINGLE)
def test_property_holds_for_long(name: str) -> None:
    """What holds for a few examples holds for many."""
    sweep(SINGLE[name])
