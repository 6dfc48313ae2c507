"""C types of a connection's two ends."""

from sidegate.wire.target cimport PathPolicy


cdef class Peer:
    cdef public object client
    cdef public object server
    cdef public object trusted
    cdef public PathPolicy paths
    cdef public str scheme
    cdef public str tls_version
    cdef public bint encrypted
    cdef public dict extensions
    cdef public dict scope
