"""Processes and a folder that cannot outlive the one who started them.

Theory of operation
-------------------
A guard, a shell that only reads from a pipe, leads a process group of its own, and servers are started into that group.
When the pipe ends, because `ProcessGroup.end` closed it or because this process is gone in whatever way, the guard
removes the folder and kills its whole group, itself included. Processes that left the group are killed if they
were named last, on a line of the pipe. So nothing is left after a ``kill -9`` of the tests; no
process number can have been given to another process meanwhile, since a group's number is not reused while the guard
is in it; and unlike PR_SET_PDEATHSIG it does not matter which thread started a server. The guard is started
first: a process that cannot join its group does not start. A keyboard interrupt does not reach the group.

A forked child does not own the group: it closes its copy of the pipe and leaves the servers alone.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_GUARD = """
trap "" HUP INT TERM
strays=
while read -r line; do strays=$line; done
rm -rf -- "$1"
kill -KILL $strays 0
"""

_open_groups: weakref.WeakSet["ProcessGroup"] = weakref.WeakSet()


class ProcessGroup:
    """A temporary folder and a group of processes, both gone after `end`, or when this process is."""

    def __init__(self, prefix: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._owner = os.getpid()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            process_group=0,
        )
        _open_groups.add(self)

    def start(
        self,
        command: Sequence[str],
        output: IO[bytes],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in the folder, with both its outputs to a file; as another user if this one may do so."""
        self._processes = [process for process in self._processes if process.poll() is None]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", **(environment or {})},
            process_group=self._guard.pid,
            user=user,
            group=None if user is None else _group_of(user),
            extra_groups=None if user is None else [],
        )
        self._processes.append(process)
        return process

    def name_strays(self, pids: Sequence[int]) -> None:
        """Kill these too in the end, instead of those named before. Until others are named they must live."""
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%s\n" % " ".join(map(str, pids)).encode())
        self._guard.stdin.flush()

    def end(self) -> None:
        """Kill what still runs, and remove the folder. Ending twice is allowed; a forked child ends nothing."""
        if self._owner != os.getpid():
            return
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        for process in self._processes:
            process.wait()
        _open_groups.discard(self)
        # What a dying server still wrote after the guard had removed the folder.
        shutil.rmtree(self.folder, ignore_errors=True)

    def let_go(self) -> None:
        """In a forked child: these processes are the parent's."""
        for process in (self._guard, *self._processes):
            process.returncode = 0
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError):
            self._guard.stdin.close()


def _group_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid


def _after_fork_in_child() -> None:
    for group in list(_open_groups):
        group.let_go()


os.register_at_fork(after_in_child=_after_fork_in_child)
