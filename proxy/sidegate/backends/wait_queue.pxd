"""C types of the wait queue."""

cimport cython

from sidegate.aio.wakeup cimport Wakeup
from sidegate.backends.load_balancer cimport LoadBalancer, Target
from sidegate.observe.queue_meter cimport QueueMeter


cdef class WaitQueue:
    cdef public QueueMeter meter
    cdef public object loop
    cdef public LoadBalancer load_balancer
    cdef public object on_pressure
    cdef public object on_wait
    cdef public object refusal
    cdef object _queue
    cdef dict _waiting
    cdef object _timer
    cdef bint _pressure_reported

    cpdef refuse_all(self, refusal)
    cpdef give_back(self, Target target)
    cpdef assign(self)
    cdef _not_served(self)
    @cython.locals(waiter=Wakeup)
    cdef _wake(self, list tickets)
