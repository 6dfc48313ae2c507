"""C types of the observer: with a typed view, a count is one addition instead of two look-ups and a new float."""

cimport cython

from sidegate.observe.access_log cimport AccessLog
from sidegate.observe.meter cimport ListenerMeter
from sidegate.observe.record cimport Record
from sidegate.observe.websocket_meter cimport WebSocketMeter


cdef class RouteCells:
    cdef dict requests
    cdef Py_ssize_t unreached
    cdef Py_ssize_t duration
    cdef Py_ssize_t bytes_in
    cdef Py_ssize_t bytes_out
    cdef dict errors


cdef class Observer:
    cdef public long in_flight
    cdef double[::1] _cells
    cdef object _clock
    cdef AccessLog _access_log
    cdef dict _listeners
    cdef dict _pools
    cdef dict _threads
    cdef object _layout
    cdef list _backends
    cdef list _names
    cdef list _routes
    cdef list _websockets
    cdef dict _protocols
    cdef dict _reasons
    cdef Py_ssize_t _other
    cdef Py_ssize_t _sum

    cpdef ListenerMeter listener(self, str name)
    @cython.locals(meter=WebSocketMeter)
    cpdef WebSocketMeter websocket(self, Py_ssize_t route)
    cpdef started(self, Record record)
    @cython.locals(index=Py_ssize_t)
    cpdef finished(self, Record record)
    @cython.locals(cells=double[::1], duration=double, route=RouteCells, status=int, bucket=Py_ssize_t, requests=Py_ssize_t)
    cpdef count(self, Record record)
    @cython.locals(cells=RouteCells)
    cdef RouteCells _route_cells(self, Py_ssize_t index)
