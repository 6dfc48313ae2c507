"""C types of the response writer."""

cimport cython

cdef dict _STATUS_LINES
cdef dict _lines


cdef class ResponseWriter:
    cdef public object stage
    cdef public Py_ssize_t pending
    cdef public bint broken
    cdef public list output
    cdef bint _head_only
    cdef str _version
    cdef int _framing
    cdef object _left

    cpdef begin(self, str method, str version)
    cpdef informational(self, int status, list headers)
    @cython.locals(output=list, pair=tuple, length=object)
    cpdef bint head(self, int status, list headers, bint end_stream, bint close)
    cpdef switch(self, bytes key, list headers)
    cpdef data(self, bytes data)
    cpdef bint sendfile(self, Py_ssize_t size)
    cpdef end(self, list trailers)
    cpdef farewell(self, int status)
    cpdef bytes take(self)
