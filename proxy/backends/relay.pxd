"""C types of a relay."""

cimport cython

from proxy.backends.balancer cimport Balancer
from proxy.backends.call cimport Call
from proxy.backends.hop_fields cimport HopFields
from proxy.backends.link cimport Link
from proxy.observe.record cimport Record
from proxy.wire.events cimport End, ResponseHead


cdef class Relay:
    cdef Balancer _balancer
    cdef HopFields _fields
    cdef object _scope
    cdef object _receive
    cdef object _send
    cdef Record _record
    cdef object _upload
    cdef bint _expects
    cdef ResponseHead _head
    cdef bint _started
    cdef bint _trailers

    cdef bint _is_whole(self, upload)
    cdef Call _open(self, Link link, bint whole)
    cdef _give_back(self, Link link, Call call)
    @cython.locals(head=ResponseHead)
    cdef dict _start(self, bint trailers)
