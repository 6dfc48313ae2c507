"""C types of the response."""

cimport cython

from sidegate.backends.app.wsgi.job cimport Job
from sidegate.caches cimport remember


cdef class WsgiResponse:
    cdef Job _job
    cdef object _buffering
    cdef int _status
    cdef list _headers
    cdef bint _started
    cdef object _remaining

    cpdef run(self, application, dict environ)
    cdef bint _put_whole(self, blocks) except -1
    cdef _announce(self, Py_ssize_t size)
    cdef bint _is_bodiless(self) except -1
    cdef _pass_on(self, result)
    cdef Py_ssize_t _emit(self, bytes block) except -1
    cdef bytes _fitting(self, bytes block)
    cdef _start(self)
    cdef bint _send_file(self, file) except -1
    cdef _close_after_failure(self, result)


cdef int _new_code(status) except -1
cdef bytes _checked(block)
cdef tuple _field(pair)
cdef tuple _new_field(pair)
cdef bytes _bytes(text, str what)
