"""C types of the check of a request target."""

from sidegate.caches cimport remember


cdef class PathPolicy:
    cdef bint _merge
    cdef bint _refuse_repeated
    cdef bint _refuse_encoded
    cdef dict _seen

    cpdef split(self, bytes raw)
    cdef _split(self, bytes raw)
