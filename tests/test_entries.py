"""What can stand under a key: the table of transitions, and its bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachecore import entries
from cachecore.entries import Entry, Grant, Hold, Lease, Unusable, Value

MINE, YOURS = b"mine----", b"yours---"
NOW, PAST, LATER, LATEST = 100.0, 99.0, 110.0, 120.0
OLD, NEW = Value(b"old", b"stamp"), Value(b"new", b"stamp")
RUBBISH, FOREIGN = Unusable("corrupt", b"?"), Unusable("format", b"\xcc\x0e\x02")

NOTHING: tuple[Entry | None, ...] = (None, Hold(((MINE, PAST),)), Hold(((MINE, PAST), (YOURS, NOW))))
MY_HOLD, YOUR_HOLD = Hold(((MINE, LATER),)), Hold(((YOURS, LATER),))
OUR_HOLD = Hold(((YOURS, LATER), (MINE, LATER)), shared=True)
YOURS_LEFT, MINE_LEFT = Hold(((YOURS, LATER),), shared=True), Hold(((MINE, LATER),), shared=True)
STANDING: tuple[Entry, ...] = (Lease(MINE), Lease(YOURS), OLD, RUBBISH, FOREIGN, MY_HOLD, YOUR_HOLD, OUR_HOLD)
EVERYTHING = (*NOTHING, *STANDING)


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", NOTHING)
def test_a_lease_is_granted_where_nothing_stands(entry: Entry | None) -> None:
    """ACQUIRE leaves a lease where nothing stands, a hold whose writers are all past their deadlines included."""
    assert entries.acquired(entry, MINE, NOW) == (Lease(MINE), Grant(MINE))


@pytest.mark.parametrize("entry", STANDING)
def test_acquire_changes_nothing_that_stands(entry: Entry) -> None:
    """ACQUIRE replies with what stands and leaves it so; even one's own lease is not granted twice."""
    assert entries.acquired(entry, MINE, NOW) == (entry, entry)


@pytest.mark.parametrize("entry", [OLD, RUBBISH, FOREIGN])
def test_displace_replaces_what_was_seen(entry: Entry) -> None:
    """DISPLACE replaces a value or unusable bytes by a lease if they are still those that were seen."""
    assert entries.displaced(entry, entry, MINE, NOW) == (Lease(MINE), Grant(MINE))


@pytest.mark.parametrize("entry", EVERYTHING)
@pytest.mark.parametrize("seen", [NEW, Unusable("corrupt", b"!"), Lease(YOURS), YOUR_HOLD])
def test_displace_of_anything_else_is_acquire(entry: Entry | None, seen: Entry) -> None:
    """DISPLACE of what no longer stands, or of a lease or hold, does what ACQUIRE does."""
    assert entries.displaced(entry, seen, MINE, NOW) == entries.acquired(entry, MINE, NOW)


@pytest.mark.parametrize("entry", EVERYTHING)
def test_only_the_owner_of_the_lease_fills(entry: Entry | None) -> None:
    """FILL replaces one's own lease by the value; anything else refuses it and stays."""
    expected = (NEW, True) if entry == Lease(MINE) else (entry, False)
    assert entries.filled(entry, MINE, NEW) == expected


@pytest.mark.parametrize("entry", EVERYTHING)
def test_only_the_owner_abandons_the_lease(entry: Entry | None) -> None:
    """ABANDON removes one's own lease and nothing else."""
    assert entries.abandoned(entry, MINE) == (None if entry == Lease(MINE) else entry)


@pytest.mark.parametrize("entry", [*NOTHING, Lease(MINE), Lease(YOURS), OLD, RUBBISH, FOREIGN, MY_HOLD])
def test_hold_replaces_all_but_others_holds(entry: Entry | None) -> None:
    """HOLD removes values and leases, drops the writers past their deadlines, and prolongs one's own hold."""
    assert entries.held(entry, MINE, LATEST, NOW) == Hold(((MINE, LATEST),))


@pytest.mark.parametrize("entry", [YOUR_HOLD, OUR_HOLD, YOURS_LEFT])
def test_hold_joins_others(entry: Entry) -> None:
    """HOLD joins the writers who are there, each with its own deadline, and the hold is shared from then on."""
    assert entries.held(entry, MINE, LATEST, NOW) == Hold(((YOURS, LATER), (MINE, LATEST)), shared=True)


def test_a_hold_once_shared_stays_so_for_its_writers() -> None:
    """Who prepares again after another writer came and went still shares the hold, and so will leave no value."""
    assert entries.held(MINE_LEFT, MINE, LATEST, NOW) == Hold(((MINE, LATEST),), shared=True)
    assert entries.held(MINE_LEFT, YOURS, LATEST, NOW + 50) == Hold(((YOURS, LATEST),))


@pytest.mark.parametrize("value", [None, NEW])
@pytest.mark.parametrize("entry", [*NOTHING[:1], Lease(MINE), Lease(YOURS), OLD, RUBBISH, FOREIGN, MINE_LEFT])
def test_complete_leaves_nothing_of_doubtful_origin(entry: Entry | None, value: Value | None) -> None:
    """COMPLETE removes whatever stands in place of a lost hold, and leaves no value where a hold was shared."""
    assert entries.completed(entry, MINE, NOW, value) is None


@pytest.mark.parametrize("value", [None, NEW])
@pytest.mark.parametrize("entry", [YOUR_HOLD, OUR_HOLD, YOURS_LEFT])
def test_complete_spares_other_writers(entry: Entry, value: Value | None) -> None:
    """COMPLETE takes only one's own token from a hold, and marks it: a commit has happened under the others."""
    assert entries.completed(entry, MINE, NOW, value) == YOURS_LEFT


