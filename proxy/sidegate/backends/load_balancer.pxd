"""C types of the choice."""

cimport cython


cdef class Place:
    cdef public long busy
    cdef public long places
    cdef public bint resting


cdef class Ticket:
    cdef public double since
    cdef public double deadline
    cdef public Place place


cdef class Choice:
    cdef list _links
    cdef Py_ssize_t _size
    cdef public object queue

    @cython.locals(ticket=Ticket)
    cpdef list assign(self)
    cpdef Place take(self)
    cpdef give_back(self, Place link)
    @cython.locals(best=Place, link=Place, least=long, ties=long, busy=long)
    cdef Place _take(self)
