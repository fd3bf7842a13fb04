# cython: language_level=3, cdivision=True
"""The compiled twin of _short_way_py, which says what everything means."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.math cimport ceil
from libc.string cimport memchr, memcmp, memcpy

from cachecore.backends.memcached.items import cas_of
from cachecore.backends.memcached.limits import (
    CHUNK,
    ITEM_OVERHEAD,
    LONGEST_LINE,
    LOOK_EVERY,
    MAX_KEY,
    MAX_RELATIVE,
    WINDOW,
)
from cachecore.entries import FORMAT, MAGIC, Value

cdef extern from "Python.h":
    bint PyUnicode_CheckExact(object text) noexcept
    bint PyUnicode_IS_COMPACT_ASCII(object text) noexcept
    const unsigned char* PyUnicode_1BYTE_DATA(object text) noexcept
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept

cdef object VALUE = Value
cdef object CAS_OF = cas_of
cdef object CHUNK_SIZE = CHUNK
cdef tuple LENGTHS = tuple([bytes([length]) for length in range(256)])
cdef Py_ssize_t LONGEST_KEY = MAX_KEY, LONGEST_REQUEST = WINDOW, OVERHEAD = ITEM_OVERHEAD
cdef Py_ssize_t MOST_OF_LINE = LONGEST_LINE
cdef double FRESH_FOR = LOOK_EVERY, LONGEST_TTL = MAX_RELATIVE


def commands(keys, bytes before not None, bytes after not None):
    """See _short_way_py.commands."""
    return joined(tuple(keys), before, after)


cdef bytes joined(tuple keys, bytes before, bytes after):
    """The same."""
    cdef Py_ssize_t length, at, size = 0
    cdef Py_ssize_t before_size = PyBytes_GET_SIZE(before), after_size = PyBytes_GET_SIZE(after)
    cdef const unsigned char* text
    cdef unsigned char is_wrong = 0
    cdef char* out
    cdef bytes found
    for key in keys:
        if not PyUnicode_CheckExact(key) or not PyUnicode_IS_COMPACT_ASCII(key):
            return None
        length = PyUnicode_GET_LENGTH(key)
        if not 0 < length <= LONGEST_KEY:
            return None
        text = PyUnicode_1BYTE_DATA(key)
        for at in range(length):
            is_wrong |= <unsigned char>(text[at] - 0x21) > 0x5D  # before "!" or behind "~"
        size += before_size + length + after_size
    if is_wrong or not 0 < size <= LONGEST_REQUEST:
        return None
    found = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(found)
    for key in keys:
        length = PyUnicode_GET_LENGTH(key)
        memcpy(out, PyBytes_AS_STRING(before), before_size)
        memcpy(out + before_size, PyUnicode_1BYTE_DATA(key), length)
        memcpy(out + before_size + length, PyBytes_AS_STRING(after), after_size)
        out += before_size + length + after_size
    return found


cdef inline const char* behind(const char* at, const char* end, const char* text, Py_ssize_t size) noexcept:
    """Behind this text, if it stands here; else NULL, as where nothing does."""
    return at + size if at != NULL and end - at >= size and memcmp(at, text, size) == 0 else NULL


cdef inline const char* behind_digits(const char* at, const char* end, Py_ssize_t most) noexcept:
    """Behind the digits here, of which there are at least one and at most so many; else NULL."""
    cdef const char* start = at
    if at == NULL:
        return NULL
    while at < end and c"0" <= at[0] <= c"9":
        at += 1
    return at if 0 < at - start <= most else NULL


@cython.final
cdef class Values:
    """See _short_way_py.Values."""

    cdef bint is_classic
    cdef bytes head

    def __init__(self, bint is_classic, bytes mark not None):
        self.is_classic = is_classic
        self.head = MAGIC + bytes([FORMAT]) + mark + b"v"

    def __call__(self, bytes data not None, Py_ssize_t count):
        """See _short_way_py.Values."""
        return self.found(data, count)

    def take(self, bytes data not None, Py_ssize_t count, list values not None):
        """See _short_way_py.Values.take."""
        cdef Py_ssize_t whole = 0
        cdef Py_ssize_t start = self.taken(data, count, values, &whole)
        return None if start < 0 else (start, whole)

    cdef list found(self, bytes data, Py_ssize_t count):
        """The same as a call."""
        cdef Py_ssize_t whole = 0
        cdef list values = []
        cdef Py_ssize_t start = self.taken(data, count, values, &whole)
        return values if start == PyBytes_GET_SIZE(data) and len(values) == count else None

    cdef Py_ssize_t taken(self, bytes data, Py_ssize_t count, list values, Py_ssize_t* whole) except -2:
        """What take returns, -1 for None; the second number is put into whole, which is 0."""
        cdef const char* begin = PyBytes_AS_STRING(data)
        cdef const char* end = begin + PyBytes_GET_SIZE(data)
        cdef const char* start = begin
        cdef const char* at
        cdef const char* stop
        cdef const char* payload
        cdef Py_ssize_t size = 0, head_size = PyBytes_GET_SIZE(self.head), after = 7 if self.is_classic else 2
        while PyList_GET_SIZE(values) < count:
            at = self.item(start, end, &size)
            if at == NULL:
                if end - start > MOST_OF_LINE or memchr(start, c"\n", end - start) != NULL:
                    return -1
                return start - begin
            if end - at < size + after:
                whole[0] = at - begin + size + after
                return start - begin
            stop = at + size
            if (
                size <= head_size
                or memcmp(stop, b"\r\nEND\r\n", after) != 0
                or memcmp(at, PyBytes_AS_STRING(self.head), head_size) != 0
            ):
                return -1
            at += head_size + 1  # the stamp, behind its length
            payload = at + <unsigned char>(at - 1)[0]
            if payload > stop:
                return -1
            values.append(VALUE(payload[:stop - payload], at[:payload - at]))
            start = stop + after
        return start - begin

    cdef const char* item(self, const char* at, const char* end, Py_ssize_t* size) noexcept:
        """Where the item begins whose line stands here; NULL if that is none of a value. Its size is put into size."""
        cdef const char* number
        cdef const char* stop
        cdef Py_ssize_t i
        if self.is_classic:
            at = number = behind(at, end, b"VALUE ", 6)
            if at == NULL:
                return NULL
            while at < end and at[0] != c" " and not c"\t" <= at[0] <= c"\r":
                at += 1
            at = behind(at, end, b" ", 1) if 0 < at - number <= LONGEST_KEY else NULL
        else:
            at = behind(at, end, b"VA ", 3)
        number = at
        stop = behind_digits(at, end, 7)
        if stop == NULL:
            return NULL
        size[0] = 0
        for i in range(stop - number):
            size[0] = size[0] * 10 + (number[i] - c"0")
        if self.is_classic:
            at = behind(stop, end, b" ", 1)
            at = behind(behind(at, end, number, stop - number), end, b" ", 1)
        else:
            at = behind(stop, end, b" f", 2)
            at = behind(behind(at, end, number, stop - number), end, b" c", 2)
        return behind(behind_digits(at, end, 20), end, b"\r\n", 2)


@cython.final
cdef class ShortWay:
    """See _short_way_py.ShortWay."""

    cdef object server, clock
    cdef tuple form  # (dialect, ttl, what stands before and after a key for them): replaced as a whole

    def __init__(self, server, clock):
        self.server = server
        self.clock = clock
        self.form = (None, None, b"", b"")

    def read(self, keys, ttl):
        """See _short_way_py.ShortWay.read."""
        cdef tuple form = self.form
        cdef Values reader
        link = self.link()
        if link is None or not is_relative(ttl):
            return None
        peer = link.peer
        if form[0] is not peer.dialect or form[1] != ttl:
            form = self.form = (peer.dialect, ttl, *peer.dialect.form(None if ttl is None else <long>ceil(ttl)))
        asked = joined(tuple(keys), form[2], form[3])
        answer = None if asked is None else self.exchange(link, peer, asked)
        if type(answer) is not bytes:
            return answer
        reader = peer.values_in
        values = reader.found(answer, len(keys))
        if values is None:
            return link, answer
        self.succeeded(link)
        return values

    def fill(self, items, ttl):
        """See _short_way_py.ShortWay.fill."""
        cdef list batch = []
        cdef bytes name, token, stamp, payload, data, asked, head
        cdef Py_ssize_t limit
        link = self.link()
        if link is None or not is_relative(ttl):
            return None
        peer = link.peer
        dialect, incarnation, expiry = peer.dialect, peer.incarnation, 0 if ttl is None else <long>ceil(ttl)
        head, limit = (<Values?>peer.values_in).head, <Py_ssize_t>peer.item_limit - OVERHEAD
        for key, token, value, _ in items:
            name, cas = joined((key,), b"", b""), CAS_OF(token, incarnation)
            stamp, payload = value.stamp, value.payload
            if len(stamp) >= len(LENGTHS):
                return None
            data = b"".join((head, LENGTHS[len(stamp)], stamp, payload))
            if name is None or cas is None or len(name) + len(data) > limit:
                return None
            batch.append(dialect.replace(name, cas, data, len(data), expiry))
        asked = b"".join(batch)
        answer = self.exchange(link, peer, asked) if 0 < len(asked) <= LONGEST_REQUEST else None
        if type(answer) is not bytes:
            return answer
        if answer != dialect.stored * len(batch):
            return link, answer
        self.succeeded(link)
        return [True] * len(batch)

    cdef object link(self):
        """See _short_way_py.ShortWay._link."""
        server = self.server
        return None if server.breaker.is_open else getattr(server.mine, "link", None)

    cdef object exchange(self, link, peer, bytes asked):
        """See _short_way_py.ShortWay._exchange."""
        server = self.server
        mine = server.mine
        mine.link = None
        if (
            link.is_closed
            or peer.incarnation != server.lives.current
            or <double>self.clock() - <double>link.looked > FRESH_FOR
        ):
            mine.link = link
            return None
        link.is_busy = True
        try:
            link.send_all(asked)
            return <bytes?>link.receive_some(CHUNK_SIZE)
        except Exception as error:
            return link, error
        except BaseException:
            link.close()
            raise

    cdef int succeeded(self, link) except -1:
        """See _short_way_py.ShortWay._succeeded."""
        server = self.server
        link.has_served = True
        link.is_busy = False
        server.mine.link = link
        server.exchanges += 1
        if server.breaker.is_open:
            server.breaker.succeeded()
        return 0


cdef inline bint is_relative(ttl) except -1:
    """Whether it is told to the server in seconds."""
    return ttl is None or 0 < <double>ttl <= LONGEST_TTL
