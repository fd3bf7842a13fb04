"""The bounded map: both implementations against a model, against each other, under threads and under destructors."""

import gc
import math
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cachecore.backends import _store_py
from cachecore.backends._store_py import ENTRY_OVERHEAD, POLICIES, StoreStats
from cachecore.errors import CachecoreError, ConfigurationError, InvalidKey, UnsupportedValue

try:
    from cachecore.backends import _store_c
except ImportError:
    if os.environ.get("CACHECORE_REQUIRE_EXTENSION") == "1":
        raise
    _store_c = None  # type: ignore[assignment]

Pure = _store_py.Store
Compiled: Any = None if _store_c is None else _store_c.Store
needs_compiled = pytest.mark.skipif(Compiled is None, reason="the compiled store is not built")


class Clock:
    """Seconds that move when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(params=["python", pytest.param("cython", marks=needs_compiled)])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """The class under test."""
    return Pure if request.param == "python" else Compiled


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sized(make: Callable[..., Any], entries: int, policy: str = "lru", **more: Any) -> Any:
    """A store in which only the number of entries is scarce."""
    return make(max_entries=entries, policy=policy, **more)


# What an operation does


def test_a_value_is_found_until_it_is_deleted(make: Callable[..., Any]) -> None:
    """get and peek return the very object that was set; delete says whether there was one."""
    store, value = make(), object()
    assert store.get("k") is None
    assert store.set("k", value, 10, None) is True
    assert store.get("k") is value
    assert store.peek("k") is value
    assert (len(store), store.keys()) == (1, ["k"])
    assert store.delete("k") is True
    assert store.delete("k") is False
    assert store.get("k") is None
    assert len(store) == store.bytes == 0
    store.check()


@given(st.lists(st.tuples(st.text(max_size=6), st.integers() | st.none()), max_size=60), st.sampled_from(POLICIES))
def test_a_store_with_room_is_a_dict(steps: list[tuple[str, int | None]], policy: str) -> None:
    """Where nothing must be evicted any str is a key, whatever its width, and set, delete and get are a dict's."""
    for cls in filter(None, (Pure, Compiled)):
        store, model = cls(policy=policy), dict[str, int]()
        for key, value in steps:
            if value is None:
                assert store.delete(key) is (model.pop(key, None) is not None)
            else:
                assert store.set(key, value, 1, None) is True
                model[key] = value
            # An equal key that is another object.
            assert store.get("".join(list(key))) == model.get(key)
            store.check()
        assert sorted(store.keys()) == sorted(model)
        assert len(store) == len(model)
        assert store.bytes == sum(1 + len(key) + ENTRY_OVERHEAD for key in model)


def test_an_entry_ends_with_its_ttl(make: Callable[..., Any], clock: Clock) -> None:
    """An entry is returned before its ttl has passed, and never from that moment on, by no operation."""
    for look in ("get", "peek", "delete"):
        store = make(clock=clock)
        store.set("k", "v", 1, 10)
        clock.seconds += 9.999
        assert store.peek("k") == "v"
        clock.seconds += 0.001
        assert store.keys() == []
        assert not getattr(store, look)("k")
        assert (len(store), store.stats().expirations) == (0, 1)
        store.check()


@pytest.mark.parametrize("ttl", [0, -1.5, math.nan, -math.inf])
def test_a_ttl_that_has_already_passed_leaves_the_key_absent(make: Callable[..., Any], ttl: float) -> None:
    """set with a ttl of 0 or less, or NaN, says False and drops the old value too."""
    store = make()
    store.set("k", "old", 1, None)
    assert store.set("k", "new", 1, ttl) is False
    assert len(store) == 0


@pytest.mark.parametrize("ttl", [None, math.inf])
def test_an_entry_without_ttl_does_not_expire(make: Callable[..., Any], clock: Clock, ttl: float | None) -> None:
    """ttl None, like infinity, means as long as the bounds let it."""
    store = make(clock=clock)
    store.set("k", "v", 1, ttl)
    clock.seconds += 1e12
    assert store.get("k") == "v"


def test_the_stores_own_clock_expires_entries(make: Callable[..., Any]) -> None:
    """Without an injected clock the system's monotonic one is used: a short ttl passes, a long one does not."""
    store = make()
    store.set("long", 1, 1, 3600)
    store.set("short", 1, 1, 0.002)
    end = time.monotonic() + 60
    while store.get("short") is not None:
        assert time.monotonic() < end
    assert store.get("long") == 1


