"""C types of a tunnel."""

from sidegate.backends.upstream.client_stream cimport Call
from sidegate.backends.upstream.connection cimport Link
from sidegate.backends.upstream.relay cimport Relay


cdef class Tunnel(Relay):
    cdef object _bytes

    cdef bint _is_whole(self, upload)
    cdef Call _open(self, Link link, bint whole)
