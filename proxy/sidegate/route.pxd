"""C types of a route."""


cdef class Route:
    cdef readonly Py_ssize_t index
    cdef readonly object settings
    cdef readonly str name
    cdef readonly tuple hostnames
    cdef readonly object timeouts
    cdef readonly object websocket
    cdef readonly object app
