"""C types of a listener's meter."""


cdef class ListenerMeter:
    cdef public str name
    cdef public Py_ssize_t in_flight
    cdef object _cells
    cdef dict _opened
    cdef dict _open
    cdef dict _handshakes
    cdef dict _failed
    cdef dict _refused
    cdef dict _violated
