"""C types of a meter of threads."""


cdef class ThreadMeter:
    cdef public str name
    cdef double[::1] _cells
    cdef Py_ssize_t _busy
    cdef Py_ssize_t _stuck

    cpdef began(self)
    cpdef ended(self)
