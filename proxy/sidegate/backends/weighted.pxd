"""C types of the weighted choice."""


cdef class WeightedChoice:
    cdef object _apps
    cdef list _bounds

    cpdef pick(self)
