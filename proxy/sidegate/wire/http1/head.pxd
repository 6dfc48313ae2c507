"""C types of the head reader's fast path; the code that parses a new head has no types."""

cimport cython

from sidegate.caches cimport remember
from sidegate.wire.events cimport RequestHead

cdef dict _PLAIN_METHODS


cdef class HeadReader:
    cdef object _policy
    cdef dict _blocks
    cdef dict _request_lines
    cdef object _parts
    cdef object _parser
    cdef Py_ssize_t _max_line
    cdef Py_ssize_t _small
    cdef bint _reusable
    cdef bint _upgrade
    cdef Py_ssize_t _blank_lines
    cdef Py_ssize_t _scanned
    cdef Py_ssize_t _lines
    cdef Py_ssize_t _line_end
    cdef public bint chunked
    cdef public bint keep_alive
    cdef public bytes scheme
    cdef public bytes seen

    @cython.locals(end=Py_ssize_t, head=bytes, found=bytes, rest=bytes, request=RequestHead)
    cpdef tuple read(self, bytes buffer, int stream_id)
    @cython.locals(method=bytes, target=bytes, version=bytes, block=bytes, fields=tuple, line=bytes, known=tuple, request=RequestHead)
    cpdef RequestHead _parse(self, bytes head, int stream_id)
    cpdef RequestHead _parse_anew(self, bytes head, bytes method, bytes target, bytes version, int stream_id)
    @cython.locals(head=RequestHead)
    cpdef RequestHead _check(self, bytes method, bytes target, str version, list raw, int stream_id)
    cpdef _check_hop(self, fields, RequestHead head)
