"""C types of a line."""

cimport cython

from sidegate.aio.wakeup cimport Arrival
from sidegate.backends.load_balancer cimport Choice, Place
from sidegate.observe.queue_meter cimport PoolMeter


cdef class Line:
    cdef public PoolMeter meter
    cdef public object loop
    cdef public Choice choice
    cdef public object on_pressure
    cdef public bint away
    cdef object _queue
    cdef dict _waiting
    cdef object _timer
    cdef bint _pressure_told

    cpdef send_away(self)
    cpdef give_back(self, Place place)
    cpdef assign(self)
    cdef _without_place(self)
    @cython.locals(waiter=Arrival)
    cdef _tell(self, list tickets)
