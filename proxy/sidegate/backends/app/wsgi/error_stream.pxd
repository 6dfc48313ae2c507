"""C types of an error log."""

from sidegate.observe.record cimport Record


cdef class ErrorLog:
    cdef Record _record
    cdef str _line

    cpdef flush(self)
    cdef _log(self, str line)
