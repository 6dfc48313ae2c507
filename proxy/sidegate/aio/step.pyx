# cython: language_level=3
"""One C call that Python code cannot make: it sends into a coroutine without an exception when the coroutine ends.

``eager.py`` calls it. Where it is not built, ``eager.py`` does the same in Python.
"""

from cpython.object cimport PyObject

cdef extern from "Python.h":
    ctypedef enum PySendResult:
        PYGEN_RETURN, PYGEN_ERROR, PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object argument, PyObject **result)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

from cpython.ref cimport Py_DECREF

ENDED = object()
"""The value that ``step`` returns for a coroutine that has ended."""


def step(context, coroutine):
    """Send None into ``coroutine`` within ``context``. Return what it yields, or ``ENDED``."""
    cdef PyObject *result = NULL
    cdef PySendResult sent
    PyContext_Enter(context)
    try:
        sent = PyIter_Send(coroutine, None, &result)
        if sent == PYGEN_ERROR:
            _raise()
    finally:
        PyContext_Exit(context)
    value = <object>result
    Py_DECREF(value)  # PyIter_Send returned a new reference
    return value if sent == PYGEN_NEXT else ENDED


cdef extern from *:
    """
    static PyObject *sidegate_raised(void) { return NULL; }  /* the error is already set */
    """
    object sidegate_raised()


cdef _raise():
    sidegate_raised()
