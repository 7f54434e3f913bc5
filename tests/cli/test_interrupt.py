"""Ctrl-C on a terminal reaches the bridge and its embedded server at once; both end cleanly."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from bridge.cli.platform import _Child
from bridge.cli.terminal import Exit
from bridge.daemon import SystemClock, Worker

TIMEOUT_S = 60.0


def test_the_embedded_server_stops_after_its_parent(tmp_path: Path) -> None:
    """As a child it leaves Ctrl-C to its parent, and ends without noise when its input closes."""
    serve = ("serve", "--folder", str(tmp_path), "--port", "0", "--until-stdin-closes")
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", *serve],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdin.write("still here\n")
        process.stdin.flush()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(TIMEOUT_S) == Exit.OK
        assert process.stderr.read() == ""


def test_sigterm_ends_it_while_its_input_is_open(tmp_path: Path) -> None:
    """A thread that still waits for input does not keep the interpreter from ending."""
    serve = ("serve", "--folder", str(tmp_path), "--port", "0", "--until-stdin-closes")
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", *serve],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(TIMEOUT_S) == Exit.OK
        assert process.stderr.read() == ""


def test_the_demonstration_ends_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    """What `make run` starts says that it stops, and nothing that would worry anybody."""
    demo = ("demo", "--folder", str(tmp_path / "var"), "--http-port", "0", "--seconds", "1")
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "bridge", *demo],
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if "running until Ctrl-C" in line:
                break
        os.killpg(process.pid, signal.SIGINT)
        process.stdout.read()
        code = process.wait(TIMEOUT_S)
    said = log.read_text(encoding="utf-8")
    assert code == Exit.OK, said
    assert "Fatal" not in said
    assert "Traceback" not in said


def test_ctrl_c_waits_in_processes_that_have_just_been_started(tmp_path: Path) -> None:
    """Before Python can ignore it, it would end them with a traceback on the terminal."""

    def blocked(pid: int) -> bool:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        (mask,) = [line.split()[1] for line in lines if line.startswith("SigBlk:")]
        return bool(int(mask, 16) >> signal.SIGINT - 1 & 1)

    with Worker(1, clock=SystemClock(), lock=None) as worker:
        assert blocked(worker.pid)
    child = _Child(tmp_path / "embedded", 0)
    with child:
        assert child._process is not None
        assert blocked(child._process.pid)
    assert not blocked(os.getpid())
