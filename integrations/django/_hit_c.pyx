# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of _hit_py, which says what everything means.

Looking an attribute up takes longer than all the rest of a hit, so what a hit reads of the objects of the core it reads
from their slots, whose place in an object Python tells (`offset_of`).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_GET_SIZE
from cpython.object cimport Py_EQ, PyObject, PyObject_RichCompareBool
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from cpython.ref cimport Py_INCREF
from libc.string cimport memcmp

from asyncio import _get_running_loop

from cachecore.entries import Value
from cachecore.errors import BackendError, CorruptEntry
from cachecore.events import Hit, Hooks
from cachecore.integrations.django.writing.connection import ATTRIBUTE, ConnectionState
from cachecore.lookups import Claim
from cachecore.statistics import Statistics
from cachecore.unit import new_token

cdef extern from *:
    """
    #include <structmember.h>

    /* Where the objects of a class keep this slot; -1 if it is none. */
    static Py_ssize_t cachecore_offset_of(PyObject *type, PyObject *slot) {
        PyMemberDescrObject *member = (PyMemberDescrObject *)slot;
        if (!Py_IS_TYPE(slot, &PyMemberDescr_Type) || (PyObject *)PyDescr_TYPE(slot) != type) return -1;
        return member->d_member->type == T_OBJECT_EX ? member->d_member->offset : -1;
    }

    /* What stands in a slot: borrowed, NULL if nothing does. */
    static inline PyObject *cachecore_in_slot(PyObject *object, Py_ssize_t offset) {
        return *(PyObject **)((char *)object + offset);
    }

    /* Replace what stands in a slot, which something does. */
    static inline void cachecore_put_in_slot(PyObject *object, Py_ssize_t offset, PyObject *value) {
        PyObject **slot = (PyObject **)((char *)object + offset), *old = *slot;
        Py_INCREF(value);
        *slot = value;
        Py_DECREF(old);
    }
    """
    Py_ssize_t cachecore_offset_of(object type, object slot) noexcept
    PyObject* in_slot "cachecore_in_slot"(object, Py_ssize_t) noexcept
    void put_in_slot "cachecore_put_in_slot"(object, Py_ssize_t, object) noexcept


cdef Py_ssize_t offset_of(object kind, str name) except -1:
    """Where the objects of precisely this class keep their slot of this name. Raises TypeError if it is none."""
    cdef Py_ssize_t offset = cachecore_offset_of(kind, kind.__dict__.get(name))
    if offset <= 0:
        raise TypeError(f"{kind.__name__}.{name} is no slot")
    return offset


cdef object RUNNING_LOOP = _get_running_loop
cdef object STATE = ConnectionState
cdef str STATE_OF = ATTRIBUTE
cdef object NEW_TOKEN = new_token
cdef object VALUE = Value
cdef object CLAIM = Claim
cdef object HIT = Hit

cdef Py_ssize_t PAYLOAD = offset_of(Value, "payload")
cdef Py_ssize_t STAMP = offset_of(Value, "stamp")
cdef Py_ssize_t IDENTITY = offset_of(Claim, "identity")
cdef Py_ssize_t SPELLING = offset_of(Claim, "spelling")
cdef Py_ssize_t HITS = offset_of(Statistics, "hits")
cdef Py_ssize_t SUBSCRIBERS = offset_of(Hooks, "subscribers")

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


