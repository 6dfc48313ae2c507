"""C types of a tunnel."""

from sidegate.backends.upstream.client_stream cimport ClientStream
from sidegate.backends.upstream.connection cimport UpstreamConnection
from sidegate.backends.upstream.relay cimport Relay


cdef class Tunnel(Relay):
    cdef object _accept
    cdef object _bytes

    cdef bint _is_whole(self, upload)
    cdef ClientStream _open(self, UpstreamConnection connection, bint whole)
