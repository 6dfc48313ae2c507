"""C types of the route map."""

cimport cython

from sidegate.observe.record cimport Record


cdef class WeightedChoice:
    cdef object _backends
    cdef list _bounds
    cdef object _only

    cpdef pick(self)


cdef class Rule:
    cdef public str hostname
    cdef public str path
    cdef public bint exact
    cdef public object method
    cdef public tuple headers
    cdef public tuple query
    cdef public int route
    cdef public WeightedChoice choice

    @cython.locals(path=str)
    cpdef bint holds(self, scope)


cdef class Router:
    cdef dict _by_host
    cdef list _by_suffix
    cdef list _without_host
    cdef bint _any_host

    @cython.locals(rule=Rule, record=Record)
    cdef _choose(self, scope)
    @cython.locals(rule=Rule)
    cpdef Rule match(self, scope)
    cdef list _table_for(self, scope)
