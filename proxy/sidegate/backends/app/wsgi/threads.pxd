"""C types of the threads."""

cimport cython

from sidegate.backends.load_balancer cimport Target
from sidegate.backends.app.wsgi.job cimport Job


cdef class Threads(Target):
    cdef str _name
    cdef object _offered
    cdef object _signals
    cdef long _made
    cdef object _context

    cpdef offer(self, Job job)
    cpdef withdraw(self, Job job)
    cpdef start(self, Job job, bint offered)
    cpdef stop(self)
    cdef _make(self, Job job)
    cpdef work(self)
    @cython.locals(job=Job)
    cdef _take_all(self)
