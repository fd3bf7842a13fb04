# cython: language_level=3
"""The compiled twin of _shared_hits_py, which says what everything means."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.string cimport memcmp

from cachecore._shared_hits_py import Looked, plans_of
from cachecore.entries import Value
from cachecore.errors import BackendError, CorruptEntry
from cachecore.events import Hit
from cachecore.unit import new_token

cdef object LOOKED = Looked
cdef object VALUE = Value
cdef object HIT = Hit
cdef object NEW_TOKEN = new_token

cdef enum:  # where a Plan has what
    KINDS, KEY, POSITIONS


cdef tuple picked(tuple row, tuple positions):
    """The values of a row at these positions."""
    cdef Py_ssize_t at, position, size = len(row), count = len(positions)
    cdef tuple found = PyTuple_New(count)
    for at in range(count):
        position = <Py_ssize_t?>positions[at]
        if not 0 <= position < size:
            raise IndexError(position)
        value = row[position]
        Py_INCREF(value)
        PyTuple_SET_ITEM(found, at, value)
    return found


@cython.final
cdef class SharedHits:
    """See _shared_hits_py.SharedHits."""

    cdef object driver, claims, statistics, hooks, typed, key, kind, load, decode, identity_of, ttl
    cdef str entity, epoch_key
    cdef bytes fingerprint
    cdef dict plans
    cdef Py_ssize_t identity_at  # in a row; -1: the identity has several columns

    def __init__(self, access):
        entity, subject = access.entity, access.subject
        self.driver = access.driver
        self.claims = access.claims
        self.statistics = access.statistics
        self.hooks = access.hooks
        self.typed = entity.typed_identity
        self.key = entity.key
        self.ttl = entity.policy.lease_ttl
        self.entity = entity.name
        self.epoch_key = entity.epoch_key
        self.fingerprint = subject.fingerprint
        self.load = subject.load
        # What it raises for another form of a row, load reads, or says what is wrong with it.
        plain = self.load == entity.codec.decode and not entity.codec.mutable
        self.decode = entity.codec.decode_typed if plain else None
        self.identity_of = subject.identity_of
        names = entity.identity
        self.identity_at = entity.position[names[0]] if len(names) == 1 else -1
        column = entity.codec.columns[self.identity_at] if len(names) == 1 else None
        self.kind = column.type if column is not None and column.kind == "scalar" else None
        self.plans = {names: tuple(plan) for names, plan in plans_of(access).items()}

    def get(self, identity, /):
        """See _shared_hits_py.SharedHits.get."""
        if type(identity) is not self.kind:
            identity = self.typed(identity)
        return self.ask(self.key(identity), identity, None, None)

    def find(self, tuple names not None, tuple values not None, /):
        """See _shared_hits_py.SharedHits.find."""
        cdef Py_ssize_t at, count = PyTuple_GET_SIZE(values)
        cdef tuple kinds
        cdef tuple plan = <tuple>self.plans.get(names)
        if plan is None:
            return None
        kinds = plan[KINDS]
        if PyTuple_GET_SIZE(kinds) != count:
            return None
        for at in range(count):
            if type(values[at]) is not kinds[at]:
                return None
        maker = plan[KEY]
        claim = self.claims.get(maker(values[0]) if count == 1 else maker(*values))
        if claim is None:
            return None
        identity = claim.identity
        return self.ask(self.key(identity), identity, plan[POSITIONS], claim)

    def row(self, seen, identity, /):
        """See _shared_hits_py.SharedHits.row."""
        return self.confirmed(seen, identity, None, None)

    def row_of(self, seen, tuple names not None, claim, /):
        """See _shared_hits_py.SharedHits.row_of."""
        return self.confirmed(seen, claim.identity, (<tuple>self.plans[names])[POSITIONS], claim)

    def rows(self, seen, identities, /):
        """See _shared_hits_py.SharedHits.rows."""
        cdef Py_ssize_t at = 0
        cdef list rows = []
        if isinstance(seen, BackendError):
            return None
        epoch = seen[0]
        for identity in identities:
            at += 1
            row = self.believed(seen[at], epoch, identity)
            if row is None:
                return None
            rows.append(row)
        return rows if type(epoch) is VALUE else None

    cdef object ask(self, key, identity, tuple positions, claim):
        """See _shared_hits_py.SharedHits._ask."""
        token = NEW_TOKEN()
        try:
            seen = self.driver.backend.acquire((self.epoch_key, key), token, self.ttl)
        except BackendError as error:
            seen = error
        row = self.confirmed(seen, identity, positions, claim)
        if row is None:
            return LOOKED(key, identity, token, seen, claim)
        self.statistics.hits += 1
        if self.hooks.subscribers:
            self.hooks.emit(HIT(self.entity, (key,)))
        return row

    cdef object confirmed(self, seen, identity, tuple positions, claim):
        """See _shared_hits_py.SharedHits._confirmed."""
        if isinstance(seen, BackendError):
            return None
        row = self.believed(seen[1], seen[0], identity)
        if row is None or claim is None:
            return row
        return row if picked(row, positions) == claim.spelling else None

    cdef object believed(self, entry, epoch, identity):
        """The row in an entry, if that is a hit."""
        if type(entry) is not VALUE or type(epoch) is not VALUE or not self.is_stamped(entry.stamp, epoch.stamp):
            return None
        payload = entry.payload
        row = None
        if self.decode is not None:
            try:
                row = self.decode(payload)
            except Exception:
                row = None
        if row is None:
            try:
                row = self.load(payload)
            except CorruptEntry:
                return None
        found = (<tuple?>row)[self.identity_at] if self.identity_at >= 0 else self.identity_of(row)
        return row if found == identity else None

    cdef bint is_stamped(self, bytes stamp, bytes epoch) except -1:
        """Whether the stamp is the epoch's followed by the fingerprint."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(epoch), rest = PyBytes_GET_SIZE(self.fingerprint)
        return (
            PyBytes_GET_SIZE(stamp) == size + rest
            and memcmp(PyBytes_AS_STRING(stamp), PyBytes_AS_STRING(epoch), size) == 0
            and memcmp(PyBytes_AS_STRING(stamp) + size, PyBytes_AS_STRING(self.fingerprint), rest) == 0
        )
