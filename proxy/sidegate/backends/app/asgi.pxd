"""C types of the in-process backend."""


cdef class AsgiBackend:
    cdef public str name
    cdef public str interface
    cdef object _app
    cdef str _root_path
    cdef object _lifespan
