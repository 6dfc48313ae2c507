"""C types of the access-log lines: numbers are formatted in C, and a ``Memory`` is called as a C function."""

cimport cython

from sidegate.caches cimport remember
from sidegate.observe.record cimport Record


cdef class Memory:
    cdef object _make
    cdef dict _texts

    cpdef str text(self, object value, int room)
    cdef str _add(self, object value, int room)


cdef class LineFormat:
    cdef str _pattern
    cdef long long _second
    cdef str _time

    cpdef str line(self, Record record, double duration, double ended)
    cdef str _shortened(self, Record record, double duration, double ended)
    cdef str _build(self, Record record, double duration, double ended, int room)
    cdef str _stamp(self, long long second)


cdef class CombinedLines(LineFormat):
    cdef Memory _agents
    cdef Memory _clients
    cdef Memory _methods
    cdef Memory _referers
    cdef Memory _targets

    @cython.locals(status=int)
    cdef str _build(self, Record record, double duration, double ended, int room)


cdef class JsonLines(LineFormat):
    cdef Memory _agents
    cdef Memory _backends
    cdef Memory _clients
    cdef Memory _hosts
    cdef Memory _methods
    cdef Memory _referers
    cdef list _routes
    cdef Memory _targets
    cdef Memory _tls

    @cython.locals(milliseconds=cython.longlong, microseconds=cython.longlong, status=int)
    cdef str _build(self, Record record, double duration, double ended, int room)


@cython.locals(field=tuple, name=object)
cdef tuple _described(list headers)