def test_purge_drops_what_nobody_asks_for_any_more(make: Callable[..., Any], clock: Clock) -> None:
    """Expired entries stay in memory until purge, or another operation, meets them; purge counts them."""
    store = make(clock=clock)
    for number in range(10):
        store.set(f"k{number}", number, 1, 5 if number % 2 else None, pinned=number > 5)
    clock.seconds += 5
    assert len(store) == 10
    assert store.purge() == 5
    assert store.purge() == 0
    assert sorted(store.keys()) == ["k0", "k2", "k4", "k6", "k8"]
    assert store.stats().expirations == 5
    store.check()


def test_clear_leaves_an_empty_store_that_works(make: Callable[..., Any]) -> None:
    """clear removes pinned entries as well and keeps the counts."""
    store = make(max_entries=3)
    for number in range(5):
        store.set(str(number), number, 1, None, pinned=number == 4)
    store.get("4")
    store.clear()
    assert (len(store), store.bytes, store.keys()) == (0, 0, [])
    assert store.stats() == StoreStats(hits=1, misses=0, evictions=2, expirations=0, entries=0, bytes=0)
    assert store.set("k", "v", 1, None)
    assert store.get("k") == "v"
    store.check()


def test_stats_count_what_happened(make: Callable[..., Any], clock: Clock) -> None:
    """Hits and misses are those of get alone; entries and bytes are those of now."""
    store = make(max_entries=2, policy="lru", clock=clock)
    store.set("a", 1, 10, 5)
    store.get("a")
    store.peek("a")
    store.peek("x")
    store.get("x")
    clock.seconds += 5
    store.get("a")
    for key in "bcd":
        store.set(key, 1, 10, None)
    expected = StoreStats(hits=1, misses=2, evictions=1, expirations=1, entries=2, bytes=2 * (10 + 1 + ENTRY_OVERHEAD))
    assert store.stats() == expected
    with pytest.raises(AttributeError):
        store.stats().hits = 7


# The bounds


def test_a_value_heavier_than_the_store_is_refused_and_the_old_one_is_gone(make: Callable[..., Any]) -> None:
    """set says False and leaves the key absent, never with the value that was to be replaced."""
    store = make(max_bytes=1000)
    fits = 1000 - ENTRY_OVERHEAD - 1
    assert store.set("k", "v", fits, None) is True
    assert store.bytes == 1000
    assert store.set("k", "v", fits + 1, None) is False
    assert store.peek("k") is None
    assert store.set("k", "v", 2**200, None, pinned=True) is False
    assert (len(store), store.stats().evictions) == (0, 0)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_heavy_value_displaces_as_many_as_it_needs(make: Callable[..., Any], policy: str) -> None:
    """Room in bytes is made by evicting entry after entry, and a heavier replacement is not its own victim."""
    store = make(max_bytes=10 * (100 + 2 + ENTRY_OVERHEAD), policy=policy)
    for number in range(10):
        assert store.set(f"k{number}", number, 100, None)
    assert store.set("k0", "heavy", 1000, None) is True
    assert store.peek("k0") == "heavy"
    assert store.bytes <= store.max_bytes
    assert store.stats().evictions == 10 - len(store) > 0
    store.check()


def test_lru_evicts_what_was_not_asked_for_longest(make: Callable[..., Any]) -> None:
    """Under lru get renews an entry; peek and a replacement do not."""
    store = sized(make, 3)
    for key in "abc":
        store.set(key, 1, 1, None)
    store.get("a")
    store.peek("b")
    store.set("b", 2, 1, None)
    assert store.keys() == ["b", "c", "a"]
    store.set("d", 1, 1, None)
    store.set("e", 1, 1, None)
    assert store.keys() == ["a", "d", "e"]


def test_s3fifo_keeps_what_is_asked_for_through_a_scan(make: Callable[..., Any]) -> None:
    """A long run over keys that are asked for once displaces none that was asked for again."""
    store = sized(make, 100, "s3fifo")
    wanted = [f"w{number}" for number in range(80)]
    for key in wanted:
        store.set(key, key, 1, None)
    for key in wanted:
        assert store.get(key) == key
    for number in range(10_000):
        store.set(f"scan{number}", number, 1, None)
    assert [key for key in wanted if store.peek(key) is None] == []
    store.check()


