"""C types of a WebSocket's events."""

from sidegate.wire.events cimport Values


cdef class Message(Values):
    cdef public object data
    cdef public Py_ssize_t size


cdef class Pong(Values):
    cdef public bytes payload


cdef class Closed(Values):
    cdef public int code
    cdef public str reason
