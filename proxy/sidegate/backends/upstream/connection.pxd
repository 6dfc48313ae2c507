"""C types of a link."""

cimport cython

from sidegate.backends.upstream.client_stream cimport Call, Carrier
from sidegate.wire.http2.client cimport Http2ClientCodec


cdef class Owner:
    pass


cdef class Link(Carrier):
    cdef public str name
    cdef public Http2ClientCodec codec
    cdef public object transport
    cdef public dict calls
    cdef public bint ready
    cdef public bint leaving
    cdef public bint parted
    cdef public bint hop
    cdef Owner _owner
    cdef long _share
    cdef long _announced
    cdef bint _flush_scheduled
    cdef bint _write_paused
    cdef bint _lost
    cdef bint _heard
    cdef object _pinged

    cpdef data_received(self, bytes data)
    @cython.locals(call=Call, calls=dict)
    cdef _handle(self, list events)
    cdef _settle(self)
    @cython.locals(stream_id=int)
    cpdef Call open(self, list headers, bint end_stream)
    cpdef forget(self, Call call)
    cpdef schedule_flush(self)
    @cython.locals(output=bytes)
    cpdef flush(self)
    cdef _wake_blocked(self)
    cdef _be_over(self)
    cdef _end(self)
