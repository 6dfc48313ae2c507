"""C types of the in-process backend."""

cimport cython

from sidegate.backends.backend cimport Backend
from sidegate.observe.record cimport Record


cdef class AsgiBackend(Backend):
    cdef object _app
    cdef str _root_path
    cdef object _lifespan
    cdef object _buffering

    @cython.locals(record=Record)
    cdef _take(self, scope)
