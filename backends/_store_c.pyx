# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The bounded map in Cython: the same answers as ``_store_py``, which defines them, at a tenth of the time.

Theory of operation
-------------------
Everything stands in plain C arrays. Beyond its key and its value an entry costs 48 bytes of node, 11 to 22 of index
and 4 of ghosts, and there is no Python object of its own for it:

``nodes``  one slot an entry, linked by number into one of three queues (``_store_py`` says what the queues mean).
``table``  the index: open addressing with linear probing, a power of two of slots, at most 3/4 of them taken. A slot
           holds 32 bits of the key's hash and the node's number; a removal moves followers up: no tombstones.
``ghosts`` two tables, of keys evicted from the small and from the main queue: buckets of eight 32-bit fingerprints.

Threads: the GIL is the lock. That holds because nothing that runs Python code, and so could give the GIL up or call
the store again, happens between the first and the last write of a mutation: no Python object is made (so no garbage
collection starts), keys are exact ``str`` (so hashing and comparing stay in C), arguments are converted and the
injected clock is read before, and references are dropped after. A removed entry goes to the ``dead`` chain, key and
value still held; ``drain`` takes one at a time off the chain, brings the arrays in order and only then drops the
references. A destructor that calls the store thus finds it whole, and leaves the chain to the drain that is already
running in its thread, so a million destructors do not nest.

The garbage collector does not visit the values. To it they are referenced from outside, which is safe (nothing is
freed too early) and spares it a walk over every entry at each full collection. The price: a value that leads back to
its own store keeps both alive until it is replaced, deleted, evicted, purged or cleared.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

from cachecore.backends._store_py import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_ENTRIES,
    DEFAULT_POLICY,
    ENTRY_OVERHEAD,
    StoreStats,
    check_entry,
    check_key,
    check_settings,
)

cdef extern from *:
    """
    #include <string.h>
    #include <time.h>

    #define CACHECORE_NONE 0xFFFFFFFFu

    #ifdef CLOCK_MONOTONIC_COARSE  /* the time of the last tick, 1 to 10 ms old: several times cheaper to read */
    #define CACHECORE_CLOCK CLOCK_MONOTONIC_COARSE
    #else
    #define CACHECORE_CLOCK CLOCK_MONOTONIC
    #endif

    static inline double cachecore_now(void) {
        struct timespec now;
        clock_gettime(CACHECORE_CLOCK, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }

    /* The hash of an exact str, which keeps it once it was asked for; never fails. */
    static inline uint64_t cachecore_hash(PyObject *text) {
        Py_hash_t known = ((PyASCIIObject *)text)->hash;
        return (uint64_t)(known != -1 ? known : PyObject_Hash(text));
    }

    /* Equality of two exact str. Equal ones are of the same kind, because CPython keeps the narrowest. */
    static inline int cachecore_same(PyObject *a, PyObject *b) {
        Py_ssize_t length = PyUnicode_GET_LENGTH(a);
        return length == PyUnicode_GET_LENGTH(b) && PyUnicode_KIND(a) == PyUnicode_KIND(b)
            && memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * PyUnicode_KIND(a)) == 0;
    }
    """
    const uint32_t NONE "CACHECORE_NONE"
    double cachecore_now() noexcept
    uint64_t cachecore_hash(PyObject *text) noexcept
    bint cachecore_same(PyObject *a, PyObject *b) noexcept

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject *text) noexcept
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1
    unsigned long PyThread_get_thread_ident() noexcept
    void drop_reference "Py_DECREF"(PyObject *reference) noexcept

cdef enum:
    SMALL = 0
    MAIN = 1
    PINNED = 2
    WAYS = 8  # fingerprints in a bucket of ghosts
    MAX_FREQ = 3

cdef double MIN_SHARE = 0.1
cdef double MAX_SHARE = 0.5
cdef int64_t OVERHEAD = ENTRY_OVERHEAD

