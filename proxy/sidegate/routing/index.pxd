"""C types of the index of the route map."""

cimport cython

from sidegate.route cimport Route


cdef class RequestFacts:
    cdef object _scope
    cdef public str method
    cdef dict _headers
    cdef dict _query

    @cython.locals(joined=dict)
    cdef dict headers(self)
    @cython.locals(given=dict)
    cdef dict query(self)


cdef class Rule:
    cdef readonly str method
    cdef readonly tuple headers
    cdef readonly tuple query
    cdef readonly bint unconditional
    cdef readonly Route route

    @cython.locals(fields=dict, parameters=dict)
    cdef bint holds(self, RequestFacts facts)


cdef class PathNode:
    cdef readonly PathNode parent
    cdef readonly dict children
    cdef readonly list rules


cdef class PathIndex:
    cdef dict _exact
    cdef PathNode _root

    @cython.locals(rules=list, node=PathNode, found=Route)
    cdef Route find(self, str path, scope)
    @cython.locals(node=PathNode, child=PathNode, start=Py_ssize_t, end=Py_ssize_t)
    cdef PathNode _deepest(self, str path)


cdef class RouteIndex:
    cdef PathIndex _any_host
    cdef dict _by_host
    cdef dict _by_suffix

    cdef PathIndex _paths(self, str hostname)
    @cython.locals(found=Route)
    cpdef Route find(self, str path, scope)
    @cython.locals(paths=PathIndex, found=Route, dot=Py_ssize_t)
    cdef Route _of_host(self, str host, str path, scope)


@cython.locals(rule=Rule, facts=RequestFacts)
cdef Route _first(list rules, scope)
