"""C types of the admission."""

cimport cython

from sidegate.observe.record cimport Record
from sidegate.server.peer cimport Peer


cdef class Admission:
    cdef public bint counting
    cdef public object requests
    cdef public object websockets
    cdef object _loop
    cdef long _count_from
    cdef long _calm
    cdef list _watched
    cdef double _longest_wait
    cdef double _skip
    cdef double _resume
    cdef bint _in_turn
    cdef double _began
    cdef double _last
    cdef double _longest

    cpdef str refusal(self, Record record, Peer peer, long in_flight)
    cpdef released(self, Record record)
    cdef str _share(self, Record record, Peer peer, long in_flight)
    cdef _start_counting(self)
    cdef _stop_counting(self)
    @cython.locals(step=double)
    cdef double _waited(self, double now)
    cpdef _end_turn(self)
