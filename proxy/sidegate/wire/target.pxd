"""C types of the check of a request target."""


cdef dict _seen


cpdef split_target(bytes raw)
