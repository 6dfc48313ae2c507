"""C types of the check of responses."""

cimport cython

cdef dict _STATUSES


cdef class ResponseValidator:
    cdef Py_ssize_t _largest_block
    cdef Py_ssize_t _most_fields
    cdef tuple _fields
    cdef object _length

    @cython.locals(name=bytes, value=bytes)
    cpdef int status(self, tuple pseudo) except -1
    cpdef object content_length(self, tuple fields, Py_ssize_t size)


@cython.locals(kept=list)
cdef object _check(tuple fields)
