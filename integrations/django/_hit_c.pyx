# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of _hit_py, which says what everything means."""

from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.ref cimport Py_INCREF

from cachecore.lookups import Claim
from cachecore.entries import Value
from cachecore.events import Hit

cdef object VALUE = Value
cdef object CLAIM = Claim
cdef object HIT = Hit


cdef inline tuple picked(tuple row, tuple positions):
    """The values of a row at these positions."""
    cdef Py_ssize_t i, count = PyTuple_GET_SIZE(positions)
    cdef tuple found = PyTuple_New(count)
    for i in range(count):
        value = row[<Py_ssize_t?>positions[i]]
        Py_INCREF(value)
        PyTuple_SET_ITEM(found, i, value)
    return found


cdef inline object meant(value, kind, tuple remote):
    """A value of precisely this type, which an instance of the remote model may stand for; else None."""
    if type(value) is kind:
        return value
    if remote is None or type(value) is not remote[0]:
        return None
    value = value.__dict__.get(remote[1])
    return value if type(value) is kind else None


cdef class HitPath:
    """See _hit_py.HitPath."""

    cdef object dirty, writes_here, plan, records, hooks, statistics, instance, alias
    cdef str entity, epoch_key
    cdef bytes fingerprint
    cdef object identity_key
    cdef tuple tracked
    cdef tuple current  # (the epoch last seen, the stamp that rows have under it): replaced as a whole
    cdef dict plans  # by the keyword, or by the tuple of several

    def __init__(self, dirty, writes_here, plan, records, instance, alias, tracked):
        self.dirty = dirty
        self.writes_here = writes_here
        self.plan = plan
        self.plans = {}
        self.records = records
        self.hooks = records.hooks
        self.statistics = records.statistics
        self.entity = records.entity.name
        self.epoch_key = records.entity.epoch_key
        self.identity_key = records.entity.key
        self.fingerprint = records.subject.fingerprint
        self.current = (None, b"")
        self.instance = instance
        self.alias = alias
        self.tracked = tracked

    cdef object believed(self, key):
        """The read of the protocol, as in cachecore.records.Records; the hit is not yet counted."""
        cdef tuple current
        read = self.records.read  # anew each time: closing the cache replaces it
        entry = read(key)
        if type(entry) is not VALUE:
            return None
        epoch = read(self.epoch_key)
        current = self.current
        if epoch is not <object>PyTuple_GET_ITEM(current, 0):
            if type(epoch) is not VALUE:
                return None
            current = self.current = (epoch, epoch.stamp + self.fingerprint)
        if entry.stamp != <object>PyTuple_GET_ITEM(current, 1):
            return None
        return entry.payload

    cdef count(self, key):
        """Count a hit and tell who listens."""
        self.statistics.hits += 1
        if self.hooks.subscribers:
            self.hooks.emit(HIT(self.entity, (key,)))

    cdef object payload(self, key):
        """See cachecore.records.Records.payload."""
        row = self.believed(key)
        if row is not None:
            self.count(key)
        return row

    cdef object pointed_payload(self, pointer, tuple positions):
        """See cachecore.records.Records.pointed_payload."""
        entry = self.records.read(pointer)
        if type(entry) is not VALUE:
            return None
        claim = entry.payload
        if type(claim) is not CLAIM:
            return None
        key = self.identity_key(claim.identity)
        row = self.believed(key)
        if row is None or picked(row, positions) != claim.spelling:
            return None
        self.count(key)
        return row

    def hit(self, dict query not None, /):
        """See _hit_py.HitPath.hit."""
        cdef tuple plan, kinds, remotes, order, values
        cdef Py_ssize_t i, at, place = 0, count = PyDict_Size(query)
        cdef PyObject* name
        cdef PyObject* only
        if self.dirty.any and self.writes_here():
            return None
        if count == 1:
            PyDict_Next(query, &place, &name, &only)
            names = <object>name
        else:
            names = tuple(query)
        found = self.plans.get(names)
        if found is None:
            found = self.plan((names,) if count == 1 else names)
            if found is None:
                return None
            self.plans[names] = found
        plan = <tuple>found
        kinds, remotes, order, key, positions = plan
        if count == 1:
            value = meant(<object>only, kinds[0], remotes[0])
            if value is None:
                return None
            key = key(value)
        else:
            values = tuple(query.values())
            ordered = []
            for i in range(count):
                at = order[i]
                value = meant(values[at], kinds[at], remotes[at])
                if value is None:
                    return None
                ordered.append(value)
            key = key(*ordered)
        row = self.payload(key) if positions is None else self.pointed_payload(key, positions)
        if row is None:
            return None
        return self.instance(row, self.alias, picked(row, self.tracked))
