"""C types of the waiting senders."""


cdef class Waiters:
    cdef list _entries

    cpdef add(self, int stream_id, loop)
    cpdef wake(self, drained)
    cpdef release(self, int stream_id)
