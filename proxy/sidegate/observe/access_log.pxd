"""C types of the access log."""

cimport cython

from sidegate.observe.log_lines cimport LineFormat
from sidegate.observe.record cimport Record


cdef class AccessLog:
    cdef LineFormat _format
    cdef object _writer
    cdef object _schedule
    cdef frozenset _skip
    cdef object _wall_clock
    cdef list _ended
    cdef list _lines
    cdef Py_ssize_t _size
    cdef bint _scheduled
    cdef object _cells
    cdef dict _drops

    cpdef append(self, Record record, double duration)
    cpdef flush(self)
    @cython.locals(burst=list, record=Record, duration=double, ended=double, line=str)
    cdef _make_lines(self)
    @cython.locals(lines=list)
    cdef _hand_over(self)
    cpdef lost(self, str reason, Py_ssize_t lines)
