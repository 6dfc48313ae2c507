"""C types of a call, and of a link as its calls see it."""

from sidegate.aio.wakeup cimport Arrival
from sidegate.backends.load_balancer cimport Place
from sidegate.wire.http2.client cimport Http2ClientCodec


cdef class Call


cdef class Carrier(Place):
    cdef public object loop
    cdef public long long batch
    cdef public list blocked

    cpdef schedule_flush(self)
    cpdef forget(self, Call call)


cdef class Call(Arrival):
    cdef Carrier _link
    cdef Http2ClientCodec _codec
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
    cpdef close(self)
