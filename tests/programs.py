"""Tests that need a process of their own: to fork, to be killed, to end in whatever way."""

import os
import subprocess
import sys
import textwrap

NEVER_CLOSES = """
import asyncio, sys, threading
from cachecore.registry import make_backend

backend = make_backend(sys.argv[1], awaited=sys.argv[2] == "True")
ready = threading.Event()

def use():
    while True:
        backend.get(["races:end"])
        ready.set()

if sys.argv[2] == "True":
    async def main():
        await asyncio.gather(*(backend.get(["races:end"]) for _ in range(5)))
    asyncio.run(main())
else:
    backend.get(["races:end"])
    threading.Thread(target=use, daemon=True).start()
    ready.wait()
"""
"""Uses the backend at a location, awaited or not (True or False), and ends without closing it."""


def run(script: str, *arguments: str) -> None:
    """Run a program in a process of its own, which must end well and print nothing on its standard error."""
    # From Python 3.12 on it warns whoever forks while there are threads, which is what some try here.
    flags = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
