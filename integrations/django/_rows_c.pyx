# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of _rows_py: instances from rows."""

from django.db.models.base import ModelState

from cachecore.attributes import attributes_filler

cdef extern from *:
    """
    static PyObject *cachecore_new_object(PyObject *type, PyObject *no_arguments) {
        return PyBaseObject_Type.tp_new((PyTypeObject *)type, no_arguments, NULL);
    }
    """
    object new_object "cachecore_new_object" (object type, object no_arguments)

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object instance, object name, object value) except -1
    object PyObject_GenericGetDict(object instance, void* nothing)

cdef object STATE = ModelState
cdef tuple NOTHING = ()


cdef class InstanceMaker:
    cdef object model
    cdef object fill

    def __init__(self, model, attnames, loads):
        self.model = model
        self.fill = attributes_filler("_state", attnames, loads)

    def make(self, row, alias, tracked, /):
        state = new_object(STATE, NOTHING)
        PyObject_GenericSetAttr(state, "adding", False)
        PyObject_GenericSetAttr(state, "db", alias)
        PyObject_GenericSetAttr(state, "cachecore", tracked)
        instance = new_object(self.model, NOTHING)
        self.fill(PyObject_GenericGetDict(instance, NULL), row, state)
        return instance


def instance_maker(model, attnames, loads):
    """See _rows_py.instance_maker."""
    return InstanceMaker(model, attnames, loads).make  # calling a bound method is faster than calling an object
