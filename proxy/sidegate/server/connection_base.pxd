"""C types of a connection, as its exchanges see it."""

cimport sidegate.aio.thread_ident as threading

from sidegate.observe.observer cimport Observer
from sidegate.observe.record cimport Record
from sidegate.server.admission cimport Admission
from sidegate.server.backlog cimport ConnectionBacklog
from sidegate.server.peer cimport Peer
from sidegate.wire.events cimport Codec


cdef class ConnectionBase:
    cdef public object service
    cdef public object clock
    cdef public Peer peer
    cdef public Codec codec
    cdef public Observer observer
    cdef public Admission admission
    cdef public ConnectionBacklog backlog
    cdef public unsigned long thread

    cpdef check_thread(self, str what)
    cpdef schedule_flush(self)
    cpdef flush(self)
    cpdef gated(self, app)
    cpdef release_writers(self, int stream_id)
    cpdef credit_given(self)
    cpdef exchange_ended(self, int stream_id)
    cpdef send_error(self, Record record, int stream_id, int status, str detail, bytes accept)
