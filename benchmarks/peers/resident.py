"""``python -m benchmarks.peers.resident NAME ENTRIES``: the bytes an entry of one map of `benchmarks.peers.maps`.

What is printed is by how much the resident memory of this fresh process grows, an entry: keys and values were there
before. A quarter more keys than fit go through the map, so that it has evicted as in use.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.maps import OTHERS, Map, Ours, keys_of


def resident_bytes(kind: type[Map], entries: int) -> float:
    """Bytes an entry, measured in a process of its own."""
    command = [sys.executable, "-m", __name__, kind.name, str(entries)]
    root = Path(__file__).resolve().parent.parent.parent
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    return float(done.stdout)


def _resident() -> int:
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _measured(kind: type[Map], entries: int) -> float:
    keys = keys_of(entries * 5 // 4)
    kind(10).fill(keys[:100])  # its code is loaded
    before = _resident()
    filled = kind(entries)
    filled.fill(keys)
    return (_resident() - before) / len(filled)


if __name__ == "__main__":
    kinds: list[type[Map]] = [Ours, *OTHERS]
    [asked] = [kind for kind in kinds if kind.name == sys.argv[1]]
    print(_measured(asked, int(sys.argv[2])))