def test_under_s3fifo_a_replacement_is_not_an_access(make: Callable[..., Any]) -> None:
    """A key that was only ever set leaves with the small queue, however often it was set; one that was read stays."""
    store = sized(make, 20, "s3fifo")
    for _ in range(5):
        store.set("set", 1, 1, None)
        store.set("read", 1, 1, None)
        store.peek("set")
    store.get("read")
    for number in range(30):
        store.set(f"k{number}", 1, 1, None)
    assert store.peek("set") is None
    assert store.peek("read") == 1


def test_s3fifo_remembers_whom_it_evicted(make: Callable[..., Any]) -> None:
    """A key that comes back soon after its eviction from the small queue enters the main queue."""
    store = sized(make, 20, "s3fifo")
    for number in range(21):
        store.set(f"k{number}", 1, 1, None)
    assert store.peek("k0") is None
    store.set("k0", 2, 1, None)
    assert store.keys()[-1] == "k0"  # the main queue comes after the small one
    for number in range(100):
        store.set(f"x{number}", 1, 1, None)
    assert store.peek("k0") == 2


def test_s3fifo_remembers_half_as_many_as_there_are_entries(make: Callable[..., Any]) -> None:
    """Of those that left the small queue: who left lately is known again, who left a whole room ago is not."""
    store = sized(make, 4_000, "s3fifo")
    for number in range(12_000):
        store.set(f"k{number}", 1, 1, None)

    def known(number: int) -> bool:
        store.set(f"k{number}", 1, 1, None)
        return bool(store.keys()[-1] == f"k{number}")  # the newest of the main queue

    assert sum(map(known, range(7_400, 7_500))) > 90  # 8,000 have left
    assert sum(map(known, range(3_900, 4_000))) < 10


def test_room_is_made_by_expired_entries_first_met(make: Callable[..., Any], clock: Clock) -> None:
    """What comes up for eviction and has expired leaves as expired, however often it was asked for."""
    store = sized(make, 2, "s3fifo", clock=clock)
    store.set("a", 1, 1, 5)
    store.set("b", 1, 1, None)
    for _ in range(5):
        store.get("a")
    clock.seconds += 5
    store.set("c", 1, 1, None)
    assert sorted(store.keys()) == ["b", "c"]
    assert (store.stats().evictions, store.stats().expirations) == (0, 1)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_replacement_keeps_its_place(make: Callable[..., Any], policy: str) -> None:
    """Where nothing must make room, setting a key again changes no order."""
    store = sized(make, 10, policy)
    for key in "abcdef":
        store.set(key, 1, 1, None)
    before = store.keys()
    store.set("c", 2, 50, 9.0)
    assert store.keys() == before


# Pinned entries


@pytest.mark.parametrize("policy", POLICIES)
def test_pinned_entries_are_not_evicted(make: Callable[..., Any], policy: str) -> None:
    """Others make room for a pinned entry; it never does, and it can be deleted like any other."""
    store = sized(make, 4, policy)
    store.set("p", 1, 1, None, pinned=True)
    for number in range(50):
        store.set(f"k{number}", 1, 1, None)
        store.check()
    assert store.peek("p") == 1
    assert len(store) == 4
    assert store.delete("p") is True


@pytest.mark.parametrize("policy", POLICIES)
def test_pinned_entries_may_exceed_the_bounds_and_then_nothing_else_is_kept(
    make: Callable[..., Any], policy: str
) -> None:
    """A pinned set succeeds in a store full of pinned entries; one that is not pinned is refused and displaces none."""
    store = sized(make, 3, policy)
    store.set("k", 1, 1, None)
    for number in range(5):
        assert store.set(f"p{number}", 1, 1, None, pinned=True) is True
        store.check()
    assert (len(store), store.peek("k")) == (5, None)
    assert store.set("k", 1, 1, None) is False
    assert store.set("p0", 2, 1, None) is False  # a pinned entry that is to become an ordinary one finds no room
    assert len(store) == 4
    store.check()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pinned_entry_that_is_read_stays_pinned(make: Callable[..., Any], policy: str) -> None:
    """get of a pinned entry does not move it among those that make room."""
    store = sized(make, 4, policy)
    for key in ("p0", "p1"):
        store.set(key, 1, 1, None, pinned=True)
    assert store.get("p0") == 1
    for number in range(50):
        store.set(f"k{number}", 1, 1, None)
    assert {"p0", "p1"} <= set(store.keys())
    store.check()


