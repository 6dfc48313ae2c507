"""C types of the TLS transport."""

cimport cython

from sidegate.server.connection cimport Connection


cdef class TlsTransport:
    cdef public Connection connection
    cdef object _handshakes
    cdef object _header
    cdef object _loop
    cdef object _session
    cdef object _transport
    cdef object _timer
    cdef bint _started
    cdef bint _is_cleartext
    cdef bytes _first_bytes
    cdef bint _closing
    cdef bint _held
    cdef bint _peer_paused
    cdef bint _reading_paused

    @cython.locals(connection=Connection)
    cpdef data_received(self, bytes data)
    cdef Connection _advance(self)
    cdef _answer_cleartext(self, bytes data)
    cdef _fail(self, str reason, str detail)
    cdef str _left(self)
    cdef _peer_left(self)
    cdef _session_ended(self, Connection connection)
    cpdef write(self, bytes data)
    cdef _send(self, bytes output)
    cdef _watch_reading(self)
    cdef _finish(self, bint peer_may_send)
    cdef _cancel_timer(self)
