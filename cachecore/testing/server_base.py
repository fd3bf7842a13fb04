"""What all real servers of the tests have in common: a port, a life, and a death of any kind."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import ClassVar, Self

from cachecore.errors import CachecoreError
from cachecore.testing.server_group import ProcessGroup

HOST = "127.0.0.1"
START_SECONDS = 10.0
"""How long a server may take until it answers."""
PROBE_SECONDS = 0.5
"""How long it is asked at a time whether it answers: who has its port may be somebody else, who never does."""
STOP_SECONDS = 5.0
"""How long a server may take to end when it is asked to; then it is killed."""

# Below the ports that a system gives to outgoing connections, so that nobody takes the port of a server that is down
# for a moment. Not the `random` module's own generator: test runners seed it alike in every process.
_PORTS = range(12_000, 32_000)
_random = SystemRandom()


class ServerMissing(CachecoreError):
    """The server's program is not installed, or cannot do what is asked; the message says how to install it."""


class ServerFailed(CachecoreError):
    """The server did not start or ended by itself; the message holds the end of its log."""


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A loopback port nobody listens on now; another may take it before its user does."""
    return next(port for port in iter(lambda: _random.choice(_PORTS), None) if is_free(port))


def wait_until(seconds: float, what: str, pause: float = 0.01) -> Iterator[None]:
    """For a loop that tries something until it works: raises ServerFailed, naming it, after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(pause)
    raise ServerFailed(f"waited {seconds:g} s in vain until {what}")


class Server:
    """One server process on a loopback port, with its data in a temporary folder.

    As a context manager it is started on entry, and on exit nothing is left of it. `start` and `stop` may be used
    instead; the folder then lives until `close`, or until this object or process ends.

    Raises ServerMissing when it is made and its program is not installed.
    """

    program: ClassVar[str]
    package: ClassVar[str]
    """The package of Debian and Ubuntu that has the program."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    host: str = HOST

    def __init__(self) -> None:
        self._program = self.find_program(self.program)
        self._group: ProcessGroup | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    # -- what each kind of server says ------------------------------------------------------------------

    @classmethod
    def find_program(cls, name: str) -> str:
        """The path of a program. Raises ServerMissing."""
        found = shutil.which(name)
        if found is None:
            raise ServerMissing(f"{name} is not installed; try: apt-get install {cls.package}")
        return found

    def command(self) -> Sequence[str]:
        """The command that starts it on its port; its files are in its folder."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether this very process answers, and not another on its port. OSError means: not yet."""
        raise NotImplementedError

    def user(self) -> str | None:
        """The user that it must run as; None: this one."""
        return None

    def processes(self) -> list[int]:
        """The numbers of all its processes, the first one's first."""
        return [self.pid]

    # -- what a test asks ----------------------------------------------------------------------------------

    @property
    def folder(self) -> Path:
        """Its temporary folder."""
        if self._group is None:
            raise ServerFailed(f"{self} was never started")
        return self._group.folder

    @property
    def data(self) -> Path:
        """Where it keeps its data, which `restart` can remove."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What it printed, since it was first started."""
        return self.folder / "log"

    @property
    def port(self) -> int:
        """Its port, the same for its whole life."""
        if self._port is None:
            raise ServerFailed(f"{self} was never started")
        return self._port

    @property
    def pid(self) -> int:
        """The number of its process."""
        if self._process is None or self._process.poll() is not None:
            raise ServerFailed(f"{self} does not run")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it runs, paused or not."""
        return self._process is not None and self._process.poll() is None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self._port or 'not started'}>"

    # -- its life ------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it and return it when it answers. Raises ServerFailed. Nothing happens if it runs."""
        if self.is_running:
            return self
        if self._group is None:
            self._group = ProcessGroup(f"cachecore-{self.program}-")
            weakref.finalize(self, self._group.end)
        for _ in wait_until(START_SECONDS, f"{self} found its port free"):
            if self._attempt():
                return self
        raise AssertionError

    def stop(self) -> None:
        """Ask it to end and wait until it has; a paused one too."""
        if self._process is not None and self._process.poll() is None:
            self._signal(self.stop_signal)
            self.resume()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it as a crash does (SIGKILL), and wait until it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self.resume()

    def pause(self) -> None:
        """Let it hang (SIGSTOP): connections stay, and new ones are made, but nothing is answered."""
        assert self._group is not None
        self._signal(signal.SIGSTOP)
        # Threads that are at work finish what they do; the process has stopped when the last of them has.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        # A child with a session of its own hangs too, and then does not notice that its parent is gone.
        self._group.name_strays(self.processes()[1:])

    def resume(self) -> None:
        """End a pause (SIGCONT)."""
        assert self._group is not None
        self._group.name_strays([])
        self._signal(signal.SIGCONT)

    def restart(self, keep_data: bool = True) -> Self:
        """Stop it, unless it is down, and start it on the same port; without its data if ``keep_data`` is False."""
        self.stop()
        if not keep_data and self.data.exists():
            shutil.rmtree(self.data)
        return self.start()

    def close(self) -> None:
        """End it, whatever state it is in, and remove its folder. Closing twice is allowed."""
        if self._group is not None:
            self.kill()
            self._group.end()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- starting ------------------------------------------------------------------------------------------

    def _attempt(self) -> bool:
        """Start it once. False if somebody else has its port."""
        assert self._group is not None
        port_was_ours = self._port is not None
        if self._port is None:
            self._port = free_port()
        self.data.mkdir(exist_ok=True)
        user = self.user()
        if user is not None:
            for folder in (self.folder, self.data):
                shutil.chown(folder, user)
        with self.log.open("ab") as output:
            printed_before = output.tell()
            self._process = self._group.start(self.command(), output, user=user)
        try:
            for _ in wait_until(START_SECONDS, f"{self} answered"):
                if self._process.poll() is not None:
                    return self._ended_at_once(printed_before, port_was_ours)
                with contextlib.suppress(OSError):
                    if self.is_ready():
                        return True
        except BaseException:
            self.kill()
            raise
        raise AssertionError

    def _ended_at_once(self, printed_before: int, port_was_ours: bool) -> bool:
        printed = self.log.read_bytes()[printed_before:].decode(errors="replace")
        if "in use" in printed or not is_free(self.port):
            # A port it has told others must stay: whoever has it may go. Otherwise there are others.
            self._port = self._port if port_was_ours else None
            return False
        assert self._process is not None
        raise ServerFailed(f"{self} ended with status {self._process.returncode}: ...{printed[-2000:]}")

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
