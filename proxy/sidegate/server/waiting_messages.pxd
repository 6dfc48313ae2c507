"""C types of the memory of waiting messages."""


cdef class WaitingMessages:
    cdef public long long held

    cpdef bint has_room(self)
