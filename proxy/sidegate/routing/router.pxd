"""C types of the route map."""

cimport cython

from sidegate.observe.record cimport Record
from sidegate.route cimport Route
from sidegate.routing.index cimport RouteIndex


cdef class Router:
    cdef RouteIndex _index

    @cython.locals(record=Record, route=Route)
    cdef Route _choose(self, scope)
