"""C types of what starts exchanges."""

from sidegate.aio.wakeup cimport Arrival, Stepping

cdef Stepping _stepping


cdef class SpareTask


cdef class FirstStep:
    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)


cdef class Stepped:
    cdef SpareTask _spare
    cdef object _task
    cdef bint _cancelled
    cdef public object coroutine

    cpdef step(self)
    cpdef went_on(self, coroutine, task)
    cpdef cancel(self)


cdef class SpareTask(FirstStep):
    cdef object _loop
    cdef bint _stopped
    cdef object _gate
    cdef object _task
    cdef object _adopting
    cdef object _context

    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)
    cpdef step(self, Stepped stepped)
    cpdef task_for(self, coroutine)
    cdef bint _is_there(self)
    cdef _step(self, coroutine, Stepped stepped)
    cdef bint _is_untouched(self, task)


cdef class EagerTask(FirstStep):
    cdef object _loop

    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)
