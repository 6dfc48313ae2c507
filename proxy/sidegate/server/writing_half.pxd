"""C types of the writing half of a connection."""

cimport cython
cimport sidegate.aio.thread_ident as threading

from sidegate.observe.record cimport Record
from sidegate.server.connection_base cimport ConnectionBase
from sidegate.server.exchange cimport Exchange
from sidegate.wire.events cimport Codec


cdef class WritingHalf(ConnectionBase):
    cdef public object transport
    cdef public dict exchanges
    cdef public list ended
    cdef public double last_active
    cdef public long long written
    cdef public bint write_paused
    cdef public object stall
    cdef public dict stalled
    cdef bint _flush_scheduled
    cdef bint _handling
    cdef bint _wrote
    cdef bint _lost
    cdef object _sendfile
    cdef object _loop

    cpdef schedule_flush(self)
    @cython.locals(output=bytes)
    cpdef flush(self)
    cpdef bint is_slow(self)
    cpdef gated(self, app)
    cpdef bint _is_drained(self, int stream_id)
    cpdef release_writers(self, int stream_id)
    cpdef exchange_ended(self, int stream_id)
    cpdef send_error(self, Record record, int stream_id, int status, str detail, bytes accept)
    @cython.locals(codec=Codec, exchange=Exchange, again=bint)
    cdef _finish_exchanges(self)
    cdef _go_on(self)
    cdef _close(self)
