"""`mosaico-bridge check`: would the bridge work here, with these settings? Changes nothing."""

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
    findings = list(_findings(config, overrides))
    if json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    return worst(findings)


def _findings(config: Path | None, overrides: dict[str, object]) -> Iterator[Finding]:
    try:
        settings: Settings = load_settings(config, overrides)
    except ConfigError as error:
        yield fail("configuration", error.message, hint=error.hint, code=Exit.BAD_CONFIG)
        return
    yield ok("configuration", source(config, settings))
    yield from check_machine(settings, file=config)
    if settings.uses_embedded_server:
        yield warn(
            "server",
            "no platform is configured: recordings stay on this machine",
            hint="set server.host",
        )
    else:
        yield from server.check_server(settings)


def _print(findings: list[Finding]) -> None:
    made = table([("", "left"), ("what", "left"), ("found", "fold")])
    for finding in findings:
        hint = f"{line_break()}[bold]hint:[/] {cell(finding.hint)}" if finding.hint else ""
        made.add_row(
            f"[{STYLES[finding.grade]}]{finding.grade}[/]",
            cell(finding.name),
            cell(finding.detail) + hint,
        )
    show(made)