def test_a_refused_value_displaces_nobody(make: Callable[..., Any]) -> None:
    """A value that the pinned entries leave no room for is refused before others are evicted for it."""
    store = make(max_bytes=10_000)
    store.set("p", 1, 5_000, None, pinned=True)
    store.set("k", 1, 1_000, None)
    assert store.set("heavy", 1, 6_000, None) is False
    assert store.keys() == ["k", "p"]


def test_expired_pinned_entries_make_room(make: Callable[..., Any], clock: Clock) -> None:
    """Pinned entries that have expired go when room is needed, although nobody asks for them and one still lives."""
    store = sized(make, 4, clock=clock)
    store.set("p0", 1, 1, None, pinned=True)
    for number in range(1, 4):
        store.set(f"p{number}", 1, 1, 5, pinned=True)
    clock.seconds += 5
    for key in "abc":
        assert store.set(key, 1, 1, None) is True
    assert sorted(store.keys()) == ["a", "b", "c", "p0"]
    assert store.stats().evictions == 0
    store.check()


def test_an_entry_that_is_no_longer_pinned_goes_back_to_its_queue(make: Callable[..., Any]) -> None:
    """Pinning an entry and replacing it by an ordinary value makes it the newest of the queue where it was."""
    store = sized(make, 20, "s3fifo")
    for key in "abc":
        store.set(key, 1, 1, None)
    store.set("a", 2, 1, None, pinned=True)
    assert store.keys() == ["b", "c", "a"]
    store.set("d", 1, 1, None)
    assert store.keys() == ["b", "c", "d", "a"]
    store.set("a", 3, 1, None)
    store.set("e", 1, 1, None)
    assert store.keys() == ["b", "c", "d", "a", "e"]


# What is refused


class Text(str):
    """A str whose comparison would run code inside the store."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    __hash__ = str.__hash__


@pytest.mark.parametrize("key", [b"k", 1, None, ("k",), Text("k")], ids=repr)
@pytest.mark.parametrize("operation", ["get", "peek", "delete", "set"])
def test_a_key_is_exactly_a_str(make: Callable[..., Any], operation: str, key: Any) -> None:
    """Any other key, a subclass of str included, is an InvalidKey that names its type."""
    store = make()
    store.set("k", "v", 1, None)
    arguments = ("v", 1, None) if operation == "set" else ()
    with pytest.raises(InvalidKey, match=type(key).__name__):
        getattr(store, operation)(key, *arguments)
    assert store.keys() == ["k"]


def test_none_and_negative_weights_are_refused(make: Callable[..., Any]) -> None:
    """None has no meaning as a value and a weight is at least 0; the message names the key; nothing changes."""
    store = make()
    store.set("key", "old", 1, None)
    for value, weight, told in ((None, 1, "None"), ("v", -1, "-1"), ("v", -(2**99), "-633825300114114700748351602688")):
        with pytest.raises(UnsupportedValue, match=told) as error:
            store.set("key", value, weight, None)
        assert "'key'" in str(error.value)
    wrong: list[tuple[Any, Any]] = [(1.5, None), ("1", None), (1, "1")]
    for wrong_weight, wrong_ttl in wrong:
        with pytest.raises(TypeError):
            store.set("key", "v", wrong_weight, wrong_ttl)
    assert store.get("key") == "old"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_entries", 0),
        ("max_entries", -1),
        ("max_entries", 2**31),
        ("max_entries", 10.0),
        ("max_entries", True),
        ("max_entries", None),
        ("max_bytes", 0),
        ("max_bytes", 2**50 + 1),
        ("max_bytes", "64"),
        ("policy", "sieve"),
        ("policy", None),
    ],
)
def test_wrong_settings_are_refused_by_name(make: Callable[..., Any], name: str, value: object) -> None:
    """A setting out of its range is a ConfigurationError with the setting's name and the value."""
    with pytest.raises(ConfigurationError, match=name) as error:
        make(**{name: value})
    assert repr(value) in str(error.value)


# The two implementations are one

KEYS = st.sampled_from([f"k{number}" for number in range(12)])


