# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of _rows_py: instances from rows, and the frozen form of exact rows.

An instance's attribute dict is a copy of a template that has all its keys, with the values then set: copying a dict
is one allocation and one memcpy, and a key that is there never makes it grow. (Measured against filling the dict that
a new instance has: 1.1 times as fast. A state gets its three attributes one by one, which keeps them inline.)

What tells whether a row is exact touches nothing but exact builtin types, so no code of the application runs in it,
and what it iterates cannot change under it.
"""

from cpython.datetime cimport datetime_tzinfo, import_datetime, time_tzinfo
from cpython.dict cimport PyDict_Copy, PyDict_Next, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.math cimport isfinite

from datetime import datetime, time, timezone
from sys import intern
from zoneinfo import ZoneInfo

from django.db.models.base import ModelState

from cachecore.errors import UnsupportedValue

cdef extern from *:
    """
    static PyObject *cachecore_new_object(PyObject *type, PyObject *no_arguments) {
        return PyBaseObject_Type.tp_new((PyTypeObject *)type, no_arguments, NULL);
    }
    """
    object new_object "cachecore_new_object" (object type, object no_arguments)

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object instance, object name, object value) except -1
    bint PyDict_CheckExact(object value)
    bint PyList_CheckExact(object value)
    bint PyUnicode_CheckExact(object value)
    bint PyLong_CheckExact(object value)
    bint PyFloat_CheckExact(object value)
    double PyFloat_AS_DOUBLE(object number)

import_datetime()

cdef object STATE = ModelState
cdef object TIMEZONE = timezone
cdef object ZONEINFO = ZoneInfo
cdef tuple NOTHING = ()

cdef enum Kind:
    SCALAR
    JSON
    TEXT
    DATETIME
    TIME

cdef int MAX_NESTED = 32  # JSON nested deeper is not sure to be exact: it goes the long way, and this stays shallow


cdef class InstanceMaker:
    cdef object model
    cdef tuple attnames
    cdef tuple loads
    cdef dict template

    def __init__(self, model, attnames, loads):
        self.model = model
        self.attnames = tuple([intern(name) for name in attnames])
        self.loads = tuple(loads)
        self.template = {"_state": None, **dict.fromkeys(self.attnames)}

    def make(self, tuple row not None, alias, tracked):
        cdef Py_ssize_t i, count = PyTuple_GET_SIZE(self.attnames)
        cdef dict attributes
        if PyTuple_GET_SIZE(row) != count:
            raise UnsupportedValue(f"a row of {len(row)} values for {count} fields")
        state = new_object(STATE, NOTHING)
        PyObject_GenericSetAttr(state, "adding", False)
        PyObject_GenericSetAttr(state, "db", alias)
        PyObject_GenericSetAttr(state, "cachecore", tracked)
        attributes = PyDict_Copy(self.template)
        PyDict_SetItem(attributes, "_state", state)
        for i in range(count):
            PyDict_SetItem(attributes, <object>PyTuple_GET_ITEM(self.attnames, i), <object>PyTuple_GET_ITEM(row, i))
        for position, load in self.loads:
            value = row[<Py_ssize_t?>position]
            if value is not None:
                PyDict_SetItem(attributes, self.attnames[<Py_ssize_t?>position], load(value))
        instance = new_object(self.model, NOTHING)
        # As instance.__dict__ = attributes does it. (Not PyObject_GenericSetDict: after that, Python 3.13 goes on to
        # read the values that the instance had inline.)
        PyObject_GenericSetAttr(instance, "__dict__", attributes)
        return instance


cdef class Freezer:
    cdef tuple types
    cdef bytes kinds
    cdef bytes nullable
    cdef list dumps

    def __init__(self, columns, dumps):
        self.dumps = [None] * len(columns)
        for position, dump in dumps:
            self.dumps[position] = dump
        kinds = []
        for column in columns:
            if column.kind != "scalar":
                kinds.append(JSON if column.kind == "json" else TEXT)
            else:
                kinds.append({datetime: DATETIME, time: TIME}.get(column.type, SCALAR))
        self.kinds = bytes(kinds)
        self.types = tuple([column.type for column in columns])
        self.nullable = bytes([column.nullable or column.kind == "json" for column in columns])

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


# Bound methods, since calling one is faster than calling an object.


def instance_maker(model, attnames, loads):
    """See _rows_py.instance_maker."""
    return InstanceMaker(model, attnames, loads).make


def freezer(columns, dumps):
    """See cachecore.codec.Freezer."""
    return Freezer(columns, dumps).freeze
