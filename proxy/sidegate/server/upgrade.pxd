"""C types of an upgrade."""

from sidegate.server.exchange cimport Exchange


cdef class Upgrade(Exchange):
    cdef object _handshake
    cdef bint _leaving
    cdef object _meter
    cdef bint _raw
    cdef object _scope
