"""C types of a listener's meter."""


cdef class ListenerMeter:
    cdef public str name
    cdef public Py_ssize_t in_flight
    cdef public Py_ssize_t routed
    cdef double[::1] _cells
    cdef dict _opened
    cdef dict _open
    cdef dict _handshakes
    cdef dict _failed
    cdef dict _refused
    cdef dict _violated

    cpdef route_found(self, Py_ssize_t route)
