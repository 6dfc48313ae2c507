"""C types of what frames a body."""


cdef class BodyWriter:
    cdef public Py_ssize_t pending
    cdef public bint broken
    cdef public list output
    cdef int _framing
    cdef object _left

    cpdef data(self, bytes data)
    cpdef end_body(self, list trailers)
    cpdef bytes take(self)
