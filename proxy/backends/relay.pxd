"""C types of a relay."""

from proxy.backends.balancer cimport Balancer
from proxy.backends.hop_fields cimport HopFields
from proxy.observe.record cimport Record
from proxy.wire.events cimport ResponseHead


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
