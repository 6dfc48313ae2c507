# cython: language_level=3
"""The one C call that Python code cannot make: to send into a coroutine without an exception for its end.

Where it stands: below ``eager.py``, which does the same in Python where this is not built.
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
"""What ``step`` returns for a coroutine that has ended."""


def step(context, coroutine):
    """Send None into ``coroutine`` within ``context``: what it yields, or ``ENDED``."""
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
    Py_DECREF(value)  # the reference that PyIter_Send gave us
    return value if sent == PYGEN_NEXT else ENDED


cdef extern from *:
    """
    static PyObject *sidegate_raised(void) { return NULL; }  /* the error is set already */
    """
    object sidegate_raised()


cdef _raise():
    sidegate_raised()
