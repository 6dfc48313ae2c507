"""C types of a job."""

cimport cython

from sidegate.aio.wakeup cimport Wakeup


cdef class Job


cdef class Mailbox:
    cdef object _loop
    cdef object _release
    cdef object _posted
    cdef bint _scheduled
    cdef object _context

    cpdef post(self, Job job)
    @cython.locals(job=Job)
    cpdef deliver(self)


cdef class Incoming:
    cdef object _pieces
    cdef long long _fed
    cdef long long _read
    cdef public bint ended
    cdef public bint wanted

    cpdef feed(self, bytes data, bint more)
    cpdef take(self)


cdef class Abandonment:
    cdef public object timer
    cdef public bint stuck


cdef class Job(Wakeup):
    cdef public object scope
    cdef public object whole
    cdef public object out
    cdef public bint taken
    cdef public bint ended
    cdef public bint released
    cdef public bint counted
    cdef public bint gone
    cdef public double began
    cdef public Abandonment abandonment
    cdef public object error
    cdef public object file
    cdef public Incoming body
    cdef Mailbox _mailbox
    cdef object _act
    cdef object _changed
    cdef long long _emitted
    cdef long long _passed
    cdef long long _produced
    cdef long long _sent

    cpdef passed(self, Py_ssize_t size)
    @cython.locals(body=Incoming)
    cpdef feed(self, bytes data, bint more)
    cpdef abandon(self)
    cdef _notify(self)
    cpdef run(self)
    cpdef fail(self, error)
    cpdef put(self, message)
    cpdef emit(self, message, Py_ssize_t size=*)
    cpdef emit_last(self, message)
    cpdef emit_all(self)
    @cython.locals(body=Incoming)
    cpdef next_piece(self)
    cpdef check_present(self)
    cdef _want_body(self, Incoming body)
    cdef _wait(self, ready)
