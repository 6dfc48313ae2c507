"""C types of the connection."""

cimport cython

from sidegate.observe.record cimport Origin, Record, open_record
from sidegate.server.connection_base cimport ConnectionBase
from sidegate.server.exchange cimport Exchange
from sidegate.aio.eager cimport EagerStarter
from sidegate.aio.waiters cimport Waiters
from sidegate.wire.events cimport Codec, RequestHead


cdef class Connection(ConnectionBase):
    cdef public object transport
    cdef public str protocol
    cdef public dict exchanges
    cdef public list ended
    cdef public Waiters blocked
    cdef public double opened
    cdef public double last_active
    cdef public long long requests
    cdef public long long written
    cdef public bint write_paused
    cdef public object progress
    cdef public dict stalled
    cdef public object lingering_since
    cdef public bint winding_down
    cdef Origin _origin
    cdef bytes _first_bytes
    cdef bint _flush_scheduled
    cdef bint _handling
    cdef bint _wrote
    cdef bint _reading_paused
    cdef bint _body_open
    cdef bint _lost
    cdef object _sendfile
    cdef object _loop
    cdef EagerStarter _eager_starter

    cpdef data_received(self, bytes data)
    cdef _handle(self, list events, bint at_once=*)
    @cython.locals(record=Record, exchange=Exchange)
    cdef _begin(self, RequestHead head, bint at_once)
    @cython.locals(record=Record)
    cdef Record _open_record(self, head)
    @cython.locals(exchange=Exchange)
    cdef _feed(self, event)
    @cython.locals(exchange=Exchange)
    cdef _end(self, event)
    cdef _watch_reading(self)
    cpdef schedule_flush(self)
    @cython.locals(output=bytes)
    cpdef flush(self)
    cpdef bint _is_drained(self, int stream_id)
    cpdef release_writers(self, int stream_id)
    cpdef credit_given(self)
    cpdef exchange_ended(self, int stream_id)
    cpdef send_error(self, Record record, int stream_id, int status, str detail, bytes accept)
    @cython.locals(codec=Codec, exchange=Exchange, again=bint)
    cdef _finish_exchanges(self)
    cdef _go_on(self)