class Twins(RuleBasedStateMachine):
    """Both stores go through the same steps and are the same to see after each; a model knows what may be returned."""

    @initialize(
        policy=st.sampled_from(POLICIES),
        max_entries=st.integers(1, 20),
        max_bytes=st.integers(1, 20 * (ENTRY_OVERHEAD + 60)),
    )
    def begin(self, policy: str, max_entries: int, max_bytes: int) -> None:
        self.clock = Clock()
        self.stores = [
            cls(max_entries=max_entries, max_bytes=max_bytes, policy=policy, clock=self.clock)
            for cls in (Pure, Compiled or Pure)
        ]
        self.model: dict[str, tuple[int, float]] = {}
        self.pinned: set[str] = set()
        self.values = 0

    def both(self, operation: str, *arguments: Any, **options: Any) -> Any:
        first, second = (getattr(store, operation)(*arguments, **options) for store in self.stores)
        assert first == second
        return first

    def known(self, key: str) -> int | None:
        value, expires = self.model.get(key, (None, 0.0))
        return value if expires > self.clock() else None

    @rule(key=KEYS, operation=st.sampled_from(["get", "get", "get", "peek"]))
    def look(self, key: str, operation: str) -> None:
        value = self.both(operation, key)
        if value is None:
            assert key not in self.pinned or self.known(key) is None
        else:
            assert value == self.known(key)

    @rule(
        key=KEYS,
        weight=st.integers(0, 60) | st.integers(0, 2000),
        ttl=st.none() | st.integers(0, 20) | st.floats(0.1, 20),
        pinned=st.booleans(),
    )
    def set(self, key: str, weight: int, ttl: float | None, pinned: bool) -> None:
        self.values += 1
        self.pinned.discard(key)
        if self.both("set", key, self.values, weight, ttl, pinned=pinned):
            self.model[key] = self.values, math.inf if ttl is None else self.clock() + ttl
            assert self.both("peek", key) == self.values
            if pinned:
                self.pinned.add(key)
        else:
            self.model.pop(key, None)
            assert self.both("peek", key) is None

    @rule(start=st.integers(0, 50), count=st.integers(1, 40))
    def scan(self, start: int, count: int) -> None:
        for number in range(start, start + count):
            self.both("set", f"scan{number}", -1, 1, None)
            self.both("get", f"scan{number % 7}")

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        removed = self.both("delete", key)
        assert not removed or self.known(key) is not None
        self.model.pop(key, None)
        self.pinned.discard(key)

    @rule(seconds=st.integers(0, 8))
    def wait(self, seconds: int) -> None:
        self.clock.seconds += seconds

    @rule(operation=st.sampled_from(["purge"] * 10 + ["clear", "start_empty"]))
    def whole(self, operation: str) -> None:
        self.both(operation)
        if operation != "purge":
            self.model.clear()
            self.pinned.clear()

    @invariant()
    def the_same_and_whole(self) -> None:
        for store in getattr(self, "stores", ()):
            store.check()
            assert set(store.keys()) >= {key for key in self.pinned if self.known(key) is not None}
        if hasattr(self, "stores"):
            self.both("keys")
            self.both("stats")


Twins.TestCase.settings = settings(max_examples=100, stateful_step_count=80, deadline=None)


@needs_compiled
class TestTwins(Twins.TestCase):  # type: ignore[misc, valid-type]
    """Same results, same evictions, same order; bounds hold, expired is never returned, pinned is never evicted."""


@needs_compiled
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("bound", ["entries", "bytes"])
def test_both_implementations_evict_the_same(policy: str, bound: str) -> None:
    """Over thousands of skewed requests, with the ghost tables in full use, both keep the same keys in one order."""
    random = Random(7)
    bounds: dict[str, Any] = {"max_entries": 300} if bound == "entries" else {"max_bytes": 60_000}
    pure, compiled = (cls(policy=policy, **bounds) for cls in (Pure, Compiled))
    for step in range(20_000):
        key, weight = f"k{int(random.paretovariate(0.3)) % 5000}", random.randrange(100)
        found = pure.get(key)
        assert compiled.get(key) == found
        if found is None:
            assert pure.set(key, step, weight, None) == compiled.set(key, step, weight, None)
        if step % 1000 == 0:
            assert pure.keys() == compiled.keys()
            compiled.check()
    assert pure.keys() == compiled.keys()
    assert pure.stats() == compiled.stats()
    assert pure.stats().evictions > 1000


