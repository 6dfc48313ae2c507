"""C types of judging a target."""


cdef dict _seen


cpdef split_target(bytes raw)
