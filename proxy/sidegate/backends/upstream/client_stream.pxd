"""C types of a client stream, and of the part of its connection that it uses."""

from sidegate.aio.wakeup cimport Wakeup
from sidegate.backends.load_balancer cimport Target
from sidegate.wire.client_codec cimport ClientCodec


cdef class ClientStream


cdef class UpstreamConnectionBase(Target):
    cdef public object loop
    cdef public long long batch
    cdef public list blocked

    cpdef schedule_flush(self)
    cpdef forget(self, ClientStream stream)


cdef class ClientStream(Wakeup):
    cdef UpstreamConnectionBase _connection
    cdef ClientCodec _codec
    cdef long long _batch
    cdef object _drained
    cdef Py_ssize_t _unread
    cdef bint _ended
    cdef bint _whole
    cdef public object events
    cdef public int stream_id

    cpdef put(self, event)
    cpdef send_data(self, bytes data, bint end_stream)
    cpdef acknowledge(self, Py_ssize_t size, bint last)
    cpdef abandon(self, error)
    cpdef close(self)
