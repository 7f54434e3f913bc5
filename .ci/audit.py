#!/usr/bin/env python3
"""Judge what pip-audit found: `pip-audit --format json ... | python .ci/audit.py [--strict]`.

Known vulnerabilities are an error, and so are packages that nothing is known about beside others
that something is known about. Where nothing is known about any, no data could be reached: that is
said, and is an error only with --strict.
"""

import json
import sys

NO_DATA = 2


def judge(text: str) -> tuple[int, list[str]]:
    """Give the exit code and what to say about a report; an empty one is that of a failure."""
    found = json.loads(text)["dependencies"] if text.strip() else []
    unknown = [entry["name"] for entry in found if "skip_reason" in entry]
    if len(unknown) == len(found):
        return NO_DATA, ["NOT AUDITED: no data about vulnerabilities can be reached from here"]
    lines = [
        f"{entry['name']} {entry['version']}: {flaw['id']}, fixed in"
        f" {', '.join(flaw['fix_versions']) or 'no version'}"
        for entry in found
        for flaw in entry.get("vulns", ())
    ]
    lines += [f"{name}: not known to the source of vulnerabilities" for name in unknown]
    return (1, lines) if lines else (0, [f"{len(found)} packages, no known vulnerability"])


if __name__ == "__main__":
    code, said = judge(sys.stdin.read())
    sys.stdout.write("audit: " + "\naudit: ".join(said) + "\n")
    sys.exit(0 if code == NO_DATA and "--strict" not in sys.argv else code)
