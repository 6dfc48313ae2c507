"""C types of the admission."""

cimport cython


cdef class Admission:
    cdef object _loop
    cdef long _concurrent
    cdef double _longest_wait
    cdef double _skip
    cdef double _resume
    cdef bint _in_turn
    cdef double _began
    cdef double _last
    cdef double _longest

    cpdef str refusal(self, double started, long in_flight)
    @cython.locals(step=double)
    cdef double _waited(self, double now)
    cpdef _end_turn(self)
