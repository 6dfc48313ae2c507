"""C types of the request head that is sent upstream."""

cimport cython

from sidegate.caches cimport remember
from sidegate.observe.record cimport Record

cdef dict _HTTP_SCHEMES
cdef dict _METHODS
cdef tuple _CONNECT
cdef tuple _PROTOCOL


cdef class HopFields:
    cdef str _root_path
    cdef tuple _scheme
    cdef dict _peers
    cdef dict _tls

    @cython.locals(fields=list, head=list, path=bytes, query=bytes, websocket=bint, handshake=list)
    cpdef list build(self, scope, Record record, bint to_worker)
    cdef tuple _peer(self, scope)
    cdef tuple _tls_facts(self, tls)


cdef tuple _method(str method)
cdef _http_scheme(scope)