@pytest.mark.parametrize("value", [None, NEW])
def test_complete_leaves_the_row_in_place_of_an_own_hold(value: Value | None) -> None:
    """COMPLETE replaces a hold that was this writer's alone by the value it was given, or by nothing."""
    assert entries.completed(MY_HOLD, MINE, NOW, value) == value
    assert entries.completed(Hold(((MINE, PAST),)), MINE, NOW, value) == value


@pytest.mark.parametrize("entry", EVERYTHING)
def test_release_takes_only_ones_own_token(entry: Entry | None) -> None:
    """RELEASE takes one's own token from a hold and changes nothing else."""
    expected = {MY_HOLD: None, OUR_HOLD: YOURS_LEFT, NOTHING[1]: None, NOTHING[2]: None}.get(entry, entry)
    assert entries.released(entry, MINE, NOW) == expected


@pytest.mark.parametrize("entry", EVERYTHING)
def test_standing(entry: Entry | None) -> None:
    """An entry is what it is, except that a hold of nobody who lives is nothing."""
    assert entries.standing(entry, NOW) == (None if entry in NOTHING else entry)


# -- bytes -----------------------------------------------------------------------------------------

SERVER, ANOTHER = b"server01", b"server02"

tokens = st.binary(min_size=entries.TOKEN_BYTES, max_size=entries.TOKEN_BYTES)
deadlines = st.floats(min_value=0, allow_nan=False)
stored = st.one_of(
    st.builds(Lease, tokens),
    st.builds(Value, st.binary(max_size=300), st.binary(max_size=255)),
    st.builds(Hold, st.lists(st.tuples(tokens, deadlines), min_size=1, max_size=4).map(tuple), st.booleans()),
)


@given(stored)
def test_round_trip(entry: Entry) -> None:
    """What was encoded for a server is decoded as it was, if it is still the same server."""
    assert entries.decode_entry(entries.encode_entry(entry, SERVER), SERVER) == entry


@given(stored)
def test_another_incarnation_is_nothing(entry: Entry) -> None:
    """What another incarnation of the server stored is nothing, however good it looks."""
    assert entries.decode_entry(entries.encode_entry(entry, ANOTHER), SERVER) is None


@given(stored, st.integers(0, 255).filter(lambda version: version != entries.FORMAT))
def test_another_format_is_unusable(entry: Entry, version: int) -> None:
    """An entry of another format version is shown as such, with its bytes."""
    data = bytearray(entries.encode_entry(entry, SERVER))
    data[2] = version
    assert entries.decode_entry(bytes(data), SERVER) == Unusable("format", bytes(data))


@given(st.binary(max_size=100))
def test_rubbish_is_unusable(data: bytes) -> None:
    """Bytes that do not begin like an entry are corrupt, with the bytes, and raise nothing."""
    if data[:2] != entries.MAGIC:
        assert entries.decode_entry(data, SERVER) == Unusable("corrupt", data)


@given(st.binary(max_size=60), st.sampled_from([b"l", b"v", b"h", b"s", b"x"]))
def test_any_body_is_decoded_or_corrupt(body: bytes, kind: bytes) -> None:
    """Whatever follows a good head is either an entry, which encodes to the same bytes, or corrupt."""
    data = entries.MAGIC + bytes([entries.FORMAT]) + SERVER + kind + body
    entry = entries.decode_entry(data, SERVER)
    if isinstance(entry, Unusable):
        assert entry == Unusable("corrupt", data)
    else:
        assert entry is not None
        assert entries.encode_entry(entry, SERVER) == data


@given(stored, st.data())
def test_cut_short_is_never_the_entry(entry: Entry, data: st.DataObject) -> None:
    """Bytes cut off at any place are not taken for a lease, a hold of the same writers or a good stamp."""
    whole = entries.encode_entry(entry, SERVER)
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    found = entries.decode_entry(part, SERVER)
    assert found != entry
    assert isinstance(found, Unusable) or type(found) is type(entry)


@pytest.mark.parametrize("entry", [RUBBISH, FOREIGN])
def test_unusable_bytes_are_kept(entry: Unusable) -> None:
    """Unusable bytes that are written back are the bytes that were read."""
    assert entries.encode_entry(entry, SERVER) == entry.raw


def test_a_payload_must_be_bytes() -> None:
    """A backend that stores bytes refuses an object, naming its type."""
    with pytest.raises(TypeError, match="not tuple"):
        entries.encode_entry(Value((1, 2), b""), SERVER)


GOLDEN = {
    "cc0e01 7365727665723031 6c 6d696e652d2d2d2d": Lease(MINE),
    "cc0e01 7365727665723031 76 05 7374616d70 6f6c64": OLD,
    "cc0e01 7365727665723031 68 6d696e652d2d2d2d 405b800000000000": MY_HOLD,
    "cc0e01 7365727665723031 73 796f7572732d2d2d 405b800000000000": YOURS_LEFT,
}


@pytest.mark.parametrize("golden", GOLDEN)
def test_the_stored_format_does_not_change(golden: str) -> None:
    """These bytes are what releases of this format version share a server with."""
    assert entries.encode_entry(GOLDEN[golden], SERVER) == bytes.fromhex(golden)
    assert entries.decode_entry(bytes.fromhex(golden), SERVER) == GOLDEN[golden]
