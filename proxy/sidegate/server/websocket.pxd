"""C types of a WebSocket."""

from sidegate.server.upgrade cimport Upgrade
from sidegate.server.websocket_inbox cimport Inbox


cdef class WebSocket(Upgrade):
    cdef object _closing_since
    cdef int _code
    cdef bint _connect_delivered
    cdef object _end
    cdef object _frames
    cdef Inbox _inbox
    cdef object _ping
    cdef object _settings

    cpdef feed(self, bytes data)
    cpdef end(self)
    cpdef disconnect(self, str reason=*)
    cpdef give_up(self, failure)


cpdef _unpack_next_turn(WebSocket websocket)
cpdef _continue(WebSocket websocket)