cdef bint confirms(tuple row, tuple positions, tuple spelling) except -1:
    """Whether the values of a row at these positions are those of the claim."""
    cdef Py_ssize_t i, count = PyTuple_GET_SIZE(positions)
    if PyTuple_GET_SIZE(spelling) != count:
        return False
    for i in range(count):
        if not PyObject_RichCompareBool(row[<Py_ssize_t?>positions[i]], spelling[i], Py_EQ):
            return False
    return True


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

    cdef list dirty
    cdef object writes_here, read, hooks, statistics, instance, alias, identity_key
    cdef _Plans plans
    cdef str entity, epoch_key
    cdef bytes fingerprint
    cdef tuple tracked
    cdef tuple current  # (the epoch last seen, the stamp that rows have under it): replaced as a whole

    def __init__(self, dirty, writes_here, plan, records, instance, alias, tracked):
        self.dirty = dirty
        self.writes_here = writes_here
        self.plans = _Plans(plan)
        self.hooks = records.hooks
        self.statistics = records.statistics
        if type(self.hooks) is not Hooks or type(self.statistics) is not Statistics:
            raise TypeError("the slots of hooks and statistics are those of precisely their classes")
        self.entity = records.entity.name
        self.epoch_key = records.entity.epoch_key
        self.identity_key = records.entity.key
        self.fingerprint = records.subject.fingerprint
        self.current = (None, b"")
        self.instance = instance
        self.alias = alias
        self.tracked = tracked
        records.lend_read(self.take_read)

    def take_read(self, read):
        """How an entry is read from now on."""
        self.read = read

    cdef tuple believed(self, key):
        """The read of the protocol, as in cachecore.records.Records; the hit is not yet counted."""
        cdef tuple current
        cdef bytes stamp
        entry = self.read(key)
        if type(entry) is not VALUE:
            return None
        epoch = self.read(self.epoch_key)
        current = self.current
        if epoch is not <object>PyTuple_GET_ITEM(current, 0):
            if type(epoch) is not VALUE:
                return None
            current = self.current = (epoch, epoch.stamp + self.fingerprint)
        stamp = <bytes>in_slot(entry, STAMP)
        if stamp != <bytes>PyTuple_GET_ITEM(current, 1):
            return None
        return <tuple?><object>in_slot(entry, PAYLOAD)

    cdef int count(self, key) except -1:
        """Count a hit and tell who listens."""
        # The GIL is kept from the read to the write: see cachecore.statistics.
        put_in_slot(self.statistics, HITS, <object>in_slot(self.statistics, HITS) + 1)
        if <object>in_slot(self.hooks, SUBSCRIBERS):
            self.hooks.emit(HIT(self.entity, (key,)))
        return 0

    cdef tuple pointed(self, pointer, tuple positions):
        """The row that a pointer leads to and that confirms its claim; counted."""
        cdef tuple row
        entry = self.read(pointer)
        if type(entry) is not VALUE:
            return None
        claim = <object>in_slot(entry, PAYLOAD)
        if type(claim) is not CLAIM:
            return None
        key = self.identity_key(<object>in_slot(claim, IDENTITY))
        row = self.believed(key)
        if row is None or not confirms(row, positions, <tuple?><object>in_slot(claim, SPELLING)):
            return None
        self.count(key)
        return row

    @cython.binding(False)  # a plain C method, which is called with nothing in between
    def hit(self, dict query not None, /):
        """See _hit_py.HitPath.hit."""
        cdef tuple plan, row
        cdef list values
        cdef Py_ssize_t place = 0
        cdef PyObject* name
        cdef PyObject* only
        if PyList_GET_SIZE(self.dirty) and self.writes_here():
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
        if positions is None:
            row = self.believed(key)
            if row is None:
                return None
            self.count(key)
        else:
            row = self.pointed(key, positions)
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
        cdef object payload
        if type(entry) is not VALUE or type(epoch) is not VALUE:
            return None
        if not self.is_stamped(<object>in_slot(entry, STAMP), <object>in_slot(epoch, STAMP)):
            return None
        payload = <object>in_slot(entry, PAYLOAD)
        try:
            try:
                row = self.decode(payload)
            except Exception:
                row = self.decode_any(payload)
            found = row[self.identity_at] if self.identity_at >= 0 else self.identity_of(row)
            if found != identity:
                return None
            if claim is not None and not confirms(row, positions, claim.spelling):
                return None
            return self.instance(row, self.alias, picked(row, self.tracked))
        except CorruptEntry:
            return None
