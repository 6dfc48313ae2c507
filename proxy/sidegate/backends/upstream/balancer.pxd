"""C types of the balancer that relays use."""

from sidegate.backends.load_balancer cimport LoadBalancer
from sidegate.backends.wait_queue cimport WaitQueue
from sidegate.backends.upstream.connection cimport UpstreamConnection, ConnectionOwner
from sidegate.observe.queue_meter cimport QueueMeter


cdef class Balancer(ConnectionOwner):
    cdef public str name
    cdef public QueueMeter meter
    cdef public WaitQueue wait_queue
    cdef public object loop
    cdef LoadBalancer _load_balancer
    cdef public object on_silence
    cdef public object on_failure
    cdef public bint on_threads
    cdef double _liveness
    cdef long _fronts
    cdef object _new_codec
    cdef object _policy
    cdef dict _endpoints
    cdef set _connections
    cdef set _silent
    cdef dict _owners
    cdef object _timer
    cdef double _checked

    cpdef UpstreamConnection take(self)
    cpdef give_back(self, UpstreamConnection connection)
    cpdef cool_down(self, UpstreamConnection connection)
