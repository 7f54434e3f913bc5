"""The commands as a person or a script uses them: real processes, output, exit codes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from bridge.cli import write_drive
from bridge.client import MosaicoClient

START_NS = 1_760_000_000_000_000_000


def bridge(*arguments: str | Path, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bridge", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bags")
    return write_drive(folder, name="drive", start_ns=START_NS, duration_s=1.0)


@pytest.mark.parametrize("command", ["run", "once", "ingest", "inspect", "serve", "demo", "config"])
def test_every_command_explains_itself(command: str) -> None:
    """`--help` works and says something for each command."""
    done = bridge(command, "--help")

    assert done.returncode == 0
    assert len(done.stdout.splitlines()) > 5


def test_ingest_reports_each_recording_and_says_that_the_server_is_embedded(
    drive: Path, tmp_path: Path
) -> None:
    """The embedded server is used when asked for; the table shows every topic."""
    done = bridge("ingest", drive, "--embedded", "--state", tmp_path)

    assert done.returncode == 0
    assert "embedded server" in done.stderr
    assert "sensor_msgs/msg/Imu" in done.stdout
    assert "FrameTransform" in done.stdout


def test_ingest_as_json_is_one_document(drive: Path, tmp_path: Path) -> None:
    """A script can read what became of every topic."""
    done = bridge("ingest", drive, "--embedded", "--state", tmp_path, "--json", "--name", "{stem}")
    (report,) = json.loads(done.stdout)["reports"]

    assert report["sequence"] == "drive"
    assert report["complete"]
    assert report["messages_sent"] == sum(topic["messages_sent"] for topic in report["topics"])


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty"), (b"this is no bag\n", "text"), (bytes(range(256)) * 4, "not")],
    ids=["empty", "text", "noise"],
)
def test_a_file_that_is_no_bag_is_an_error_and_the_next_is_still_sent(
    drive: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    """The error names the file and the reason; the good recording arrives all the same."""
    bad = tmp_path / "bad.mcap"
    bad.write_bytes(content)
    done = bridge("ingest", bad, drive, "--embedded", "--state", tmp_path / "state")

    assert done.returncode == 65
    assert "bad.mcap" in done.stderr
    assert said in done.stderr
    assert "sensor_msgs/msg/Imu" in done.stdout


def test_a_recording_that_arrives_in_part_has_its_own_exit_code(
    drive: Path, tmp_path: Path
) -> None:
    """A file cut in the middle is salvaged; the exit code and the lines say it is not all."""
    whole = next(drive.glob("*_0.mcap")).read_bytes()
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    done = bridge("ingest", cut, "--embedded", "--state", tmp_path / "state")

    assert done.returncode == 3
    assert "lost" in done.stdout
    assert bridge("inspect", cut).returncode == 3


def test_an_unreachable_platform_has_its_own_exit_code(drive: Path, tmp_path: Path) -> None:
    """A script can tell that trying later will help."""
    done = bridge("ingest", drive, "--host", "127.0.0.1", "--port", "1", "--state", tmp_path)

    assert done.returncode == 69
    assert "127.0.0.1:1" in done.stderr


def test_bad_configuration_has_its_own_exit_code(tmp_path: Path) -> None:
    """The service manager can be told not to restart on it."""
    file = tmp_path / "bridge.toml"
    file.write_text("[watch]\nfodler = 'x'\n", encoding="utf-8")
    done = bridge("run", "--config", file)

    assert done.returncode == 78
    assert "watch.fodler" in done.stderr


def test_inspect_tells_what_would_happen_without_a_platform(drive: Path) -> None:
    """Topics, types, counts and outcomes, as a table or as JSON."""
    done = bridge("inspect", drive, "--json")
    seen = json.loads(done.stdout)
    by_name = {topic["name"]: topic for topic in seen["topics"]}

    assert done.returncode == 0
    assert seen["healthy"]
    assert by_name["/imu/data"]["messages"] == 100
    assert by_name["/imu/data"]["ontology_tag"] == "IMU"
    assert by_name["/diagnostics"]["outcome"] == "generic"
    assert "MotionState" in bridge("inspect", drive).stdout


def on_terminal(*arguments: str | Path) -> str:
    """Run a command whose standard error is a terminal, and give what it showed there."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "bridge", *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
    with subprocess.Popen(
        command, stderr=follower, stdout=subprocess.DEVNULL, env=environment
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
    os.close(leader)
    assert process.returncode == 0
    return shown.decode()


def test_progress_is_bars_on_a_terminal(tmp_path: Path) -> None:
    """On a terminal bars of files, bytes and topics are redrawn; in a pipe are plain lines only."""
    first, second = (
        write_drive(tmp_path, name=name, start_ns=START_NS + number * 10**12, duration_s=2.0)
        for number, name in enumerate(("first", "second"))
    )
    shown = on_terminal("ingest", first, second, "--embedded", "--state", tmp_path / "state")
    piped = bridge("ingest", first, "--embedded", "--state", tmp_path / "other").stderr
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)

    assert "\x1b[" in shown
    assert re.search(r"recordings .* [12]/2", plain)
    assert re.search(r"second_\w+ .* MB .* messages", plain)
    assert re.search(r"/imu/data .* of 200 messages", plain)
    assert "\x1b[" not in piped
    assert "sending" in piped


