"""C types of a WebSocket's inbox."""

from sidegate.server.waiting_messages cimport WaitingMessages
from sidegate.wire.websocket.events cimport Message
from sidegate.wire.websocket.frames cimport WebSocketFrames


cdef class Inbox:
    cdef WaitingMessages _all_waiting
    cdef WebSocketFrames _frames
    cdef Py_ssize_t _most
    cdef long long _waiting
    cdef list _pieces
    cdef public object messages
    cdef public bint continuing

    cpdef add(self, bytes data)
    cpdef bint has_undecoded(self)
    cpdef bint has_room(self)
    cpdef bint is_ahead(self)
    cpdef bint is_long(self)
    cpdef list decode(self, double now)
    cpdef put(self, Message message)
    cpdef Message take(self)
    cpdef list end(self, double now)
    cpdef list disconnect(self, Py_ssize_t size, double now)
    cpdef clear(self)
    cpdef release(self)
    cdef _count(self, long long size)
    cdef bytes _take_pieces(self)
