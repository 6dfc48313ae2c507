"""C types of the connection."""

cimport cython

from sidegate.observe.record cimport Origin, Record, open_record
from sidegate.server.exchange cimport Exchange
from sidegate.aio.eager cimport EagerStarter
from sidegate.server.writing_half cimport WritingHalf
from sidegate.wire.events cimport RequestHead


cdef class Connection(WritingHalf):
    cdef public str protocol
    cdef public double opened
    cdef public long long requests
    cdef public object lingering_since
    cdef public bint winding_down
    cdef Origin _origin
    cdef object _header
    cdef bytes _first_bytes
    cdef bint _reading_paused
    cdef bint _body_open
    cdef bint _continuing
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
    cpdef credit_given(self)
    cdef _go_on(self)
    cdef _close(self)


cpdef _continue(Connection connection)
