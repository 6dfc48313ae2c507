"""C types of the eager starters."""

from sidegate.aio.wakeup cimport Wakeup, Stepping

cdef Stepping _stepping


cdef class SpareTaskStarter


cdef class EagerStarter:
    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)


cdef class EagerCoroutine:
    cdef SpareTaskStarter _spare
    cdef object _task
    cdef bint _cancelled
    cdef public object coroutine

    cpdef step(self)
    cpdef step_done(self, coroutine, task)
    cpdef cancel(self)


cdef class SpareTaskStarter(EagerStarter):
    cdef object _loop
    cdef bint _stopped
    cdef object _gate
    cdef object _task
    cdef object _adopting
    cdef object _base
    cdef object _context
    cdef object _task_factory
    cdef tuple _values

    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)
    cpdef step(self, EagerCoroutine stepped)
    cpdef task_for(self, coroutine)
    cdef bint _has_spare(self)
    cdef _step(self, coroutine, EagerCoroutine stepped)
    cdef bint _is_untouched(self, task)
    cdef bint _has_base_values(self)


cdef class EagerTaskStarter(EagerStarter):
    cdef object _loop
    cdef object _task_factory
    cdef object _base

    cpdef start(self, coroutine, bint at_once)
    cpdef stop(self)
