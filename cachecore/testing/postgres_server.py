"""A real PostgreSQL server for tests: quick, and without any care for the disk."""

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from cachecore.testing.server_base import HOST, Server, ServerFailed, ServerMissing


class PostgresServer(Server):
    """A PostgreSQL server on TCP only, whose superuser "postgres" needs no password.

    ``options``: settings of postgresql.conf, such as {"max_connections": "50"}. It does not run as root: root starts it
    as the user "postgres" or "nobody".
    """

    program: ClassVar[str] = "postgres"
    package: ClassVar[str] = "postgresql"
    # Not SIGTERM, which waits until every client has gone.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.options = dict(options or {})
        self._initdb = self.find_program("initdb")

    @property
    def dsn(self) -> str:
        """For a driver: "host=... port=... dbname=postgres user=postgres"."""
        return f"host={self.host} port={self.port} dbname=postgres user=postgres"

    @property
    def url(self) -> str:
        """The same as a URL."""
        return f"postgresql://postgres@{self.host}:{self.port}/postgres"

    # -- as a Server -----------------------------------------------------------------------------------

    @classmethod
    def find_program(cls, name: str) -> str:
        # Debian keeps each version's programs in a folder of its own, off the PATH.
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(3))
        for folder in reversed(versions):
            if (folder / name).exists():
                return str(folder / name)
        return super().find_program(name)

    def user(self) -> str | None:
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                pwd.getpwnam(name)
            except KeyError:
                continue
            return name
        raise ServerMissing('PostgreSQL does not run as root, and there is neither a user "postgres" nor "nobody"')

    def command(self) -> Sequence[str]:
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        settings = {
            "port": str(self.port),
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            # In its folder, where nothing of it is left after a kill.
            "dynamic_shared_memory_type": "mmap",
            **self.options,
        }
        return [self._program, "-D", str(self.data), *(f"--{name}={value}" for name, value in settings.items())]

    def is_ready(self) -> bool:
        # The file by which pg_ctl waits: its first line is the process, its eighth the state.
        lines = (self.data / "postmaster.pid").read_text().split("\n")
        return lines[0] == str(self.pid) and len(lines) > 7 and lines[7].strip() == "ready"

    def close(self) -> None:
        # One that is killed leaves 56 bytes of System V shared memory, of which a system has only so many.
        self.stop()
        super().close()

    def processes(self) -> list[int]:
        # The sessions too: they are processes of their own, and go on while the first one is paused.
        pid = self.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]

    def _initialise(self) -> None:
        assert self._group is not None
        shutil.rmtree(self.data)
        command = [self._initdb, "-D", str(self.data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        with self.log.open("ab") as output:
            made = self._group.start([*command, "--no-locale"], output, user=self.user())
            try:
                status = made.wait(60)
            except subprocess.TimeoutExpired:
                made.kill()
                status = made.wait()
        if status != 0:
            raise ServerFailed(f"initdb failed: ...{self.log.read_text(errors='replace')[-2000:]}")