ctypedef struct Node:
    PyObject *key  # NULL: the slot is free
    PyObject *value
    double expires  # by the store's clock; INFINITY: never
    int64_t cost
    uint32_t newer  # towards the newest of the queue
    uint32_t older  # towards the oldest; in the free and the dead chain: the next one
    uint8_t freq
    uint8_t queue
    uint8_t home  # SMALL or MAIN: where a pinned entry goes when it is no longer pinned

ctypedef struct Slot:
    uint32_t tag
    uint32_t node  # NONE: the slot is empty

cdef Slot NO_TABLE  # the index of a store without entries: one slot, always empty
NO_TABLE.tag = 0
NO_TABLE.node = NONE


@cython.final
cdef class Store:
    """A bounded map in this process, compiled; documented in ``cachecore.backends._store_py``."""

    cdef Node *nodes
    cdef Slot *table
    cdef uint32_t *ghosts[2]
    cdef uint64_t mask  # slots of the table - 1
    cdef uint32_t capacity, used  # nodes there is memory for; nodes ever taken
    cdef uint32_t free, dead  # heads of the two chains
    cdef uint32_t oldest[3]
    cdef uint32_t newest[3]
    cdef uint32_t count[3]
    cdef int64_t bytes_in[3]
    cdef uint32_t ghost_capacity, buckets
    cdef double share
    cdef bint lru
    cdef uint32_t entries_bound
    cdef int64_t bytes_bound
    cdef unsigned long drainer  # the thread that is dropping references; 0: none
    cdef object clock
    cdef readonly str policy
    cdef uint64_t hits, misses, evictions, expirations

    def __cinit__(
        self,
        *,
        max_entries=DEFAULT_MAX_ENTRIES,
        max_bytes=DEFAULT_MAX_BYTES,
        policy=DEFAULT_POLICY,
        clock=None,
    ):
        self.forget()
        check_settings(max_entries, max_bytes, policy)
        self.entries_bound = max_entries
        self.bytes_bound = max_bytes
        self.policy = policy
        self.lru = policy == "lru"
        self.clock = clock

    def __dealloc__(self):
        self.release()

    # The public operations: arguments and the clock first, then the mutation, then the references.

    @cython.binding(False)  # a plain C method: who has it bound calls it with nothing in between
    def get(self, key, /):
        """The value under key, or None if there is none or it has expired. Counts as an access."""
        cdef double now = 0
        cdef uint32_t at
        cdef Node *node
        if type(key) is not str:
            check_key(key)
        if self.clock is not None:
            now = self.clock()
        at = self.find(<PyObject *>key)
        if at == NONE:
            self.misses += 1
            return None
        node = &self.nodes[at]
        if node.expires != INFINITY and node.expires <= (cachecore_now() if self.clock is None else now):
            self.misses += 1
            self.expirations += 1
            self.remove(at)
            self.drain()
            return None
        self.hits += 1
        if not self.lru:
            if node.freq < MAX_FREQ:
                node.freq += 1
        elif node.newer != NONE and node.queue == MAIN:
            self.unlink(at)
            self.link(at, MAIN)
        return <object>node.value

    def peek(self, key, /):
        """The same without counting an access, a hit or a miss."""
        cdef uint32_t at
        cdef double now
        if type(key) is not str:
            check_key(key)
        now = self.now()
        at = self.find(<PyObject *>key)
        if at == NONE:
            return None
        if self.nodes[at].expires <= now:
            self.expirations += 1
            self.remove(at)
            self.drain()
            return None
        return <object>self.nodes[at].value

    def set(self, key, value, weight, ttl, *, bint pinned=False):
        """Put value under key; True if it stands there now, False if it does not fit and the key is absent."""
        cdef int overflow = 0
        cdef int64_t cost
        cdef double lifetime, now
        cdef uint32_t at
        cdef bint stored
        cdef PyObject *old = NULL
        if type(key) is not str:
            check_key(key)
        cost = PyLong_AsLongLongAndOverflow(weight, &overflow)
        if value is None or cost < 0 and overflow <= 0:
            check_entry(key, value, weight)
        lifetime = INFINITY if ttl is None else ttl
        now = self.now()
        self.reserve()
        if overflow > 0 or cost > self.bytes_bound:  # spares the sum an overflow
            cost = self.bytes_bound
        cost += PyUnicode_GET_LENGTH(<PyObject *>key) + OVERHEAD
        at = self.find(<PyObject *>key)
        if at != NONE and self.nodes[at].expires <= now:
            self.expirations += 1
            self.remove(at)
            at = NONE
        if not lifetime > 0 or cost > self.bytes_bound or not self.admits(cost, pinned, at, now):
            if at != NONE:
                self.remove(at)
            stored = False
        else:
            if at != NONE:
                old = self.replace(at, cost, pinned, now)
            else:
                at = self.insert(<PyObject *>key, cost, pinned, now)
            Py_INCREF(value)
            self.nodes[at].value = <PyObject *>value
            self.nodes[at].expires = now + lifetime
            stored = True
        self.drain()
        if old != NULL:
            drop_reference(old)
        return stored

    def delete(self, key, /):
        """Remove key; True if a value stood there that had not expired."""
        cdef uint32_t at
        cdef double now
        cdef bint live
        if type(key) is not str:
            check_key(key)
        now = self.now()
        at = self.find(<PyObject *>key)
        if at == NONE:
            return False
        live = self.nodes[at].expires > now
        if not live:
            self.expirations += 1
        self.remove(at)
        self.drain()
        return live

    def clear(self):
        """Remove everything, what the policy learnt too; the counts of stats() go on."""
        self.release()

    def start_empty(self):
        """Be empty in the child of a fork, where a thread that was in the middle of an operation does not exist."""
        self.drainer = 0
        self.release()

    def purge(self):
        """Drop every entry that has expired; how many there were. Takes time in proportion to all entries."""
        cdef double now = self.now()
        cdef uint32_t at, newer, dropped = 0
        cdef int queue
        for queue in range(3):
            at = self.oldest[queue]
            while at != NONE:
                newer = self.nodes[at].newer
                if self.nodes[at].expires <= now:
                    self.remove(at)
                    dropped += 1
                at = newer
        self.expirations += dropped
        self.drain()
        return dropped

    def keys(self):
        """The keys that have not expired: small queue, main queue, pinned; in each the next one to go first."""
        cdef double now = self.now()
        cdef uint32_t at, found = 0, position
        cdef int queue
        # Collected without making an object: a list could start a garbage collection, whose destructors may call us.
        cdef PyObject **held = <PyObject **>PyMem_Malloc(max(1, self.entries()) * sizeof(PyObject *))
        if held == NULL:
            raise MemoryError
        for queue in range(3):
            at = self.oldest[queue]
            while at != NONE:
                if self.nodes[at].expires > now:
                    Py_INCREF(<object>self.nodes[at].key)
                    held[found] = self.nodes[at].key
                    found += 1
                at = self.nodes[at].newer
        try:
            return [<object>held[position] for position in range(found)]
        finally:
            for position in range(found):
                drop_reference(held[position])
            PyMem_Free(held)

    def __len__(self):
        return self.entries()

    def __sizeof__(self):
        """Bytes of the object and of its arrays; keys and values not counted."""
        cdef Py_ssize_t own = object.__sizeof__(self) + self.capacity * sizeof(Node)
        if self.table != &NO_TABLE:
            own += (self.mask + 1) * sizeof(Slot)
        return own + 2 * self.buckets * WAYS * sizeof(uint32_t)

    @property
    def bytes(self):
        """What the entries weigh: each its weight, the length of its key and ENTRY_OVERHEAD."""
        return self.total()

    @property
    def max_entries(self):
        """The bound on the number of entries."""
        return self.entries_bound

    @property
    def max_bytes(self):
        """The bound on what the entries weigh."""
        return self.bytes_bound

    def stats(self):
        """What has happened so far, and what stands there now."""
        return StoreStats(
            hits=self.hits,
            misses=self.misses,
            evictions=self.evictions,
            expirations=self.expirations,
            entries=self.entries(),
            bytes=self.total(),
        )

    # The policy, step by step as in _store_py.

    cdef bint admits(self, int64_t cost, bint pinned, uint32_t at, double now) noexcept:
        """Whether an entry can stand beside the pinned ones, which nothing displaces."""
        if pinned or self.fits_beside_pinned(cost, at):
            return True
        self.sweep(self.count[PINNED], now)
        return self.fits_beside_pinned(cost, at)

    cdef bint fits_beside_pinned(self, int64_t cost, uint32_t at) noexcept:
        cdef uint64_t entries = <uint64_t>self.count[PINNED] + 1
        cdef int64_t total = self.bytes_in[PINNED] + cost
        if at != NONE and self.nodes[at].queue == PINNED:
            entries -= 1
            total -= self.nodes[at].cost
        return entries <= self.entries_bound and total <= self.bytes_bound

    cdef PyObject *replace(self, uint32_t at, int64_t cost, bint pinned, double now) noexcept:
        """Give an entry its new cost and make room; returns the old value, whose reference is now the caller's."""
        cdef Node *node = &self.nodes[at]
        cdef PyObject *old = node.value
        self.bytes_in[node.queue] += cost - node.cost
        node.cost = cost
        if pinned != (node.queue == PINNED):
            self.unlink(at)
            self.link(at, PINNED if pinned else node.home)
        self.make_room(0, 0, at, now)
        return old

    cdef uint32_t insert(self, PyObject *key, int64_t cost, bint pinned, double now) noexcept:
        """Make room, then take a node for a new key. The caller has called reserve and writes value and expires."""
        cdef uint64_t hash_ = cachecore_hash(key)
        cdef int home = self.place(hash_)
        cdef uint32_t at
        cdef Node *node
        self.make_room(1, cost, NONE, now)
        at = self.free
        if at != NONE:
            self.free = self.nodes[at].older
        else:
            at = self.used
            self.used += 1
        node = &self.nodes[at]
        Py_INCREF(<object>key)
        node.key = key
        node.cost = cost
        node.freq = 0
        node.home = home
        self.link(at, PINNED if pinned else home)
        self.index(at, <uint32_t>hash_)
        return at

    cdef int place(self, uint64_t hash_) noexcept:
        """The queue for a new key, by what the ghosts remember of it; moves the small queue's share."""
        if self.lru:
            return MAIN
        if self.take_ghost(SMALL, hash_):
            self.share = min(MAX_SHARE, self.share + 1.0 / max(1, self.entries()))
            return MAIN
        if self.take_ghost(MAIN, hash_):
            self.share = max(MIN_SHARE, self.share - 1.0 / max(1, self.entries()))
            return MAIN
        return SMALL

    cdef void make_room(self, uint32_t more, int64_t cost, uint32_t keep, double now) noexcept:
        """Drop entries, but never keep, until so many more entries and bytes fit or only pinned ones are left."""
        while (
            <uint64_t>self.entries() + more > self.entries_bound or self.total() + cost > self.bytes_bound
        ) and (self.sweep(1, now) or self.evict(keep, now)):
            pass

    cdef bint sweep(self, uint32_t steps, double now) noexcept:
        """Look at the oldest pinned entries in turn and drop those that have expired; whether there were any."""
        cdef bint dropped = False
        cdef uint32_t at, step
        for step in range(min(steps, self.count[PINNED])):
            at = self.oldest[PINNED]
            if self.nodes[at].expires <= now:
                self.expirations += 1
                self.remove(at)
                dropped = True
            else:
                self.unlink(at)
                self.link(at, PINNED)
        return dropped

    cdef bint evict(self, uint32_t keep, double now) noexcept:
        """Drop the one entry that the policy values least; False if there is none but keep and the pinned ones."""
        cdef uint32_t at, small, main
        cdef Node *node
        while True:
            small = self.next_to_go(SMALL, keep)
            main = self.next_to_go(MAIN, keep)
            at = small if small != NONE and (main == NONE or self.small_is_full()) else main
            if at == NONE:
                return False
            node = &self.nodes[at]
            if node.expires <= now:
                self.expirations += 1
                self.remove(at)
                return True
            if node.freq == 0:
                break
            node.freq = 0 if node.queue == SMALL else node.freq - 1
            self.unlink(at)
            self.link(at, MAIN)
        self.evictions += 1
        if not self.lru:
            self.add_ghost(node.queue, cachecore_hash(node.key))
        self.remove(at)
        return True

    cdef bint small_is_full(self) noexcept:
        return (
            self.count[SMALL] >= self.share * self.entries_bound
            or self.bytes_in[SMALL] >= self.share * self.bytes_bound
        )

    cdef inline uint32_t next_to_go(self, int queue, uint32_t keep) noexcept:
        cdef uint32_t at = self.oldest[queue]
        return self.nodes[at].newer if at != NONE and at == keep else at

    # Ghosts.

    cdef uint32_t *ghost_bucket(self, int queue, uint64_t hash_) noexcept:
        return self.ghosts[queue] + WAYS * (((hash_ >> 32) * self.buckets) >> 32)

    cdef void add_ghost(self, int queue, uint64_t hash_) noexcept:
        cdef uint32_t *bucket
        if self.entries() > self.ghost_capacity:
            self.resize_ghosts()
        if self.buckets == 0:
            return
        bucket = self.ghost_bucket(queue, hash_)
        memmove(bucket + 1, bucket, (WAYS - 1) * sizeof(uint32_t))
        bucket[0] = <uint32_t>hash_ | 1

    cdef bint take_ghost(self, int queue, uint64_t hash_) noexcept:
        cdef uint32_t *bucket
        cdef int way
        if self.buckets == 0:
            return False
        bucket = self.ghost_bucket(queue, hash_)
        for way in range(WAYS):
            if bucket[way] == (<uint32_t>hash_ | 1):
                memmove(bucket + way, bucket + way + 1, (WAYS - 1 - way) * sizeof(uint32_t))
                bucket[WAYS - 1] = 0
                return True
        return False

    cdef void resize_ghosts(self) noexcept:
        """Forget all ghosts; have room in each table for half as many as there are entries, and a quarter in reserve."""
        cdef int queue
        cdef uint64_t capacity = <uint64_t>self.entries() * 5 // 4
        self.ghost_capacity = max(self.entries(), <uint32_t>min(capacity, <uint64_t>self.entries_bound))
        self.buckets = self.ghost_capacity // (2 * WAYS) + 1
        for queue in range(2):
            PyMem_Free(self.ghosts[queue])
            self.ghosts[queue] = <uint32_t *>PyMem_Calloc(<size_t>self.buckets * WAYS, sizeof(uint32_t))
        if self.ghosts[SMALL] == NULL or self.ghosts[MAIN] == NULL:
            self.buckets = 0  # no memory: the policy works without, less well

    # Queues.

    cdef void link(self, uint32_t at, int queue) noexcept:
        cdef Node *node = &self.nodes[at]
        cdef uint32_t newest = self.newest[queue]
        node.queue = queue
        if queue != PINNED:
            node.home = queue
        node.newer = NONE
        node.older = newest
        if newest == NONE:
            self.oldest[queue] = at
        else:
            self.nodes[newest].newer = at
        self.newest[queue] = at
        self.count[queue] += 1
        self.bytes_in[queue] += node.cost

    cdef void unlink(self, uint32_t at) noexcept:
        cdef Node *node = &self.nodes[at]
        if node.older == NONE:
            self.oldest[node.queue] = node.newer
        else:
            self.nodes[node.older].newer = node.newer
        if node.newer == NONE:
            self.newest[node.queue] = node.older
        else:
            self.nodes[node.newer].older = node.older
        self.count[node.queue] -= 1
        self.bytes_in[node.queue] -= node.cost

    cdef inline uint32_t entries(self) noexcept:
        return self.count[SMALL] + self.count[MAIN] + self.count[PINNED]

    cdef inline int64_t total(self) noexcept:
        return self.bytes_in[SMALL] + self.bytes_in[MAIN] + self.bytes_in[PINNED]

    # The index.

    cdef inline uint32_t find(self, PyObject *key) noexcept:
        """The node of a key, or NONE."""
        cdef uint64_t hash_ = cachecore_hash(key)
        cdef uint32_t tag = <uint32_t>hash_
        cdef uint64_t position = hash_ & self.mask
        cdef Slot slot
        while True:
            slot = self.table[position]
            if slot.node == NONE:
                return NONE
            if slot.tag == tag and (self.nodes[slot.node].key == key or cachecore_same(self.nodes[slot.node].key, key)):
                return slot.node
            position = (position + 1) & self.mask

    cdef void index(self, uint32_t at, uint32_t tag) noexcept:
        cdef uint64_t position = tag & self.mask
        while self.table[position].node != NONE:
            position = (position + 1) & self.mask
        self.table[position].tag = tag
        self.table[position].node = at

    cdef void remove(self, uint32_t at) noexcept:
        """Take a node out of queue and index; its references are dropped by the next drain."""
        cdef uint64_t hole = cachecore_hash(self.nodes[at].key) & self.mask
        cdef uint64_t position
        self.unlink(at)
        while self.table[hole].node != at:
            hole = (hole + 1) & self.mask
        position = hole
        while True:  # Knuth, The Art of Computer Programming 3, 6.4, algorithm R: no slot may be cut off from its home
            position = (position + 1) & self.mask
            if self.table[position].node == NONE:
                break
            if ((position - self.table[position].tag) & self.mask) >= ((position - hole) & self.mask):
                self.table[hole] = self.table[position]
                hole = position
        self.table[hole].node = NONE
        self.nodes[at].older = self.dead
        self.dead = at

    # Memory.

    cdef int reserve(self) except -1:
        """Make sure that one more entry finds a node and a slot. Raises MemoryError with nothing changed."""
        cdef uint64_t capacity
        cdef void *grown
        if self.free == NONE and self.used == self.capacity:
            capacity = max(<uint64_t>64, <uint64_t>self.capacity * 3 // 2)
            if self.capacity <= self.entries_bound < capacity:
                capacity = <uint64_t>self.entries_bound + 1  # one more: the evicted one waits for its drain
            if capacity >= NONE:
                raise MemoryError
            grown = PyMem_Realloc(self.nodes, capacity * sizeof(Node))
            if grown == NULL:
                raise MemoryError
            self.nodes = <Node *>grown
            self.capacity = <uint32_t>capacity
        if (<uint64_t>self.entries() + 1) * 4 > (self.mask + 1) * 3:
            self.grow_table()
        return 0

    cdef int grow_table(self) except -1:
        cdef Slot *old = self.table
        cdef uint64_t slots = self.mask + 1, position
        cdef uint64_t grown = max(<uint64_t>64, slots * 2)
        cdef Slot *table = <Slot *>PyMem_Malloc(grown * sizeof(Slot))
        if table == NULL:
            raise MemoryError
        memset(table, 0xFF, grown * sizeof(Slot))
        self.table = table
        self.mask = grown - 1
        for position in range(slots):
            if old[position].node != NONE:
                self.index(old[position].node, old[position].tag)
        if old != &NO_TABLE:
            PyMem_Free(old)
        return 0

    cdef void drain(self) noexcept:
        """Drop the references of removed entries, one by one, each after the arrays are in order."""
        cdef unsigned long me
        cdef uint32_t at
        cdef Node *node
        cdef PyObject *key
        cdef PyObject *value
        if self.dead == NONE:
            return
        me = PyThread_get_thread_ident()
        if self.drainer == me:  # a destructor called the store: the loop below is running further down this stack
            return
        while self.dead != NONE:
            self.drainer = me  # said again each time: a destructor may have let another thread drain in between
            at = self.dead
            node = &self.nodes[at]
            key = node.key
            value = node.value
            self.dead = node.older
            node.key = NULL
            node.older = self.free
            self.free = at
            drop_reference(key)
            drop_reference(value)
        self.drainer = 0

    cdef void forget(self) noexcept:
        """Be an empty store, whatever the pointers said before."""
        cdef int queue
        self.nodes = NULL
        self.table = &NO_TABLE
        self.mask = 0
        self.capacity = self.used = 0
        self.free = self.dead = NONE
        for queue in range(3):
            self.oldest[queue] = self.newest[queue] = NONE
            self.count[queue] = 0
            self.bytes_in[queue] = 0
        self.ghosts[SMALL] = self.ghosts[MAIN] = NULL
        self.ghost_capacity = self.buckets = 0
        self.share = MIN_SHARE

    cdef void release(self) noexcept:
        """Become empty first, then drop what was there, in a loop over memory that nobody else sees any more."""
        cdef Node *nodes = self.nodes
        cdef uint32_t used = self.used, at
        if self.table != &NO_TABLE:
            PyMem_Free(self.table)
        PyMem_Free(self.ghosts[SMALL])
        PyMem_Free(self.ghosts[MAIN])
        self.forget()
        for at in range(used):
            if nodes[at].key != NULL:
                drop_reference(nodes[at].key)
                drop_reference(nodes[at].value)
        PyMem_Free(nodes)

    # For tests.

    def check(self):
        """Raise AssertionError if anything the store relies on does not hold. Looks at every entry."""
        cdef int queue
        cdef uint32_t at, older, seen, chained = 0, indexed = 0
        cdef int64_t total
        cdef uint64_t position
        for queue in range(3):
            at, older, seen, total = self.oldest[queue], NONE, 0, 0
            while at != NONE:
                node = &self.nodes[at]
                _require(node.key != NULL and node.value != NULL, "an entry without key or value")
                _require(node.queue == queue, "an entry in another queue than it says")
                _require(node.older == older, "a broken link")
                _require(node.home == queue or queue == PINNED and node.home < PINNED, "a wrong home")
                _require(node.freq <= (0 if self.lru else MAX_FREQ), "a frequency beyond its cap")
                _require(self.find(node.key) == at, "an entry that the index does not find")
                seen += 1
                total += node.cost
                older, at = at, node.newer
            _require(self.newest[queue] == older, "a queue that ends elsewhere")
            _require(self.count[queue] == seen and self.bytes_in[queue] == total, "a wrong sum")
        for position in range(self.mask + 1):
            indexed += self.table[position].node != NONE
        _require(indexed == self.entries(), "an index of other entries")
        for at in (self.free, self.dead):
            while at != NONE:
                chained += 1
                at = self.nodes[at].older
        _require(self.entries() + chained == self.used <= self.capacity or self.used == 0, "a lost node")
        _require(not self.lru or self.count[SMALL] == 0, "lru with a small queue")
        _require(MIN_SHARE <= self.share <= MAX_SHARE, "a share out of its range")
        _require(self.entries() <= self.entries_bound or self.entries() == self.count[PINNED], "too many entries")
        _require(self.total() <= self.bytes_bound or self.entries() == self.count[PINNED], "too many bytes")

    cdef inline double now(self) except? -1:
        return cachecore_now() if self.clock is None else self.clock()


cdef _require(bint holds, str broken):
    if not holds:
        raise AssertionError(broken)