@needs_compiled
def test_both_implementations_have_the_same_face() -> None:
    """No public name exists on one alone."""
    faces = [{name for name in dir(cls) if not name.startswith("_")} for cls in (Pure, Compiled)]
    faces[0] |= {"max_entries", "max_bytes", "policy"}  # attributes of the instance there
    assert faces[0] == faces[1]


@pytest.mark.parametrize(
    ("wanted", "hidden", "told"),
    [
        ("python", False, "python"),
        ("", True, "python"),
        ("cython", True, "CACHECORE_IMPLEMENTATION is cython"),
        ("rust", False, "CACHECORE_IMPLEMENTATION must be cython, python or unset, not 'rust'"),
        pytest.param("cython", False, "cython", marks=needs_compiled),
        pytest.param("", False, "cython", marks=needs_compiled),
    ],
)
def test_the_environment_chooses_the_implementation(wanted: str, hidden: bool, told: str) -> None:
    """CACHECORE_IMPLEMENTATION forces one, or the import fails; unset means compiled if it can be imported."""
    code = f"""
        import sys
        if {hidden}:
            sys.modules["cachecore.backends._store_c"] = None
        try:
            from cachecore.backends import store
        except ValueError as error:  # ConfigurationError is one
            assert type(error).__name__ == "ConfigurationError"
            print(error)
        else:
            assert type(store.Store()).__module__.endswith("_c" if store.implementation == "cython" else "_py")
            print(store.implementation)
    """
    done = run_python(code, CACHECORE_IMPLEMENTATION=wanted)
    assert done.startswith(told)


