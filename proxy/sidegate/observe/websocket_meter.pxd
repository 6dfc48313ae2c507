"""C types of a meter of WebSockets."""

cimport cython


cdef class WebSocketMeter:
    cdef double[::1] _cells
    cdef Py_ssize_t _open
    cdef Py_ssize_t _messages_in
    cdef Py_ssize_t _messages_out
    cdef Py_ssize_t _bytes_in
    cdef Py_ssize_t _bytes_out
    cdef Py_ssize_t _by_client
    cdef Py_ssize_t _by_server
    cdef Py_ssize_t _ping
    cdef Py_ssize_t _ping_sum

    cpdef opened(self)
    cpdef ended(self)
    @cython.locals(cells=double[::1])
    cpdef received(self, Py_ssize_t messages, Py_ssize_t size)
    @cython.locals(cells=double[::1])
    cpdef sent(self, Py_ssize_t messages, Py_ssize_t size)
    @cython.locals(offset=Py_ssize_t)
    cpdef closed(self, Py_ssize_t code, bint by_client)
