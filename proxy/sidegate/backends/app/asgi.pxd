"""C types of the in-process backend."""

cimport cython

from sidegate.observe.record cimport Record


cdef class AsgiBackend:
    cdef public str name
    cdef public str interface
    cdef object _app
    cdef str _root_path
    cdef object _lifespan

    @cython.locals(record=Record)
    cdef _take(self, scope)
