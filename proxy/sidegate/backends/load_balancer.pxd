"""C types of the load balancer."""

cimport cython


cdef class Target:
    cdef public long in_use
    cdef public long capacity
    cdef public bint cooling_down


cdef class Ticket:
    cdef public double since
    cdef public double deadline
    cdef public Target target


cdef class LoadBalancer:
    cdef list _targets
    cdef Py_ssize_t _size
    cdef public object queue

    @cython.locals(ticket=Ticket)
    cpdef list assign(self)
    cpdef Target take(self)
    cpdef give_back(self, Target target)
    @cython.locals(best=Target, target=Target, least=long, ties=long, in_use=long)
    cdef Target _take(self)
