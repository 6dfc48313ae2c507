"""C types of a tunnel."""

from proxy.backends.call cimport Call
from proxy.backends.link cimport Link
from proxy.backends.relay cimport Relay


cdef class Tunnel(Relay):
    cdef object _bytes

    cdef bint _is_whole(self, upload)
    cdef Call _open(self, Link link, bint whole)
