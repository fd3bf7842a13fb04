"""The target of the whole path: bytes under a key of a server, read through a cache with a database behind it."""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2s
from typing import Any

from cachecore import Cache
from cachecore.entries import FORMAT, MAGIC, Value, decode_entry, encode_entry
from cachecore.errors import CorruptEntry
from cachecore.records import Records
from cachecore.testing import FakeBackend
from cachecore.value_codec import ValueCodec
from tests.fuzz.target import Target, canonical, edited

COLUMNS = {"id": int, "slug": str, "price": Decimal | None, "facts": dict | None}
OSLO = (1, "oslo", Decimal("12.50"), {"fjords": ["Oslofjord"]})
BERGEN = (2, "bergen", None, None)
_ROWS = {row[0]: row for row in (OSLO, BERGEN)}

_MODES = (
    "row: raw", "row: body", "row: stamp", "row: payload", "epoch: raw", "epoch: body", "pointer: raw",
    "pointer: payload", "row of another", "row of the past", "price pointer: payload",
)  # fmt: skip


class World:
    """A server, a cache on it and a database of two rows."""

    def __init__(self) -> None:
        self.server = FakeBackend()
        clock: Any = self.server.clock
        self.cache = Cache(self.server, namespace="fuzz", clock=clock, sleep=clock.sleep)
        self.records: Records = self.cache.entity(
            "fuzz.City", COLUMNS, lookups=["slug", "price"], load=self._load, query=self._query
        )
        self.entity = self.records.entity
        self.codec = self.entity.codec
        self.row_key = self.entity.key(1)
        self.pointer_key = self.entity.lookup_key["slug",]("oslo")
        self.price_key = self.entity.lookup_key["price",](OSLO[2])
        self.loads = 0
        """How often the database was asked for row 1."""

    def _load(self, identities: Sequence[Any]) -> list[tuple[object, ...]]:
        self.loads += 1 in identities
        return [_ROWS[identity] for identity in identities if identity in _ROWS]

    def _query(self, fields: dict[str, Any]) -> tuple[object, ...] | None:
        [(name, value)] = fields.items()
        place = self.entity.position[name]
        return next((row for row in _ROWS.values() if row[place] == value), None)

    def begin(self, epoch: bytes) -> None:
        """An empty server but for the epoch, and a process that remembers nothing."""
        self.records.forget_claims()
        self.server.restore({})
        self.inject(self.entity.epoch_key, Value(b"", epoch))

    def inject(self, key: str, entry: Value) -> None:
        """An entry of this server's own."""
        self.server.inject(key, encode_entry(entry, self.server.incarnation))


_WORLD = World()


def _believable(world: World, raw: bytes, stamp: bytes) -> tuple[object, ...] | None:
    """The row that a stranger who knows the epoch, the schema and the identity has forged."""
    entry = decode_entry(raw, world.server.incarnation)
    if not isinstance(entry, Value) or entry.stamp != stamp or not isinstance(entry.payload, bytes):
        return None
    try:
        row = world.codec.decode(entry.payload)
    except CorruptEntry:
        return None
    return row if type(row[0]) is int and row[0] == 1 else None


def check_path(data: bytes) -> str:
    """Whatever stands under a key, a read gives the database's row. The one exception: a whole forged row of the
    right epoch, schema and identity, which nothing tells from one of ours."""
    world = _WORLD
    mode = _MODES[data[0] % len(_MODES)] if data else _MODES[0]
    raw = data[1:]
    # Different for every input: no engine can guess it, and the same input gives the same world again.
    epoch = blake2s(data, digest_size=10).digest()
    stamp = epoch + world.codec.fingerprint
    world.begin(epoch)
    head = MAGIC + bytes([FORMAT]) + world.server.incarnation
    where, _, what = mode.partition(": ")
    key = {"epoch": world.entity.epoch_key, "pointer": world.pointer_key, "price pointer": world.price_key}.get(
        where, world.row_key
    )
    allowed = [canonical(OSLO)]
    if what == "body":
        raw = head + raw
    elif what == "stamp":
        raw = head + b"v" + raw
    elif what == "payload":
        known = stamp if where == "row" else world.codec.fingerprint
        raw = encode_entry(Value(raw, known), world.server.incarnation)
        forged = _believable(world, raw, stamp) if where == "row" else None
        if forged is not None:
            allowed.append(canonical(forged))
    elif mode == "row of another":
        payload = world.codec.encode(BERGEN)
        whole = encode_entry(Value(payload, stamp), world.server.incarnation)
        # The mark of four columns and the identity stay: who changes 2 into 1 has forged a row.
        kept = len(whole) - len(payload) + 2
        raw = whole[:kept] + edited(whole[kept:], raw)
    elif mode == "row of the past":
        payload = edited(world.codec.encode((1, "oslo", Decimal("99"), None)), raw[1:])
        past = raw[0] % 3 if raw else 0
        old_stamp = (stamp, bytes(10) + world.codec.fingerprint, epoch + bytes(8))[past]
        raw = encode_entry(Value(payload, old_stamp), b"former--" if past == 0 else world.server.incarnation)
    world.server.inject(key, raw)
    world.loads = 0
    assert canonical(world.records.get(1)) in allowed, mode
    outcome = "loaded" if world.loads else "hit"
    # From here on, from what the first read has left.
    if where.endswith("pointer"):
        # A pointer may say that the database finds "bergen" for "oslo"; it is the database's row all the same.
        allowed.append(canonical(BERGEN))
        assert canonical(world.records.find(price=OSLO[2])) in allowed, mode
    assert canonical(world.records.find(slug="oslo")) in allowed, mode
    one, other = world.records.get_many([1, 2])
    assert canonical(one) in allowed, mode
    assert other == BERGEN, mode
    return f"{mode}, {outcome}"


def _path_seeds() -> list[bytes]:
    """For each mode an input that gets through its first checks, and one that does not."""
    forged = _WORLD.codec.encode((1, "oslo", Decimal("99"), None))
    hold = b"h" + b"writer--" + b"\x7f\xe0" + bytes(6)
    pointers = [_pointer((2, ("bergen",), ("oslo",))), _pointer((1, ("oslo",))), _pointer((9, ("x",), ("oslo",)))]
    prices = [_pointer((1, (Decimal("sNaN"),), (OSLO[2],))), _pointer((1, (OSLO[2],))), _pointer((2**65, (OSLO[2],)))]
    bodies = [hold, b"l" + b"reader--", b"v\x05stamp", b"s" + hold[1:] * 2]
    inputs = {
        "row: raw": [b"", MAGIC, MAGIC + b"\x02"],
        "row: body": bodies,
        "row: stamp": [b"\x05stampxyz"],
        "row: payload": [forged, _WORLD.codec.encode((2, "oslo", None, None)), b"\xc1\x94"],
        "epoch: raw": [b"", MAGIC + b"\x02"],
        "epoch: body": bodies,
        "pointer: raw": [b""],
        "pointer: payload": pointers,
        "row of another": [b"", b"\x00\x05\x41"],
        "row of the past": [b"", b"\x00", b"\x01", b"\x02"],
        "price pointer: payload": prices,
    }
    return [bytes([_MODES.index(mode)]) + data for mode, some in inputs.items() for data in some]


def _pointer(parts: tuple[object, ...]) -> bytes:
    return ValueCodec().encode(parts)


PATH = Target(
    "path",
    check_path,
    tuple(_path_seeds()),
    frozenset({*(f"{mode}, loaded" for mode in _MODES), "row: payload, hit"}),
)
