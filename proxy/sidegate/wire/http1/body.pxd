"""C types of what frames a body."""

cimport cython


cdef class BodyWriter:
    cdef public Py_ssize_t pending
    cdef public bint broken
    cdef public list output
    cdef int _framing
    cdef object _left

    cpdef data(self, bytes data)
    cpdef end_body(self, list trailers)
    @cython.locals(output=list, data=bytes)
    cpdef bytes take(self)
    @cython.locals(room=Py_ssize_t, at=Py_ssize_t)
    cdef bytes _take_piece(self, list output)
