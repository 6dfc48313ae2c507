"""C types of the state of streams; ids stay Python objects, because they come from Python and go back to it."""

cimport cython


cdef class RequestStream:
    cdef public object missing
    cdef public long long unread
    cdef public bint ended
    cdef public bint discard
    cdef public bint tunnel


cdef class Streams:
    cdef object _engine
    cdef Py_ssize_t _limit
    cdef public set open
    cdef public set running
    cdef public dict uploads
    cdef public set bodiless
    cdef public set finishing

    cpdef bint full(self)
    cpdef refuse_rest(self, stream_id)
    @cython.locals(upload=RequestStream)
    cpdef bint release(self, stream_id)
    cpdef end_upload(self, stream_id, RequestStream upload)
    @cython.locals(upload=RequestStream)
    cpdef acknowledge(self, stream_id, long long size)
    cdef _drop_read(self, stream_id, RequestStream upload)
    cpdef reset(self, stream_id, code)
    @cython.locals(upload=RequestStream)
    cpdef forget(self, stream_id)
    @cython.locals(output=bytes, closed=list)
    cpdef bytes take_output(self)
    cdef _credit(self, RequestStream upload)
