"""C types of the request writer."""

cimport cython

from sidegate.wire.http1.body cimport BodyWriter


cdef class RequestWriter(BodyWriter):
    cdef public bint whole

    @cython.locals(lines=list, name=bytes, value=bytes, method=bytes, target=bytes, host=bytes)
    cpdef head(self, list headers, bint end_stream)
    cdef _frame(self, length, bint end_stream, bytes method)
    cpdef drop(self)
    cpdef end(self, list trailers)
