"""Bytes that a stranger may have written, fed to everything that reads such: `tests.fuzz` says what must hold."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cachecore.backends.redis.replies import ENTRY, read_identity
from cachecore.backends.redis.resp import Garbled
from cachecore.backends.redis.settings import Address
from cachecore.backends.redis.slots import read_slots
from cachecore.backends.redis.wire import Wire
from cachecore.entries import MAGIC, Hold, Unusable, decode_entry
from tests.fuzz.corpus import FOLDER, kept, smallest
from tests.fuzz.target import Target, edited
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent
MOST_BYTES = 300_000
"""Of the whole corpus in the repository."""

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


@each_target
def test_the_kept_corpus_passes_and_comes_out_in_every_way(target: Target) -> None:
    """No kept input fails, and together with the seeds they reach every outcome: no check is idle."""
    assert {target.check(data) for data in (*kept(target.name), *target.seeds)} == target.outcomes


@each_target
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_the_bytes(target: Target, data: st.DataObject) -> None:
    """Arbitrary bytes, and seeds and kept inputs after a few edits, are taken as what they are."""
    start = data.draw(st.sampled_from([b"", *target.seeds, *kept(target.name)]))
    if data.draw(st.booleans()):
        target.check(edited(start, data.draw(st.binary(max_size=12))))
    else:
        target.check(start[:1] + data.draw(st.binary(max_size=200)))


def test_the_corpus_is_small() -> None:
    """The kept corpus is of the size that a repository bears, and of no target that is gone."""
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES
    assert {path.stem for path in FOLDER.iterdir()} == set(TARGETS)


def test_an_input_is_kept_for_what_it_reaches() -> None:
    """The smallest corpus reaches every outcome of a larger one with fewer inputs."""
    target = TARGETS["entry"]
    inputs = [*target.seeds, *(seed + b"?" for seed in target.seeds)]
    chosen = smallest(target, inputs)
    assert {target.check(data) for data in chosen} == {target.check(data) for data in inputs}
    assert len(chosen) < len(inputs) / 2


def test_the_command_fuzzes() -> None:
    """``python -m tests.fuzz`` tries about as many inputs as it is told, where its engine is installed."""
    pytest.importorskip("atheris", reason="pip install atheris")
    command = [sys.executable, "-m", "tests.fuzz", "entry", "--runs", "500"]
    ended = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert re.search(r"entry: 5\d\d inputs in \d+ s, 0 failed", ended.stdout), ended.stdout + ended.stderr
    assert ended.returncode == 0


# -- found -----------------------------------------------------------------------------------------


def test_a_hold_without_a_real_deadline_is_corrupt() -> None:
    """A hold with NaN for a deadline would never have passed and yet protect no writer: it is no hold."""
    head = MAGIC + b"\x01" + b"server01" + b"h"
    good, bad = b"writer-1" + bytes(8), b"writer-2" + b"\x7f\xf8" + bytes(6)
    assert decode_entry(head + good, b"server01") == Hold(((b"writer-1", 0.0),))
    assert decode_entry(head + good + bad, b"server01") == Unusable("corrupt", head + good + bad)


@pytest.mark.parametrize("parser", ["python", "hiredis"])
def test_a_map_with_a_list_for_a_key_is_garbled(parser: str) -> None:
    """A reply that no dict can be made of is garbled, and no TypeError out of a read."""
    wire = _wire(parser)
    with pytest.raises(Garbled):
        wire.receive(b"%1\r\n*0\r\n:1\r\n")


@pytest.mark.parametrize("parser", ["python", "hiredis"])
def test_a_refusal_inside_an_array_is_no_entry(parser: str) -> None:
    """An error in place of one of many entries is garbled, and never handed out as what stands under a key."""
    wire = _wire(parser, 2)
    with pytest.raises(Garbled):
        wire.receive(b"*2\r\n$-1\r\n-ERR no\r\n")


def test_a_map_of_slots_with_a_list_for_a_host_is_garbled() -> None:
    """A reply to CLUSTER SLOTS whose hosts are no strings is garbled, and no AttributeError out of a read."""
    with pytest.raises(Garbled):
        read_slots([[0, 16383, [[b"127.0.0.1"], 7000]]], Address("127.0.0.1", 7000))


@pytest.mark.parametrize("memory", ["\u00b2", "9" * 5000])
def test_a_memory_limit_that_is_no_number_is_none(memory: str) -> None:
    """Digits of other scripts, and more of them than Python reads, in INFO are no limit and no ValueError."""
    info = f"redis_version:7.0.15\r\nrun_id:1\r\nmaxmemory:{memory}\r\n"
    assert read_identity(info, "here").max_memory == 0


def _wire(parser: str, expects: int = ENTRY) -> Wire:
    if parser == "hiredis":
        pytest.importorskip("hiredis", reason="pip install hiredis")
    wire = Wire("here", parser)
    wire.pack([("", (b"",), expects)])
    return wire
