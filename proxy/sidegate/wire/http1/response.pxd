"""C types of the response writer."""

cimport cython

from sidegate.caches cimport remember
from sidegate.wire.http1.body cimport BodyWriter

cdef dict _STATUS_LINES
cdef dict _lines


cdef class ResponseWriter(BodyWriter):
    cdef public object stage
    cdef bint _head_only
    cdef readonly str version

    cpdef begin(self, str method, str version)
    cpdef informational(self, int status, list headers)
    @cython.locals(output=list, pair=tuple, length=object)
    cpdef bint head(self, int status, list headers, bint end_stream, bint close)
    cpdef switch(self, bytes key, list headers)
    cpdef bint sendfile(self, Py_ssize_t size)
    cpdef end(self, list trailers)
