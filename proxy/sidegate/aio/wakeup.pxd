"""C types of a wake-up."""


cdef class Stepping:
    cdef public object loop


cdef class Wakeup:
    cdef public object loop
    cdef object _stepper
    cdef object _waiter
    cdef bint _yielded

    cpdef wakeup(self)
    cpdef wake(self)