def test_serve_keeps_its_data_over_a_restart(drive: Path, tmp_path: Path) -> None:
    """What was ingested into a server is there when the server is started again."""
    for attempt in range(2):
        command = [sys.executable, "-m", "bridge", "serve", "--folder", str(tmp_path)]
        with subprocess.Popen(
            [*command, "--port", "0"], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().rsplit(":", 1)[1])
            if attempt == 0:
                done = bridge(
                    "ingest", drive, "--host", "127.0.0.1", "--port", str(port), "--name", "kept",
                    "--state", tmp_path / "state",
                )  # fmt: skip
                assert done.returncode == 0
            with MosaicoClient.connect("127.0.0.1", port) as client:
                assert client.list_sequences() == ["kept"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0


def test_demo_shows_what_arrived_and_where_to_look(tmp_path: Path) -> None:
    """The demonstration ingests its drive, prints it, and serves metrics until it is stopped."""
    command = [sys.executable, "-m", "bridge", "demo", "--folder", str(tmp_path / "var")]
    with subprocess.Popen(
        [*command, "--http-port", "0", "--seconds", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or "until Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        (url,) = (line.split()[-1] for line in lines if line.startswith("metrics"))
        metrics = urllib.request.urlopen(url).read().decode()
        process.send_signal(signal.SIGINT)
        code = process.wait(60)

    shown = "".join(lines)
    assert code == 0
    for tag in (
        "IMU",
        "GPS",
        "MotionState",
        "FrameTransform",
        "RobotJoint",
        "Image",
        "PointCloud2",
    ):
        assert tag in shown
    assert "mosaico_bridge_" in metrics
    assert len(list((tmp_path / "var" / "recordings").rglob("*.mcap"))) == 3


def test_demo_never_empties_a_folder_of_somebody_else(tmp_path: Path) -> None:
    """A folder that the demonstration did not make is refused and left as it is."""
    (tmp_path / "precious").write_text("x", encoding="utf-8")
    done = bridge("demo", "--folder", tmp_path, "--exit")

    assert done.returncode == 1
    assert (tmp_path / "precious").exists()


def test_errors_as_json_hold_nothing_of_a_librarys(tmp_path: Path) -> None:
    """The body of an error has its name, its sentence and its hint, and facts of ours."""
    done = bridge("status", "--json", "--state", tmp_path / "none", "--http-port", "1")
    body = json.loads(done.stdout)
    assert done.returncode == 1
    assert body.keys() == {"error", "message", "hint"}
    assert body["error"] == "JournalError"


def test_findings_as_json_say_which_exit_code_each_leads_to(tmp_path: Path) -> None:
    """What is well leads to none, whatever else fails."""
    done = bridge("check", "--json", "--folder", tmp_path / "none", "--state", tmp_path / "state")
    findings = json.loads(done.stdout)["findings"]
    assert {one["exit"] for one in findings if one["grade"] != "fail"} == {0}
    assert {one["exit"] for one in findings if one["grade"] == "fail"} == {1}


def test_a_terminal_that_knows_only_ascii_is_no_obstacle() -> None:
    """What it cannot show becomes a question mark."""
    say = r"from bridge.cli.terminal import out; out.print('caf\u00e9', '\ufffd')"
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", say], capture_output=True, check=False, env=os.environ | locale
    )

    assert (done.returncode, done.stdout) == (0, b"caf? ?\n"), done.stderr
