"""C types of an arrival."""


cdef class Stepping:
    cdef public bint now


cdef class Arrival:
    cdef public object loop
    cdef object _stepper
    cdef object _waiter
    cdef bint _yielded

    cpdef arrival(self)
    cpdef wake(self)
