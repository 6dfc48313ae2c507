"""C types of the base class of backends."""


cdef class Backend:
    cdef public str name
    cdef public str interface