def run_python(code: str, **environment: str) -> str:
    """The output of a program in a fresh interpreter, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# References and memory


def test_every_way_out_drops_the_reference(make: Callable[..., Any], clock: Clock) -> None:
    """However a value leaves, or is refused, the store keeps no reference to it or to its key."""
    value, key = object(), "".join(["a", " key"])
    gc.collect()
    before = sys.getrefcount(value), sys.getrefcount(key)

    def fresh(**settings: Any) -> Any:
        store = make(clock=clock, policy="lru", **settings)
        assert store.set(key, value, 1, 5)
        assert (sys.getrefcount(value), sys.getrefcount(key)) > before
        return store

    def expire(store: Any) -> None:
        clock.seconds += 5
        store.get(key)

    ways: list[Callable[[Any], object]] = [
        lambda store: store.delete(key),
        lambda store: store.set(key, "other", 1, None) and store.delete(key),
        lambda store: store.set(key, value, 10**9, None),
        lambda store: store.set("x", 1, 1, None),
        lambda store: store.clear(),
        lambda store: store.start_empty(),
        lambda store: (store.get(key), store.peek(key), store.keys(), store.clear()),
        expire,
        lambda store: None,
    ]
    for way in ways:
        store = fresh(max_entries=1)
        way(store)
        del store
        gc.collect()
        assert (sys.getrefcount(value), sys.getrefcount(key)) == before


@needs_compiled
def test_an_entry_costs_at_most_110_bytes() -> None:
    """Nodes, index and ghosts of a full compiled store, whatever its size: 110 bytes an entry beyond key and value."""
    for entries in (10_000, 49_153, 98_304, 100_000, 131_072):
        store = Compiled(max_entries=entries, max_bytes=2**40)
        for number in range(entries * 5 // 4):
            store.set(str(number), True, 1, 60.0)
        assert len(store) == entries
        assert sys.getsizeof(store) / entries <= 110


# Threads


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Threads change as often as the interpreter can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_switching")
@pytest.mark.parametrize("policy", POLICIES)
def test_threads_see_whole_entries(make: Callable[..., Any], policy: str) -> None:
    """Whatever threads do at once, a key returns only values set for it, the bounds hold, and the store stays whole."""
    store = make(max_entries=50, max_bytes=50 * (ENTRY_OVERHEAD + 40), policy=policy)
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        random = Random(seed)
        try:
            start.wait()
            for step in range(4_000):
                key = f"k{random.randrange(120)}"
                choice = random.random()
                if choice < 0.5:
                    found = store.get(key)
                    assert found is None or found[0] == key
                elif choice < 0.9:
                    ttl = random.choice([None, 1e-4, 60])
                    store.set(key, (key, seed, step), random.randrange(80), ttl, pinned=choice > 0.87)
                elif choice < 0.99:
                    store.delete(key)
                else:
                    random.choice([store.keys, store.purge, store.stats, store.clear])()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store.check()


@pytest.mark.usefixtures("eager_switching")
def test_threads_lose_no_hit(make: Callable[..., Any]) -> None:
    """Every get of every thread is counted: hits and misses together are the calls."""
    store = make(policy="lru")
    for number in range(100):
        store.set(f"k{number}", number, 1, None)

    def work() -> None:
        for number in range(5_000):
            assert store.get(f"k{number % 200}") == (number % 200 if number % 200 < 100 else None)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.stats().hits, store.stats().misses) == (10_000, 10_000)


def test_the_child_of_a_fork_can_start_empty() -> None:
    """After a fork while other threads use the store, start_empty gives the child a store that works."""
    names = "_store_py" + (", _store_c" if Compiled else "")
    output = run_python(
        f"""
        import os, sys, threading, warnings
        from cachecore.backends import {names}
        warnings.simplefilter("ignore")  # that a process with threads forks is the point here
        sys.setswitchinterval(1e-6)
        for module in ({names},):
            store, ended = module.Store(max_entries=20), threading.Event()

            def work():
                number = 0
                while not ended.is_set():
                    number += 1
                    store.set(str(number % 50), number, 1, None)

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    store.start_empty()
                    fine = len(store) == 0 and store.set("k", "v", 1, None) and store.get("k") == "v"
                    store.check()
                    os._exit(0 if fine else 1)
                assert os.waitpid(child, 0)[1] == 0
            ended.set()
            for thread in threads:
                thread.join()
            store.check()
        print("done")
        """
    )
    assert output == "done\n"


# Code that runs in the middle


class Meddler:
    """A value whose destructor uses the store it stood in."""

    died = 0

    def __init__(self, store: Any, act: Callable[[Any], object]) -> None:
        self.store, self.act = store, act

    def __del__(self) -> None:
        type(self).died += 1
        self.store.check()
        self.act(self.store)
        self.store.check()


ACTS: dict[str, Callable[[Any], object]] = {
    "get": lambda store: store.get("m1"),
    "delete": lambda store: store.delete("m2"),
    "set": lambda store: store.set("new", 1, 1, None),
    "set the same": lambda store: store.set("m0", 1, 1, None),
    "clear": lambda store: store.clear(),
    "purge": lambda store: store.purge(),
    "keys": lambda store: store.keys(),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_destructor_may_use_the_store(make: Callable[..., Any], clock: Clock, act: str, policy: str) -> None:
    """A value that is replaced, deleted, evicted, expired or cleared finds a whole store when it dies, to use."""
    ways: list[Callable[[Any], object]] = [
        lambda store: store.set("m0", 1, 1, None),
        lambda store: store.delete("m0"),
        lambda store: [store.set(f"k{number}", 1, 1, None) for number in range(8)],
        lambda store: store.set("heavy", 1, 2_000, None),
        lambda store: store.clear(),
    ]

    def expire(store: Any) -> None:
        clock.seconds += 5
        store.get("m0")
        store.purge()

    for way in [*ways, expire]:
        store = make(max_entries=8, max_bytes=2_000 + ENTRY_OVERHEAD + 5, policy=policy, clock=clock)
        Meddler.died = 0
        for number in range(4):
            store.set(f"m{number}", Meddler(store, ACTS[act]), 1, 5)
        way(store)
        assert Meddler.died > 0
        store.check()
        store.clear()
        store.clear()  # what a destructor set while the first one ran
        assert Meddler.died == 4
        assert len(store) == 0 or act.startswith("set")


@pytest.mark.parametrize("way", ["evict", "purge", "clear", "end"])
def test_the_end_of_many_entries_does_not_nest(make: Callable[..., Any], clock: Clock, way: str) -> None:
    """50,000 values with destructors that use the store leave at once without 50,000 nested calls."""
    depth = deepest = died = 0

    class Value:
        def __del__(self) -> None:
            nonlocal depth, deepest, died
            depth += 1
            died += 1
            deepest = max(deepest, depth)
            other.get("x")
            if store is not None:
                store.set("replaced", 1, 1, None)
            depth -= 1

    other = make()
    store = make(max_bytes=50_010 * (ENTRY_OVERHEAD + 6), clock=clock)
    for number in range(50_000):
        store.set(f"k{number}", Value(), 1, 5)
    if way == "evict":
        assert store.set("heavy", 1, store.max_bytes - 2 * ENTRY_OVERHEAD - 14, None)
    elif way == "purge":
        clock.seconds += 5
        store.purge()
    elif way == "clear":
        store.clear()
    else:
        store = None
    assert died == 50_000
    assert deepest <= 3


def test_a_clock_that_uses_the_store_is_read_before_anything_changes(make: Callable[..., Any]) -> None:
    """An injected clock is Python code: it may even clear the store, and every operation stays whole."""
    inside = False

    def clock() -> float:
        nonlocal inside
        if not inside:
            inside = True
            store.clear()
            for number in range(100):
                store.set(f"c{number}", number, 1, 5)
            inside = False
        return 1.0

    store = make(clock=clock)
    for _ in range(3):
        assert store.set("k", "v", 1, 5) is True
        assert store.get("k") is None
        assert store.get("c3") == 3
        assert store.peek("c4") == 4
        assert store.delete("c5") is True
        assert len(store.keys()) == 100
        assert store.purge() == 0
        store.check()


def test_a_clock_that_raises_changes_nothing(make: Callable[..., Any], clock: Clock) -> None:
    """The error of an injected clock reaches the caller and the store is as it was."""
    broken = False

    def fallible() -> float:
        if broken:
            raise ZeroDivisionError
        return clock()

    store = make(clock=fallible)
    store.set("k", "v", 1, 5)
    broken = True
    for call in (
        lambda: store.get("k"),
        lambda: store.peek("k"),
        lambda: store.set("k", "new", 1, 5),
        lambda: store.delete("k"),
        store.keys,
        store.purge,
    ):
        with pytest.raises(ZeroDivisionError):
            call()
    broken = False
    assert store.get("k") == "v"
    store.check()


@pytest.fixture
def interrupt() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Run something when a named function of the pure store is entered, as a signal handler would."""

    def at(name: str, action: Callable[[], object]) -> None:
        def profile(frame: Any, event: str, _: object) -> None:
            if event == "call" and frame.f_code.co_name == name and frame.f_code.co_filename == _store_py.__file__:
                sys.setprofile(None)
                action()

        sys.setprofile(profile)

    before = sys.getprofile()
    yield at
    sys.setprofile(before)


