"""C types of the record."""

cimport cython

from sidegate.observe.meter cimport ListenerMeter
from sidegate.route cimport Route


cdef class Origin:
    cdef public str client
    cdef public str tls


cdef class Record:
    cdef public ListenerMeter listener
    cdef public str client
    cdef public str method
    cdef public bytes target
    cdef public str path
    cdef public str http_version
    cdef public double started
    cdef public Route route
    cdef public str backend
    cdef public int status
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef public list headers
    cdef public str tls
    cdef public bint has_body
    cdef public int runner
    cdef public int counting
    cdef public object fault
    cdef public str reason
    cdef str _request_id


@cython.locals(record=Record)
cpdef Record open_record(ListenerMeter listener, Origin origin, head, double started)
cdef str _numbered(unsigned long long number)
