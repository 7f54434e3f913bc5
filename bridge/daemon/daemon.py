"""The daemon as the command line and tests hold it: run it, stop it, ask how it is."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from bridge.config import Settings
from bridge.daemon.dispose.proof import Prove
from bridge.daemon.events.events import DaemonObserver, Observers
from bridge.daemon.events.status import DaemonStatus
from bridge.daemon.journal.clock import Clock, SystemClock
from bridge.daemon.loop import Loop
from bridge.daemon.wakeup import Wakeup
from bridge.daemon.watch.open_files import WriterCheck, writer_of
from bridge.daemon.work.process import WORKER_COMMAND


class Daemon:
    """Puts recordings onto the platform for as long as it runs.

    Args:
        settings: All settings.
        server: Host and port of the platform, or what gives them when they are needed; it may
            raise OSError or BridgeError while there is none.
        observer: Hears of everything that happens.
        clock: Where the time comes from.
        worker_command: What to run as worker.
        check_writer: How to find out whether somebody writes a file.
        reload: Reads the settings again, on SIGHUP, between two turns of the loop; gives those
            to go on with, or None. Without it SIGHUP means what it means to any process.
        prove: How to ask whether the platform holds sequences whole, from a thread; by default
            over a connection of its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        server: tuple[str, int] | Callable[[], tuple[str, int]],
        observer: DaemonObserver | None = None,
        clock: Clock | None = None,
        worker_command: Sequence[str] = WORKER_COMMAND,
        check_writer: WriterCheck = writer_of,
        reload: Callable[[], Settings | None] | None = None,
        prove: Prove | None = None,
    ) -> None:
        self._settings = settings
        self._server = server
        self._observer = observer or Observers()
        self._clock = clock or SystemClock()
        self._worker_command = tuple(worker_command)
        self._check_writer = check_writer
        self._reload = reload
        self._prove = prove
        self._reload_asked = False
        # Replaced as a whole, so that any thread may read it.
        self._status: DaemonStatus | None = None
        self._wakeup: Wakeup | None = None
        # A stop that comes before the start.
        self._stopped: dict[str, bool] | None = None

    @property
    def status(self) -> DaemonStatus | None:
        """The latest snapshot, or None before the start; may be read from any thread."""
        return self._status

    @property
    def can_reload(self) -> bool:
        """Whether SIGHUP makes it read its settings again."""
        return self._reload is not None

    def run(self) -> None:
        """Work until stopped; SIGTERM and SIGINT stop it when called in the main thread.

        Raises:
            JournalError: The journal cannot be opened, or belongs to another bridge.
        """
        with self._looping() as loop:
            while not loop.finished():
                self._status = loop.turn()
                self._take_settings(loop)

    def run_once(self) -> DaemonStatus:
        """Work until nothing is left that can be done now, then return how things are.

        Recordings that somebody still writes, and all of them while the platform is away, are
        left for another time; what waits for a retry is waited for.

        Raises:
            JournalError: The journal cannot be opened, or belongs to another bridge.
        """
        with self._looping() as loop:
            while not loop.finished() and not loop.nothing_to_do():
                self._status = loop.turn()
            self._status = loop.status()
            return self._status

    def stop(self, *, drain: bool = True) -> None:
        """Make `run` return soon; safe from any thread and from a signal handler.

        Args:
            drain: Give recordings in work the configured time to finish; else break them off.
        """
        self._stopped = {"drain": drain}
        if self._wakeup is not None:
            self._wakeup.stop(drain=drain)

    def hang_up(self) -> None:
        """Make the daemon read its settings again; safe from any thread and signal handler."""
        self._reload_asked = True
        self.wake()

    def _take_settings(self, loop: Loop) -> None:
        if not self._reload_asked or self._reload is None:
            return
        self._reload_asked = False
        settings = self._reload()
        if settings is not None:
            self._settings = settings
            loop.adopt(settings)

    def wake(self) -> None:
        """Make the loop look at the folder and the requests now; safe from anywhere."""
        if self._wakeup is not None:
            self._wakeup.wake()

    @contextlib.contextmanager
    def _looping(self) -> Iterator[Loop]:
        server = self._server
        wakeup = self._wakeup = Wakeup()
        if self._stopped is not None:
            wakeup.stop(**self._stopped)
        with (
            contextlib.closing(wakeup),
            _stopping_on_signals(self),
            Loop(
                self._settings,
                address=server if callable(server) else lambda: server,
                observer=self._observer,
                clock=self._clock,
                worker_command=self._worker_command,
                check_writer=self._check_writer,
                wakeup=wakeup,
                prove=self._prove,
            ) as loop,
        ):
            yield loop


@contextlib.contextmanager
def _stopping_on_signals(daemon: Daemon) -> Iterator[None]:
    """Stop on SIGTERM and SIGINT, the second time without draining; main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        daemon.stop(drain=not seen)
        seen.append(number)

    def hang_up(_number: int, _frame: FrameType | None) -> None:
        daemon.hang_up()

    handlers: dict[int, Callable[[int, FrameType | None], None]]
    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if daemon.can_reload:
        handlers[signal.SIGHUP] = hang_up
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
