"""Mutated files and payloads: nothing but errors of ours, no hang, within a gigabyte."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.fuzzer import TARGETS

ROOT = Path(__file__).parents[2]


def fuzz(*arguments: str, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run the fuzzer in a process of its own, which limits its own memory."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzzer", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def test_a_few_hundred_inputs_of_every_kind_break_nothing() -> None:
    """The same inputs every time, some of each kind read and some refused."""
    done = fuzz("--seed", "1", "--inputs", "80", timeout_s=300)

    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert [line.split(":")[0] for line in told] == list(TARGETS)
    assert all(" read" in line or " decoded" in line for line in told)
    assert all("refused" in line for line in told)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS)
def test_a_minute_of_new_inputs_breaks_nothing(target: str) -> None:
    """Other inputs at every run; the message says how to repeat one."""
    done = fuzz(target, "--seconds", "60", "--seed", str(time.time_ns()), timeout_s=600)

    assert done.returncode == 0, done.stderr


def test_what_breaks_is_told_with_how_to_repeat_it(tmp_path: Path) -> None:
    """The fuzzer itself can fail: a decoder that raises something foreign ends it."""
    program = tmp_path / "broken.py"
    program.write_text(
        "import sys\n"
        "from tests.fuzz import fuzzer\n"
        "fuzzer.parse_definition = lambda *_: [][0]\n"
        "sys.argv = ['fuzzer', 'cdr', '--inputs', '1', '--seed', '5']\n"
        "fuzzer.main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode != 0
    assert "cdr broke: repeat it with --seed 5 --first 0 --inputs 1 cdr" in done.stderr
