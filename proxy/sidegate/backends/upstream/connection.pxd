"""C types of a connection."""

cimport cython

from sidegate.backends.upstream.client_stream cimport ClientStream, UpstreamConnectionBase
from sidegate.wire.client_codec cimport ClientCodec


cdef class ConnectionOwner:
    pass


cdef class UpstreamConnection(UpstreamConnectionBase):
    cdef public str name
    cdef public ClientCodec codec
    cdef public object transport
    cdef public dict streams
    cdef public bint ready
    cdef public bint leaving
    cdef public int ending
    cdef public str violation
    cdef ConnectionOwner _owner
    cdef long _fronts
    cdef long _announced
    cdef bint _flush_scheduled
    cdef bint _write_paused
    cdef bint _lost
    cdef bint _read_paused
    cdef double _silence

    cpdef data_received(self, bytes data)
    cdef _pause_reading(self)
    cdef _resume_reading(self)
    @cython.locals(stream=ClientStream, streams=dict)
    cdef _handle(self, list events)
    cdef _apply_settings(self)
    @cython.locals(stream_id=int)
    cpdef ClientStream open(self, list headers, bint end_stream)
    cpdef forget(self, ClientStream stream)
    cpdef schedule_flush(self)
    @cython.locals(output=bytes)
    cpdef flush(self)
    cdef _wake_blocked(self)
    cdef _abort_later(self)
    cdef _become_unavailable(self)
    cdef _end(self, bint in_order)
    @cython.locals(output=bytes, stream=ClientStream)
    cdef _write_rest(self)
