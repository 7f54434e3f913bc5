"""Every command, where its code is, and the help page that lists them.

Nothing of ours is imported here, so that `mosaico-bridge --help` costs little more than Python, and
a command only what it uses. Tests hold the page against the commands and options that there are.
"""

import errno

UNWRITABLE = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})
"""What a reader that went away, a full disk or a broken one answers; never a fault of ours."""

COMMANDS: dict[str, tuple[str, str]] = {
    "run": (
        "bridge.cli.run:run",
        "Put every complete recording of a folder onto the platform",
    ),
    "once": (
        "bridge.cli.run:once",
        "Ingest what is in the folder now, wait for retries, then exit",
    ),
    "ingest": (
        "bridge.cli.ingest:ingest",
        "Put recordings onto the platform now, one after the other",
    ),
    "backfill": (
        "bridge.cli.backfill:backfill",
        "Put an archive onto the platform, from a folder or a store",
    ),
    "inspect": (
        "bridge.cli.inspect:inspect",
        "Show the topics of a recording, how each would be mapped",
    ),
    "status": (
        "bridge.cli.status:status",
        "Show what the bridge is doing, what waits and why",
    ),
    "explain": (
        "bridge.cli.explain:explain",
        "Say which completeness rule a recording meets",
    ),
    "retry": (
        "bridge.cli.retry:retry",
        "Put recordings back into the queue, with all attempts",
    ),
    "forget": (
        "bridge.cli.retry:forget",
        "Take recordings out of the journal",
    ),
    "verify": (
        "bridge.cli.verify:verify",
        "Compare the platform with the journal",
    ),
    "check": (
        "bridge.cli.check.command:check",
        "Check this machine, the settings, the platform and the key",
    ),
    "demo": (
        "bridge.cli.demo.command:demo",
        "Record a sample drive and watch it arrive",
    ),
    "serve": (
        "bridge.cli.serve:serve",
        "Serve a local, Mosaico-compatible platform from a folder",
    ),
    "install-files": (
        "bridge.cli.install_files:install_files",
        "Write units, settings, examples, monitoring, documents",
    ),
    "notifications": (
        "bridge.cli.notifications:notifications",
        "Show the notifications of the platform",
    ),
    "config": (
        "bridge.cli.config:config",
        "Show the settings in force, or everything that can be set",
    ),
}
"""Name of the command -> module and name of its function, and the first words of its help."""

OPTIONS = {
    "--version": "Show the version.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Show completion for the current shell.",
    "-h, --help": "Show this message and exit.",
}

ABOUT = """\
Puts ROS 2 bags from a data logger onto the Mosaico data platform: typed,
verified, exactly once."""


def help_page() -> str:
    """Give what `mosaico-bridge --help` prints."""
    return "\n".join(
        (
            "Usage: mosaico-bridge [OPTIONS] COMMAND [ARGS]...",
            "",
            *(f"  {line}" for line in ABOUT.splitlines()),
            "",
            "Options:",
            *_columns(OPTIONS),
            "",
            "Commands:",
            *_columns({name: summary for name, (_, summary) in COMMANDS.items()}),
        )
    )


def _columns(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:<{width}}  {text}" for name, text in rows.items()]
