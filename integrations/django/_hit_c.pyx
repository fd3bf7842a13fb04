# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of _hit_py, which says what everything means."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.string cimport memcmp

from asyncio import _get_running_loop

from cachecore.entries import Value
from cachecore.errors import BackendError, CorruptEntry
from cachecore.events import Hit
from cachecore.integrations.django.writing.connection import ATTRIBUTE, ConnectionState
from cachecore.lookups import Claim
from cachecore.unit import new_token

cdef object RUNNING_LOOP = _get_running_loop
cdef object STATE = ConnectionState
cdef str STATE_OF = ATTRIBUTE
cdef object NEW_TOKEN = new_token
cdef object VALUE = Value
cdef object CLAIM = Claim
cdef object HIT = Hit

cdef enum:  # where a Plan has what
    KINDS, REMOTES, ORDER, KEY, POSITIONS, NAMES


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


@cython.final
cdef class _Plans:
    """See _hit_py._Plans."""

    cdef object make
    cdef dict plans  # by the keyword, or by the tuple of several

    def __init__(self, plan):
        self.make = plan
        self.plans = {}

    cdef tuple plan(self, names):
        """The plan for a keyword, or for a tuple of several."""
        found = self.plans.get(names)
        if found is None:
            found = self.make((names,) if type(names) is str else names)
            if found is not None:
                self.plans[names] = found
        return <tuple>found

    cdef tuple asked(self, dict query, list values):
        """The plan of a question; its values, in the order of the declared lookup, are put into the empty list."""
        cdef tuple plan, kinds, remotes, order, given
        cdef Py_ssize_t at, place = 0
        cdef PyObject* name
        cdef PyObject* only
        if PyDict_Size(query) == 1:
            PyDict_Next(query, &place, &name, &only)
            names = <object>name
            value = <object>only
            plan = self.plan(names)
            if plan is None:
                return None
            value = meant(value, (<tuple>plan[KINDS])[0], (<tuple>plan[REMOTES])[0])
            if value is None:
                return None
            values.append(value)
            return plan
        plan = self.plan(tuple(query))
        if plan is None:
            return None
        kinds, remotes, order = plan[KINDS], plan[REMOTES], plan[ORDER]
        given = tuple(query.values())
        for at in order:
            value = meant(given[at], kinds[at], remotes[at])
            if value is None:
                return None
            values.append(value)
        return plan


@cython.final
cdef class HitPath:
    """See _hit_py.HitPath."""

    cdef object dirty, writes_here, records, hooks, statistics, instance, alias
    cdef _Plans plans
    cdef str entity, epoch_key
    cdef bytes fingerprint
    cdef object identity_key
    cdef tuple tracked
    cdef tuple current  # (the epoch last seen, the stamp that rows have under it): replaced as a whole

    def __init__(self, dirty, writes_here, plan, records, instance, alias, tracked):
        self.dirty = dirty
        self.writes_here = writes_here
        self.plans = _Plans(plan)
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
        cdef tuple plan
        cdef list values
        cdef Py_ssize_t place = 0
        cdef PyObject* name
        cdef PyObject* only
        if self.dirty.any and self.writes_here():
            return None
        if PyDict_Size(query) == 1:  # most are: without a list of their values
            PyDict_Next(query, &place, &name, &only)
            value = <object>only
            plan = self.plans.plan(<object>name)
            if plan is None:
                return None
            value = meant(value, (<tuple>plan[KINDS])[0], (<tuple>plan[REMOTES])[0])
            if value is None:
                return None
            key = plan[KEY](value)
        else:
            values = []
            plan = self.plans.asked(query, values)
            if plan is None:
                return None
            key = plan[KEY](*values)
        positions = plan[POSITIONS]
        row = self.payload(key) if positions is None else self.pointed_payload(key, positions)
        if row is None:
            return None
        return self.instance(row, self.alias, picked(row, self.tracked))


