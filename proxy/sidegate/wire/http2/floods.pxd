"""C types of the flood counters. Times are seconds; counters exist as long as their connection."""


cdef class Bucket:
    cdef double _at
    cdef double _burst
    cdef double _level
    cdef double _rate

    cpdef bint take(self, double now)


cdef class FloodCounters:
    cdef Bucket _control
    cdef Bucket _empty
    cdef Bucket _resets
    cdef Py_ssize_t _most_continuations
    cdef long long _updates
    cdef public Py_ssize_t continuations
    cdef public long long streams

    cpdef bint control(self, double now)
    cpdef bint window_update(self, double now, long long data_frames)
    cpdef bint empty_data(self, double now)
    cpdef bint reset(self, double now)
    cpdef bint continuation(self)
