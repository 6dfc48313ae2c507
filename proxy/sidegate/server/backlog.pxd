"""C types of the backlog."""

from sidegate.aio.waiters cimport Waiters


cdef class Backlog:
    cdef public Py_ssize_t waiting
    cdef double _silent_until

    cpdef add(self, Py_ssize_t size)
    cpdef report(self, str client, Py_ssize_t waiting, double now)


cdef class ConnectionBacklog:
    cdef public Py_ssize_t waiting
    cdef public Waiters senders
    cdef str _client
    cdef bint _exempt
    cdef Backlog _process
    cdef double _since
    cdef long long _written

    cpdef set_client(self, str client, bint exempt)
    cpdef add(self, Py_ssize_t size, long long written, double now)
    cpdef remove(self, Py_ssize_t size)
    cpdef bint is_large(self, Py_ssize_t stream=*)
    cpdef bint is_slow(self, long long written, double now)
    cpdef report(self, double now)


cdef class Gate:
    cdef object _app
    cdef ConnectionBacklog _backlog
    cdef object _is_slow
