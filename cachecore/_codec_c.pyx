# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of _codec_py: the frozen form of exact rows, and rows of stored bytes.

What tells whether a row is exact touches nothing but exact builtin types, so no code of the application runs in it,
and what it iterates cannot change under it.

The decoder reads the forms in which rows are written, strictly: the msgpack array of exactly as many values, each in
the form that its column's type has. It builds the values that msgspec would. At anything else (null where none may
be, another form, a year that is none, bytes that are no UTF-8) it stops and leaves the whole row to msgspec, so that
there is one place that says what is accepted and what is refused. Nothing is read beyond the end of the bytes.

The days of a timestamp become a date by the algorithm `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level
Date Algorithms": years that begin in March, so that the day that is sometimes there comes last.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.datetime cimport date_new, datetime_new, datetime_tzinfo, import_datetime, time_new, time_tzinfo
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport isfinite
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint64_t
from libc.string cimport memcpy

from datetime import UTC, date, datetime, time, timezone
from decimal import Decimal
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

import msgspec

from cachecore import column_values
from cachecore.column_values import plain_json_text

cdef extern from *:
    """
    #include <structmember.h>

    /* Where instances of a class keep what they have in a slot of __slots__; -1 if it is not that. */
    static Py_ssize_t codec_slot(PyObject *type, PyObject *slot) {
        PyMemberDescrObject *member = (PyMemberDescrObject *)slot;
        if (!Py_IS_TYPE(slot, &PyMemberDescr_Type) || (PyObject *)PyDescr_TYPE(slot) != type) return -1;
        return member->d_member->type == T_OBJECT_EX ? member->d_member->offset : -1;
    }

    /* A new object of a class, with these two of its slots filled. */
    static PyObject *codec_with_slots(PyObject *type, PyObject *none, Py_ssize_t first, PyObject *one,
                                      Py_ssize_t second, PyObject *two) {
        PyObject *made = PyBaseObject_Type.tp_new((PyTypeObject *)type, none, NULL);
        if (made == NULL) return NULL;
        Py_INCREF(one);
        Py_INCREF(two);
        *(PyObject **)((char *)made + first) = one;
        *(PyObject **)((char *)made + second) = two;
        return made;
    }

    /* The int of 16 bytes, high byte first. */
    static PyObject *codec_int_128(const unsigned char *from) {
    #if PY_VERSION_HEX >= 0x030D0000
        return PyLong_FromUnsignedNativeBytes(from, 16, Py_ASNATIVEBYTES_BIG_ENDIAN);
    #else
        return _PyLong_FromByteArray(from, 16, 0, 0);
    #endif
    }

    /* The str of UTF-8, None if it is none. The ASCII of most texts is found and copied in one go. */
    static PyObject *codec_text(const unsigned char *from, Py_ssize_t size) {
        Py_ssize_t at = 0;
        uint64_t seen = 0, word;
        PyObject *made;
        for (; at + 8 <= size; at += 8) {
            memcpy(&word, from + at, 8);
            seen |= word;
        }
        for (word = 0; at < size; at++) word |= from[at];
        if (size > 1 && !((seen | word) & 0x8080808080808080ULL)) {
            made = PyUnicode_New(size, 127);
            if (made != NULL) memcpy(PyUnicode_1BYTE_DATA(made), from, size);
            return made;
        }
        made = PyUnicode_DecodeUTF8((const char *)from, size, NULL);
        if (made == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
            PyErr_Clear();
            made = Py_NewRef(Py_None);
        }
        return made;
    }

    /* Decimal.__new__ itself; calling the class would go on to look for an __init__. */
    static PyObject *codec_new(PyObject *type, PyObject *arguments) {
        return ((PyTypeObject *)type)->tp_new((PyTypeObject *)type, arguments, NULL);
    }
    """
    Py_ssize_t codec_slot(object, object) noexcept
    object codec_with_slots(object, object, Py_ssize_t, object, Py_ssize_t, object)
    object codec_int_128(const unsigned char*)
    object codec_text(const unsigned char*, Py_ssize_t)
    object codec_new(object, object)

cdef extern from "Python.h":
    bint PyDict_CheckExact(object value)
    bint PyDict_Next(object, Py_ssize_t*, PyObject**, PyObject**)
    bint PyList_CheckExact(object value)
    bint PyUnicode_CheckExact(object value)
    bint PyLong_CheckExact(object value)
    bint PyFloat_CheckExact(object value)
    double PyFloat_AS_DOUBLE(object number)

import_datetime()

cdef object TIMEZONE = timezone
cdef object ZONEINFO = ZoneInfo
cdef object DECIMAL = Decimal
cdef object UUID_CLASS = UUID
cdef object UNKNOWN = SafeUUID.unknown
cdef object ZERO = UTC
cdef tuple NOTHING = ()
cdef Py_ssize_t INT_SLOT = codec_slot(UUID, UUID.__dict__.get("int"))
cdef Py_ssize_t SAFE_SLOT = codec_slot(UUID, UUID.__dict__.get("is_safe"))
cdef object PARSE = msgspec.json.Decoder().decode
cdef object DUMP = plain_json_text

cdef enum Kind:
    INT
    STR
    BOOL
    FLOAT
    BYTES
    DECIMALS
    UUIDS
    DATE
    DATETIME
    TIME
    JSON
    TEXT
    OTHER

cdef dict KINDS = {
    int: INT,
    str: STR,
    bool: BOOL,
    float: FLOAT,
    bytes: BYTES,
    Decimal: DECIMALS,
    UUID: UUIDS,
    date: DATE,
    datetime: DATETIME,
    time: TIME,
}
cdef int MAX_NESTED = 32  # JSON nested deeper is not sure to be exact: it goes the long way, and this stays shallow


cdef class _Columns:
    cdef bytes kinds
    cdef bytes nullable
    cdef tuple types

    def __init__(self, columns):
        self.kinds = bytes([kind_of(column) for column in columns])
        self.types = tuple([column.type for column in columns])
        self.nullable = bytes([column.nullable or column.kind == "json" for column in columns])


cdef int kind_of(object column) except -1:
    if column.kind == "json":
        return JSON
    return TEXT if column.kind == "text" else KINDS.get(column.type, OTHER)


cdef class Freezer(_Columns):
    cdef list dumps

    def __init__(self, columns, texts):
        _Columns.__init__(self, columns)
        self.dumps = [DUMP] * len(columns)
        for position, dump in texts:
            self.dumps[position] = dump

    def freeze(self, row):
        cdef Py_ssize_t i, count = PyTuple_GET_SIZE(self.types)
        cdef const unsigned char* kinds = self.kinds
        cdef const unsigned char* nullable = self.nullable
        cdef tuple frozen = None
        cdef object value, stored, zone
        if type(row) is not tuple or PyTuple_GET_SIZE(row) != count:
            return None
        for i in range(count):
            value = <object>PyTuple_GET_ITEM(row, i)
            if value is None:
                if not nullable[i]:
                    return None
            elif kinds[i] == JSON or kinds[i] == TEXT:
                if kinds[i] == JSON and not is_json(value, MAX_NESTED):
                    return None
                stored = self.dumps[i](value)
                if frozen is None:
                    frozen = copy_of(row)
                Py_INCREF(stored)
                PyTuple_SET_ITEM(frozen, i, stored)
                Py_DECREF(value)
            elif type(value) is not <object>PyTuple_GET_ITEM(self.types, i):
                return None
            elif kinds[i] == DATETIME:
                zone = datetime_tzinfo(value)
                if zone is not None and type(zone) is not TIMEZONE and type(zone) is not ZONEINFO:
                    return None
            elif kinds[i] == TIME and time_tzinfo(value) is not None:
                return None
        return row if frozen is None else frozen


cdef tuple copy_of(tuple row):
    """A tuple that nobody else knows yet, so that its items may be replaced."""
    cdef Py_ssize_t i, count = PyTuple_GET_SIZE(row)
    cdef tuple copy = PyTuple_New(count)
    for i in range(count):
        value = <object>PyTuple_GET_ITEM(row, i)
        Py_INCREF(value)
        PyTuple_SET_ITEM(copy, i, value)
    return copy


cdef bint is_json(object value, int depth):
    """Whether value is precisely what JSON has, with finite floats, nested at most `depth` deep."""
    cdef Py_ssize_t i
    cdef PyObject* key
    cdef PyObject* item
    if PyUnicode_CheckExact(value) or PyLong_CheckExact(value) or value is None or value is True or value is False:
        return True
    if PyFloat_CheckExact(value):
        return isfinite(PyFloat_AS_DOUBLE(value))
    if depth == 0:
        return False
    if PyDict_CheckExact(value):
        i = 0
        while PyDict_Next(value, &i, &key, &item):
            if not PyUnicode_CheckExact(<object>key) or not is_json(<object>item, depth - 1):
                return False
        return True
    if PyList_CheckExact(value):
        for i in range(PyList_GET_SIZE(value)):
            if not is_json(<object>PyList_GET_ITEM(value, i), depth - 1):
                return False
        return True
    return False


cdef class Decoder(_Columns):
    cdef object typed

    def __init__(self, columns, typed):
        _Columns.__init__(self, columns)
        self.typed = typed

    def decode(self, data, /):
        cdef tuple row
        if PyBytes_CheckExact(data):
            row = self.read(<const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if row is not None:
                return row
        return self.typed(data)

    cdef tuple read(self, const unsigned char* at, Py_ssize_t size):
        """The row, or None: it is for msgspec to say."""
        cdef Cursor cursor = Cursor(at, at + size)
        cdef const unsigned char* kinds = self.kinds
        cdef const unsigned char* nullable = self.nullable
        cdef Py_ssize_t i, count = PyTuple_GET_SIZE(self.types)
        cdef tuple row
        cdef object value
        if size >= 1 and count < 16 and at[0] == 0x90 + count:
            cursor.at += 1
        elif size >= 3 and 16 <= count < 65536 and at[0] == 0xDC and <Py_ssize_t>big_endian(at + 1, 2) == count:
            cursor.at += 3
        else:
            return None
        row = PyTuple_New(count)
        for i in range(count):
            if cursor.at == cursor.end:
                return None
            if cursor.at[0] == 0xC0:
                if not nullable[i]:
                    return None
                cursor.at += 1
                value = None
            else:
                value = read_value(kinds[i], &cursor)
                if value is None:
                    return None
            Py_INCREF(value)
            PyTuple_SET_ITEM(row, i, value)
        return row if cursor.at == cursor.end else None


cdef struct Cursor:
    const unsigned char* at
    const unsigned char* end


cdef object read_value(int kind, Cursor* cursor):
    """The value of this kind at the cursor, which then stands behind it; None if another form stands there."""
    cdef const unsigned char* at
    cdef Py_ssize_t size
    cdef uint64_t bits
    cdef double number
    if kind == INT:
        return read_int(cursor)
    if kind == BOOL:
        if cursor.at[0] & 0xFE != 0xC2:
            return None
        cursor.at += 1
        return (cursor.at - 1)[0] == 0xC3
    if kind == FLOAT:
        if cursor.at[0] != 0xCB or cursor.end - cursor.at < 9:
            return None
        bits = big_endian(cursor.at + 1, 8)
        memcpy(&number, &bits, 8)
        cursor.at += 9
        return number
    if kind == DATETIME and cursor.at[0] & 0xFE == 0xD6:
        return read_timestamp(cursor)
    if kind == JSON or kind == BYTES or kind == UUIDS:
        size = sized(cursor, 0, 0xC4)
        if size < 0:
            return None
        at = cursor.at
        cursor.at += size
        if kind != UUIDS:
            return PyBytes_FromStringAndSize(<const char*>at, size)
        return uuid_of(at) if size == 16 else None
    if kind == OTHER:
        return None
    size = sized(cursor, 0xA0, 0xD9)
    if size < 0:
        return None
    at = cursor.at
    cursor.at += size
    if kind == STR or kind == TEXT:
        return codec_text(at, size)
    if kind == DECIMALS:
        return codec_new(DECIMAL, (codec_text(at, size),)) if is_plain_decimal(at, size) else None
    if kind == DATE:
        return date_new(digits(at, 4), digits(at + 5, 2), digits(at + 8, 2)) if size == 10 and is_date(at) else None
    if kind == TIME:
        if not is_time(at, size):
            return None
        return time_new(digits(at, 2), digits(at + 3, 2), digits(at + 6, 2), digits(at + 9, 6) if size > 8 else 0, None)
    if size < 19 or not is_date(at) or at[10] != c"T" or not is_time(at + 11, size - 11):
        return None
    return datetime_new(
        digits(at, 4), digits(at + 5, 2), digits(at + 8, 2), digits(at + 11, 2), digits(at + 14, 2),
        digits(at + 17, 2), digits(at + 20, 6) if size > 19 else 0, None,
    )  # fmt: skip


cdef inline uint64_t big_endian(const unsigned char* at, int size) noexcept:
    cdef uint64_t number = 0
    cdef int i
    for i in range(size):
        number = number << 8 | at[i]
    return number


cdef Py_ssize_t sized(Cursor* cursor, int short, int long) noexcept:
    """How many bytes follow the header at the cursor, which then stands behind it; -1: not so many, another header.

    short: the first byte of a header that has a size below 32 in it, 0: there is none. long: the first of the three of
    headers that 1, 2 and 4 bytes of size follow.
    """
    cdef Py_ssize_t size, rest = cursor.end - cursor.at
    cdef int width, first = cursor.at[0]
    if short and first & 0xE0 == short:
        size, width = first & 0x1F, 0
    elif long <= first <= long + 2:
        width = 1 << (first - long)
        if rest <= width:
            return -1
        size = big_endian(cursor.at + 1, width)
    else:
        return -1
    if rest - 1 - width < size:
        return -1
    cursor.at += 1 + width
    return size


cdef object read_int(Cursor* cursor):
    cdef int first = cursor.at[0], width
    cdef uint64_t bits
    if first < 0x80 or first >= 0xE0:
        cursor.at += 1
        return first if first < 0x80 else first - 256
    if not 0xCC <= first <= 0xD3:
        return None
    width = 1 << (first & 3)
    if cursor.end - cursor.at <= width:
        return None
    bits = big_endian(cursor.at + 1, width)
    cursor.at += 1 + width
    if first < 0xD0:
        return bits
    if width == 1:
        return <int8_t>bits
    if width == 2:
        return <int16_t>bits
    return <int32_t>bits if width == 4 else <int64_t>bits


cdef object read_timestamp(Cursor* cursor):
    """An instant of the years 1970 to 2514, in UTC: seconds in 32 bits, or nanoseconds in 30 and seconds in 34."""
    cdef uint64_t bits, nanoseconds = 0, seconds
    cdef int64_t days, era, day, year, month, second
    if cursor.end - cursor.at < 2 or cursor.at[1] != 0xFF:
        return None
    if cursor.at[0] == 0xD6:
        if cursor.end - cursor.at < 6:
            return None
        seconds = big_endian(cursor.at + 2, 4)
        cursor.at += 6
    else:
        if cursor.end - cursor.at < 10:
            return None
        bits = big_endian(cursor.at + 2, 8)
        nanoseconds, seconds = bits >> 34, bits << 30 >> 30
        if nanoseconds > 999_999_000 or nanoseconds % 1000:
            return None
        cursor.at += 10
    second = seconds % 86400
    days = seconds // 86400 + 719468  # since the first of March of the year 0
    era = days // 146097  # of 400 years
    day = days - era * 146097
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100  # of that year
    month = (5 * day + 2) // 153  # 0 is March
    day += 1 - (153 * month + 2) // 5
    year += 400 * era + (month > 9)
    month += -9 if month > 9 else 3
    return datetime_new(
        year, month, day, second // 3600, second // 60 % 60, second % 60, nanoseconds // 1000, ZERO
    )


cdef object uuid_of(const unsigned char* at):
    if INT_SLOT <= 0 or SAFE_SLOT <= 0:
        return UUID_CLASS(bytes=PyBytes_FromStringAndSize(<const char*>at, 16))
    return codec_with_slots(UUID_CLASS, NOTHING, INT_SLOT, codec_int_128(at), SAFE_SLOT, UNKNOWN)


cdef inline bint are_digits(const unsigned char* at, Py_ssize_t size) noexcept:
    cdef Py_ssize_t i
    for i in range(size):
        if not c"0" <= at[i] <= c"9":
            return False
    return size > 0


cdef inline int digits(const unsigned char* at, int size) noexcept:
    cdef int i, number = 0
    for i in range(size):
        number = number * 10 + at[i] - c"0"
    return number


cdef bint is_plain_decimal(const unsigned char* at, Py_ssize_t size) noexcept:
    """Whether these are digits with at most one point among them, perhaps after a minus."""
    cdef Py_ssize_t point = 0
    if size > 0 and at[0] == c"-":
        at, size = at + 1, size - 1
    if size > 100:
        return False
    while point < size and at[point] != c".":
        point += 1
    return are_digits(at, point) and (point == size or are_digits(at + point + 1, size - point - 1))


cdef bint is_date(const unsigned char* at) noexcept:
    """Whether ten bytes are the date YYYY-MM-DD of a day that there is."""
    cdef int year, month, day, last
    if at[4] != c"-" or at[7] != c"-" or not (are_digits(at, 4) and are_digits(at + 5, 2) and are_digits(at + 8, 2)):
        return False
    year, month, day = digits(at, 4), digits(at + 5, 2), digits(at + 8, 2)
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        last = 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    return year >= 1 and 1 <= month <= 12 and 1 <= day <= last


cdef bint is_time(const unsigned char* at, Py_ssize_t size) noexcept:
    """Whether the bytes are a time HH:MM:SS, perhaps with six digits behind a point."""
    if size != 8 and not (size == 15 and at[8] == c"." and are_digits(at + 9, 6)):
        return False
    if at[2] != c":" or at[5] != c":" or not (are_digits(at, 2) and are_digits(at + 3, 2) and are_digits(at + 6, 2)):
        return False
    return digits(at, 2) < 24 and digits(at + 3, 2) < 60 and digits(at + 6, 2) < 60


# Bound methods, since calling one is faster than calling an object.


def freezer(columns, texts):
    """See _codec_py.freezer."""
    return Freezer(columns, texts).freeze


def decoder(columns, typed):
    """See _codec_py.decoder."""
    cdef Decoder made = Decoder(columns, typed)
    return typed if OTHER in made.kinds else made.decode


def json_value(text, /):
    """See cachecore.column_values.json_value, which reads what msgspec does not."""
    try:
        return PARSE(text)
    except (ValueError, RecursionError):
        return column_values.json_value(text)
