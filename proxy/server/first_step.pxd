"""C types of what starts exchanges."""


cdef class FirstStep:
    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)


cdef class SpareTask(FirstStep):
    cdef object _loop
    cdef bint _stopped
    cdef object _gate
    cdef object _task
    cdef object _adopting
    cdef object _context

    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)
    cdef bint _is_untouched(self, task)


cdef class EagerTask(FirstStep):
    cdef object _loop

    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)
