# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of _straight_py, which says what everything means.

The GIL is the lock: between the look whether a link is idle and the mark that it is busy nothing runs that gives it up.
While it is given up only the request on the stack and the buffer of a busy link are touched, which is this call's.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EINTR, errno
from libc.string cimport memcmp, memcpy, strlen

from time import monotonic

from cachecore.backends.redis import _straight_py
from cachecore.entries import Value

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/types.h>
    #include <sys/socket.h>

    #ifndef MSG_NOSIGNAL  /* where there is none Python ignores SIGPIPE */
    #define MSG_NOSIGNAL 0
    #endif

    static inline void cachecore_set_errno(int number) { errno = number; }
    """
    void cachecore_set_errno(int)
    const int MSG_NOSIGNAL
    ssize_t send(int, const void*, size_t, int) nogil
    ssize_t recv(int, void*, size_t, int) nogil
    bint PyUnicode_CheckExact(object)
    bint PyUnicode_IS_COMPACT_ASCII(object)
    const void* PyUnicode_DATA(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)

cdef enum:
    LONGEST = 4096
    CHUNK = 65536
    NUMBERS = 64
    HEAD = 11
    DIGITS = 9

_ours = (CHUNK, LONGEST, NUMBERS, HEAD)
assert _ours == (_straight_py.CHUNK, _straight_py.LONGEST, _straight_py.NUMBERS, _straight_py.HEAD)

cdef object CLOCK = monotonic
cdef object VALUE = Value


cdef inline Py_ssize_t put(char* into, const void* data, Py_ssize_t size) noexcept:
    """Write these bytes; how many they are."""
    memcpy(into, data, size)
    return size


cdef inline Py_ssize_t put_text(char* into, const char* text) noexcept:
    """The same for a text of this file."""
    return put(into, text, strlen(text))


cdef inline Py_ssize_t put_length(char* into, Py_ssize_t length) noexcept:
    """Write a length below a million, and the end of its line; how many bytes they are."""
    cdef Py_ssize_t place = 100_000, size = 0
    while place > length and place > 1:
        place //= 10
    while place:
        into[size] = <char>(c"0" + length // place % 10)
        size += 1
        place //= 10
    into[size] = c"\r"
    into[size + 1] = c"\n"
    return size + 2


cdef Py_ssize_t write_request(char* into, tuple keys, bytes head, bytes token, bytes options) except -2:
    """Write the bytes of `lease_request`; how many they are, or -1."""
    cdef Py_ssize_t known = PyBytes_GET_SIZE(head), own = PyBytes_GET_SIZE(token), rest = PyBytes_GET_SIZE(options)
    cdef Py_ssize_t size, at = 0
    for key in keys:
        if not PyUnicode_CheckExact(key) or not PyUnicode_IS_COMPACT_ASCII(key):
            return -1
        size = PyUnicode_GET_LENGTH(key)
        if size > LONGEST or at + size + NUMBERS + known + own + rest > LONGEST:
            return -1
        at += put_text(into + at, b"*7\r\n$3\r\nSET\r\n$")
        at += put_length(into + at, size)
        at += put(into + at, PyUnicode_DATA(key), size)
        at += put_text(into + at, b"\r\n$")
        at += put_length(into + at, known + 1 + own)
        at += put(into + at, PyBytes_AS_STRING(head), known)
        at += put_text(into + at, b"l")
        at += put(into + at, PyBytes_AS_STRING(token), own)
        at += put(into + at, PyBytes_AS_STRING(options), rest)
    return at


cdef object read_value(const char* entry, Py_ssize_t size, bytes head):
    """See _straight_py.plain_value."""
    cdef Py_ssize_t start
    if size < HEAD + 2 or PyBytes_GET_SIZE(head) != HEAD:
        return None
    if memcmp(entry, PyBytes_AS_STRING(head), HEAD) != 0 or entry[HEAD] != c"v":
        return None
    start = HEAD + 2 + <unsigned char>entry[HEAD + 1]
    if size < start:
        return None
    return VALUE(
        PyBytes_FromStringAndSize(entry + start, size - start),
        PyBytes_FromStringAndSize(entry + HEAD + 2, start - HEAD - 2),
    )


cdef list read_values(const char* data, Py_ssize_t size, Py_ssize_t at, Py_ssize_t count, bytes head):
    """See _straight_py.plain_values."""
    cdef list values = []
    cdef Py_ssize_t length
    cdef int digits
    for _ in range(count):
        if at >= size or data[at] != c"$":
            return None
        at += 1
        length = digits = 0
        while at < size and c"0" <= data[at] <= c"9" and digits < DIGITS:
            length = length * 10 + data[at] - c"0"
            at += 1
            digits += 1
        if digits == 0 or size - at < length + 4:
            return None
        if memcmp(data + at, b"\r\n", 2) != 0 or memcmp(data + at + length + 2, b"\r\n", 2) != 0:
            return None
        value = read_value(data + at + 2, length, head)
        if value is None:
            return None
        values.append(value)
        at += length + 4
    return values if at == size else None


def lease_request(keys, bytes head not None, bytes token not None, bytes options not None, /):
    """See _straight_py.lease_request."""
    cdef char request[LONGEST]
    cdef Py_ssize_t size = write_request(request, keys if type(keys) is tuple else tuple(keys), head, token, options)
    return None if size < 0 else PyBytes_FromStringAndSize(request, size)


def plain_value(bytes entry not None, bytes head not None, /):
    """See _straight_py.plain_value."""
    return read_value(PyBytes_AS_STRING(entry), PyBytes_GET_SIZE(entry), head)


def plain_values(bytes data not None, Py_ssize_t at, Py_ssize_t count, bytes head not None, /):
    """See _straight_py.plain_values."""
    return read_values(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), at, count, head)


cdef class StraightLink:
    """See _straight_py.StraightLink."""

    cdef public object socket, patience
    cdef public bint is_open, is_busy
    cdef public Py_ssize_t exchanges
    cdef public double timeout, deadline, look_at
    cdef public bytes head
    cdef char* buffer

    def __init__(self, double timeout):
        self.socket = None
        self.is_open = self.is_busy = False
        self.exchanges = 0
        self.timeout = timeout
        self.deadline = self.look_at = 0.0
        self.patience = timeout
        self.head = b""

    def __dealloc__(self):
        PyMem_Free(self.buffer)

    def straight(self, keys, bytes token not None, bytes options not None, /):
        """See _straight_py.StraightLink.straight."""
        cdef char request[LONGEST]
        cdef Py_ssize_t size, arrived
        cdef tuple asked = keys if type(keys) is tuple else tuple(keys)
        cdef list values
        cdef double now
        cdef int number
        if PyBytes_GET_SIZE(self.head) == 0:
            return None
        size = write_request(request, asked, self.head, token, options)
        if size < 0:
            return None
        if self.buffer == NULL:
            self.buffer = <char*>PyMem_Malloc(CHUNK)
            if self.buffer == NULL:
                raise MemoryError
        now = CLOCK()
        number = self.socket.fileno()
        if not self.is_open or self.is_busy or self.patience is not None or now > self.look_at:
            return None
        self.is_busy = True
        self.exchanges += 1
        self.deadline = now + self.timeout
        arrived = self.exchange_bytes(number, request, size)
        values = read_values(self.buffer, arrived, 0, len(asked), self.head)
        if values is None:
            return PyBytes_FromStringAndSize(self.buffer, arrived)
        self.is_busy = False
        return values

    cdef Py_ssize_t exchange_bytes(self, int number, const char* request, Py_ssize_t size) except -1:
        """Send the request and receive what comes next into the buffer; how much that is, 0 being the end."""
        cdef Py_ssize_t sent = 0, done = 0
        cdef char* buffer = self.buffer
        cdef int failure = 0
        while True:
            with nogil:
                while sent < size:
                    done = send(number, request + sent, size - sent, MSG_NOSIGNAL)
                    if done < 0:
                        break
                    sent += done
                if done >= 0:
                    done = recv(number, buffer, CHUNK, 0)
                failure = errno
            if done >= 0:
                return done
            if failure != EINTR:
                cachecore_set_errno(failure)
                PyErr_SetFromErrno(OSError)
            PyErr_CheckSignals()
            if not self.is_open:
                raise ConnectionAbortedError("it was closed while a signal was handled")
            done = 0
