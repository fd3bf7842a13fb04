# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of _attributes_py, which says what everything means."""

cimport cython
from cpython.dict cimport PyDict_SetItem
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE

from sys import intern

from cachecore._attributes_py import checked, wrong_length


@cython.final
cdef class AttributesFiller:
    cdef str first
    cdef tuple names
    cdef tuple changes  # (place, attribute, load or None, convert or None)
    cdef Py_ssize_t width
    cdef Py_ssize_t* places  # of the names, in a row

    def __cinit__(self, first, names, loads, converts):
        cdef Py_ssize_t i
        load_at, convert_at = dict(loads), dict(converts)
        places = [place for place, name in enumerate(checked(first, names)) if name is not None]
        self.width = len(names)
        self.first = intern(first)
        self.names = tuple([intern(names[place]) for place in places])
        self.changes = tuple([
            (place, intern(names[place]), load_at.get(place), convert_at.get(place))
            for place in places
            if place in load_at or place in convert_at
        ])  # fmt: skip
        self.places = <Py_ssize_t*>PyMem_Calloc(len(places) + 1, sizeof(Py_ssize_t))
        if self.places is NULL:
            raise MemoryError
        for i, place in enumerate(places):
            self.places[i] = place

    def __dealloc__(self):
        PyMem_Free(self.places)

    @cython.binding(False)
    def fill(self, dict attributes not None, tuple row not None, state, /):
        cdef Py_ssize_t i
        cdef tuple change
        cdef object name, value, load, convert
        if PyTuple_GET_SIZE(row) != self.width:
            raise wrong_length(self.width, row)
        PyDict_SetItem(attributes, self.first, state)
        for i in range(PyTuple_GET_SIZE(self.names)):
            name, value = <object>PyTuple_GET_ITEM(self.names, i), <object>PyTuple_GET_ITEM(row, self.places[i])
            PyDict_SetItem(attributes, name, value)
        for change in self.changes:
            value = <object>PyTuple_GET_ITEM(row, change[0])
            load, convert = change[2], change[3]
            if load is not None and value is not None:
                value = load(value)
            if convert is not None:
                value = convert(value)
            PyDict_SetItem(attributes, change[1], value)


def attributes_filler(first, names, loads=(), converts=()):
    """See _attributes_py.attributes_filler."""
    return AttributesFiller(first, names, loads, converts).fill  # a bound method is called faster than an object
