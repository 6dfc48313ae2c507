"""C types of a meter of a wait queue."""


cdef class QueueMeter:
    cdef public str name
    cdef double[::1] _cells
    cdef Py_ssize_t _in_flight
    cdef Py_ssize_t _queued
    cdef Py_ssize_t _wait
    cdef Py_ssize_t _wait_sum
    cdef dict _retries

    cpdef begun(self)
    cpdef ended(self)
    cpdef placed_at_once(self)
