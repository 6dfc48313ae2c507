"""C types of the check of a request's header list."""

cimport cython

from sidegate.caches cimport remember


cdef class HeadValidator:
    cdef object _policy
    cdef bint _of_front
    cdef Py_ssize_t _longest_line
    cdef Py_ssize_t _largest_block
    cdef dict _memory
    cdef bytes _authority
    cdef bytes _other_scheme
    cdef public bytes scheme
    cdef tuple _pseudo
    cdef tuple _fields
    cdef tuple _answer

    cpdef tuple request(self, tuple pseudo, tuple fields, Py_ssize_t size)
    @cython.locals(answer=tuple, facts=list, count=Py_ssize_t)
    cdef tuple _request_of_front(self, tuple pseudo, tuple fields, Py_ssize_t size)
    @cython.locals(answer=tuple, method=str, target=bytes, authority=bytes, scheme=bytes)
    cdef tuple _request(self, tuple pseudo, tuple fields, Py_ssize_t size)
    @cython.locals(known=tuple, pair=tuple, seen=tuple, target=bytes)
    cdef bytes _moved(self, tuple pseudo)
    cdef _check_fields(self, tuple fields, Py_ssize_t size, bytes authority)
    cdef _check(self, tuple fields, bytes authority)


cdef tuple _control(tuple pseudo, Py_ssize_t longest)
cdef _check_target(bytes target, str method, Py_ssize_t longest)
