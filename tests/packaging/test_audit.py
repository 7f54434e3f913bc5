"""What `make check` makes of a report about known vulnerabilities."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.packaging.conftest import ROOT

CLEAN = {"name": "good", "version": "1", "vulns": []}
FLAWED = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNFIXED = {"name": "bad", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
UNKNOWN = {"name": "odd", "skip_reason": "not found"}


def judged(report: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit.py"), *options],
        input=report, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "code", "said"),
    [
        ([CLEAN], 0, "1 packages, no known vulnerability"),
        ([CLEAN, FLAWED], 1, "bad 2: PYSEC-1, fixed in 3"),
        ([UNFIXED], 1, "bad 2: PYSEC-1, fixed in no version"),
        ([CLEAN, UNKNOWN], 1, "odd: not known"),
    ],
)
def test_a_report_is_judged(entries: list[dict[str, Any]], code: int, said: str) -> None:
    """A known flaw fails the check, and so does a package that alone is unknown."""
    done = judged(json.dumps({"dependencies": entries}))

    assert done.returncode == code
    assert said in done.stdout


@pytest.mark.parametrize("report", ["", json.dumps({"dependencies": [UNKNOWN, UNKNOWN]})])
def test_no_data_is_said_and_fails_only_where_it_must_not(report: str) -> None:
    """Without a source of vulnerabilities `make check` goes on and says so; `make audit` fails."""
    lenient, strict = judged(report), judged(report, "--strict")

    assert (lenient.returncode, strict.returncode) == (0, 2)
    assert "NOT AUDITED" in lenient.stdout
    assert lenient.stdout == strict.stdout


def test_the_audit_is_part_of_the_check() -> None:
    """`make check` judges the report, and CI runs `make test`, which begins with the check."""
    plan = subprocess.run(
        ["make", "--dry-run", "test"], cwd=ROOT, capture_output=True, text=True, check=True,
        timeout=60,
    ).stdout  # fmt: skip
    assert ".ci/audit.py <" in plan