@pytest.mark.parametrize("place", ["_insert", "_link", "_evict", "_remove", "_unlink"])
def test_a_call_in_the_middle_of_a_call_touches_nothing(
    interrupt: Callable[[str, Callable[[], object]], None], place: str
) -> None:
    """In the pure store a signal handler that comes in between reads misses; what it set or deleted is absent after."""
    answers: list[object] = []
    store = Pure(max_entries=3, policy="lru")
    for key in "abc":
        store.set(key, key, 1, None)

    def handler() -> None:
        answers.extend([store.get("c"), store.set("new", 1, 1, None), store.delete("b"), store.keys(), store.purge()])

    interrupt(place, handler)
    assert store.set("d", "d", 1, None) is True
    assert answers == [None, False, False, [], 0]
    assert store.keys() == ["c", "d"]
    store.check()


def test_clear_in_the_middle_of_a_call_is_kept(interrupt: Callable[[str, Callable[[], object]], None]) -> None:
    """A clear that comes in between takes effect after the operation it interrupted."""
    store = Pure()
    store.set("a", 1, 1, None)
    interrupt("_link", store.clear)
    assert store.set("b", 1, 1, None) is True
    assert store.get("b") is None
    assert len(store) == 0
    store.check()


@pytest.mark.parametrize("place", ["_insert", "_link", "_evict", "_remove", "_unlink"])
def test_an_interrupt_in_the_middle_of_a_call_leaves_an_empty_store(
    interrupt: Callable[[str, Callable[[], object]], None], place: str
) -> None:
    """Control-C inside the pure store cannot leave it half changed: it forgets everything and works on."""
    store = Pure(max_entries=3, policy="lru")
    for key in "abc":
        store.set(key, key, 1, None)

    def handler() -> None:
        raise KeyboardInterrupt

    interrupt(place, handler)
    with pytest.raises(KeyboardInterrupt):
        store.set("d", "d", 1, None)
    assert store.keys() == []
    store.check()
    assert store.set("d", "d", 1, None)
    assert store.get("d") == "d"


def test_errors_have_one_root() -> None:
    """What a store raises on purpose can be caught as CachecoreError."""
    assert all(issubclass(error, CachecoreError) for error in (ConfigurationError, InvalidKey, UnsupportedValue))
