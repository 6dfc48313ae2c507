"""C types of a relay."""

cimport cython

from sidegate.backends.upstream.balancer cimport Balancer
from sidegate.backends.upstream.client_stream cimport ClientStream
from sidegate.backends.upstream.request_fields cimport HopFields
from sidegate.backends.upstream.connection cimport UpstreamConnection
from sidegate.observe.record cimport Record
from sidegate.wire.events cimport End, ResponseHead


cdef class Relay:
    cdef Balancer _balancer
    cdef HopFields _fields
    cdef object _buffering
    cdef object _scope
    cdef object _receive
    cdef object _send
    cdef Record _record
    cdef object _body
    cdef object _buffer
    cdef object _upload
    cdef bint _expects
    cdef ResponseHead _head
    cdef bint _started
    cdef bint _trailers

    cdef bint _is_whole(self, upload)
    cdef object _pass(self, message, ClientStream stream)
    cdef bint _may_buffer(self) except -1
    cdef ClientStream _open(self, UpstreamConnection connection, bint whole)
    cdef _give_back(self, UpstreamConnection connection, ClientStream stream)
    @cython.locals(head=ResponseHead)
    cdef dict _start(self, bint trailers)
