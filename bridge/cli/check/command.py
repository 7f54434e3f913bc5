"""`mosaico-bridge check`: would the bridge work here, with these settings? Changes nothing."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from bridge.cli.check import Finding, Grade, fail, ok, warn, worst
from bridge.cli.check.machine import check_machine
from bridge.cli.options import (
    AsJson,
    ConfigFile,
    Host,
    HttpPort,
    ServerPort,
    StateFolder,
    WatchFolder,
    source,
)
from bridge.cli.terminal import Exit, cell, line_break, print_json, show, table
from bridge.config import Settings, load_settings
from bridge.errors import ConfigError
from bridge.facade import later

# Needs Arrow Flight, half of what `check` takes to start.
server = later("bridge.cli.check.server")

# So that both groups of findings stand in the same columns.
GRADE_WIDTH = len(Grade.FAIL)
NAME_WIDTH = len("message compression")
STYLES = {Grade.OK: "green", Grade.WARN: "yellow", Grade.FAIL: "bold red"}


def check(
    config: ConfigFile = None,
    folder: WatchFolder = None,
    state: StateFolder = None,
    host: Host = None,
    port: ServerPort = None,
    http_port: HttpPort = None,
    json: AsJson = False,
) -> int:
    """Check this machine, the settings, the platform and the key.

    Looks at settings and key files, every watched folder and where recordings go from there,
    watches, the state folder and its file system, journal, disks, clock, definitions and port;
    asks the platform for its revision, its message limit and what the key permits. Changes nothing.

    Run it as the bridge's user. Exits with 78 on bad settings, 77 when the platform refuses, 69
    when it does not answer, 1 when anything else fails, 0 when at most there are warnings.
    """
    overrides: dict[str, object] = {
        "watch.folder": folder,
        "state.folder": state,
        "server.host": host,
        "server.port": port,
        "http.port": http_port,
    }
    findings: list[Finding] = []
    for group in _groups(config, overrides):
        if not json:
            # At once: a platform that does not answer is waited for.
            _print(group, header=not findings)
            sys.stdout.flush()
        findings += group
    if json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    return worst(findings)


def _groups(config: Path | None, overrides: dict[str, object]) -> Iterator[list[Finding]]:
    """Give what is found on this machine, then what the platform says."""
    try:
        settings: Settings = load_settings(config, overrides)
    except ConfigError as error:
        yield [fail("configuration", error.message, hint=error.hint, code=Exit.BAD_CONFIG)]
        return
    here = [ok("configuration", source(config, settings)), *check_machine(settings, file=config)]
    if settings.uses_embedded_server:
        here.append(
            warn(
                "server",
                "no platform is configured: recordings stay on this machine",
                hint="set server.host",
            )
        )
    yield here
    if not settings.uses_embedded_server:
        yield list(server.check_server(settings))


def _print(findings: list[Finding], *, header: bool) -> None:
    made = table([("", "left"), ("what", "left"), ("found", "fold")])
    made.show_header = header
    for finding in findings:
        hint = f"{line_break()}[bold]hint:[/] {cell(finding.hint)}" if finding.hint else ""
        made.add_row(
            f"[{STYLES[finding.grade]}]{finding.grade:{GRADE_WIDTH}}[/]",
            cell(f"{finding.name:{NAME_WIDTH}}"),
            cell(finding.detail) + hint,
        )
    show(made)
