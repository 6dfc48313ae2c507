"""C types of the balancer, as relays use it."""

from sidegate.backends.load_balancer cimport Choice
from sidegate.backends.wait_queue cimport Line
from sidegate.backends.upstream.connection cimport Link, Owner
from sidegate.observe.queue_meter cimport PoolMeter


cdef class Balancer(Owner):
    cdef public str name
    cdef public PoolMeter meter
    cdef public Line line
    cdef public object loop
    cdef Choice _choice
    cdef public object on_silence
    cdef public object on_failure
    cdef double _liveness
    cdef long _share
    cdef object _new_codec
    cdef object _pauses
    cdef dict _keepers
    cdef set _links
    cdef dict _owners
    cdef object _silence_timer
    cdef double _checked

    cpdef Link take(self)
    cpdef give_back(self, Link link)
    cpdef rest(self, Link link)