@cython.final
cdef class SharedPath:
    """See _hit_py.SharedPath."""

    cdef object threads, records, claims, backend, identity_key, decode, decode_any, identity_of
    cdef object instance, alias, resume, resume_many, hooks, statistics, ttl
    cdef str entity, epoch_key
    cdef bytes fingerprint
    cdef tuple tracked
    cdef Py_ssize_t identity_at  # in a row; -1: the identity has several columns
    cdef _Plans plans

    def __init__(self, threads, plan, records, instance, alias, tracked, resume, resume_many):
        self.threads = threads
        self.plans = _Plans(plan)
        self.records = records
        self.claims = records.claims
        self.backend = records.driver.backend
        self.hooks = records.hooks
        self.statistics = records.statistics
        self.entity = records.entity.name
        self.epoch_key = records.entity.epoch_key
        self.identity_key = records.entity.key
        self.identity_of = records.entity.identity_of
        names = records.entity.identity
        self.identity_at = records.entity.position[names[0]] if len(names) == 1 else -1
        self.ttl = records.entity.policy.lease_ttl
        self.fingerprint = records.subject.fingerprint
        self.decode = records.entity.codec.decode_typed
        self.decode_any = records.entity.codec.decode_frozen
        self.instance = instance
        self.alias = alias
        self.tracked = tracked
        self.resume = resume
        self.resume_many = resume_many

    def get(self, dict query not None, /):
        """See _hit_py.SharedPath.get."""
        cdef tuple plan
        cdef list values = []
        if not self.is_idle():
            return None
        plan = self.plans.asked(query, values)
        if plan is None:
            return None
        maker = plan[KEY]
        positions = plan[POSITIONS]
        claim = None
        if positions is None:
            identity = values[0]
            key = maker(identity)
        else:
            claim = self.claims.get(maker(values[0]) if len(values) == 1 else maker(*values))
            if claim is None:
                return None
            identity = claim.identity
            key = self.identity_key(identity)
        token = NEW_TOKEN()
        try:
            seen = self.backend.acquire((self.epoch_key, key), token, self.ttl)
        except BackendError as error:
            seen = error
        else:
            instance = self.believed(seen[1], seen[0], identity, positions, claim)
            if instance is not None:
                self.statistics.hits += 1
                if self.hooks.subscribers:
                    self.hooks.emit(HIT(self.entity, (key,)))
                return instance
        return self.resume(plan[NAMES], values, claim, {key: identity}, (token, seen))

    def get_many(self, str name, list values not None, /):
        """See _hit_py.SharedPath.get_many."""
        cdef tuple plan
        cdef list meanings, keys, identities, claims = None, instances
        cdef dict asked
        cdef Py_ssize_t at, count = len(values)
        if not count or not self.is_idle():
            return None
        plan = self.plans.plan(name)
        if plan is None:
            return None
        kind, remote, positions = (<tuple>plan[KINDS])[0], (<tuple>plan[REMOTES])[0], plan[POSITIONS]
        meanings = []
        for value in values:
            value = meant(value, kind, remote)
            if value is None:
                return None
            meanings.append(value)
        keys = plan[KEY].many(meanings)
        identities = meanings
        if positions is not None:
            claims, identities = [], []
            for key in keys:
                claim = self.claims.get(key)
                if claim is None:
                    return None
                claims.append(claim)
                identities.append(claim.identity)
            keys = self.identity_key.many(identities)
        asked = {}
        for at in range(count):
            asked[keys[at]] = identities[at]
        if len(asked) < count:
            return None
        token = NEW_TOKEN()
        try:
            seen = self.backend.acquire([self.epoch_key, *keys], token, self.ttl)
        except BackendError as error:
            seen = error
        else:
            instances = []
            epoch = seen[0]
            for at in range(count):
                claim = None if claims is None else claims[at]
                instance = self.believed(seen[at + 1], epoch, identities[at], positions, claim)
                if instance is None:
                    break
                instances.append(instance)
            else:
                self.statistics.hits += count
                if self.hooks.subscribers:
                    self.hooks.emit(HIT(self.entity, tuple(keys)))
                return instances
        return self.resume_many(plan[NAMES], meanings, claims, asked, (token, seen))

    cdef bint is_stamped(self, bytes stamp, bytes epoch) except -1:
        """Whether the stamp is the epoch's followed by the fingerprint."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(epoch), rest = PyBytes_GET_SIZE(self.fingerprint)
        if PyBytes_GET_SIZE(stamp) != size + rest:
            return False
        return (
            memcmp(PyBytes_AS_STRING(stamp), PyBytes_AS_STRING(epoch), size) == 0
            and memcmp(PyBytes_AS_STRING(stamp) + size, PyBytes_AS_STRING(self.fingerprint), rest) == 0
        )

    cdef bint is_idle(self) except -1:
        """See connection.is_idle and ConnectionState.is_idle."""
        if RUNNING_LOOP() is not None:
            return False
        connection = getattr(self.threads, self.alias, None)
        state = getattr(connection, STATE_OF, None)
        if type(state) is not STATE or connection.in_atomic_block or state.units or state.cursors:
            return False
        if connection.connection is None:
            return connection.settings_dict["AUTOCOMMIT"]
        return connection.autocommit

    cdef object believed(self, entry, epoch, identity, positions, claim):
        """See _hit_py.SharedPath._believed."""
        cdef tuple row
        if type(entry) is not VALUE or type(epoch) is not VALUE or not self.is_stamped(entry.stamp, epoch.stamp):
            return None
        try:
            try:
                row = self.decode(entry.payload)
            except Exception:
                row = self.decode_any(entry.payload)
            found = row[self.identity_at] if self.identity_at >= 0 else self.identity_of(row)
            if found != identity:
                return None
            if claim is not None and picked(row, positions) != claim.spelling:
                return None
            return self.instance(row, self.alias, picked(row, self.tracked))
        except CorruptEntry:
            return None
