"""C types of reading a front's facts."""

cimport cython

from sidegate.caches cimport remember
from sidegate.observe.record cimport Record

cdef bytes _own
cdef bytes _peer
cdef bytes _tls
cdef bytes _websocket
cdef bytes _request_id
cdef bytes _scheme
cdef dict _handshake
cdef dict _peers
cdef dict _tls_facts
cdef dict _websockets


@cython.locals(found=bint, name=bytes, value=bytes, handshake=list)
cpdef bint take_facts(list headers, dict scope, Record record) except -1
cdef _store_peer(facts, dict scope, Record record)
cdef _read_peer(bytes value)
cdef dict _read_tls(bytes value)
cdef _read_websocket(bytes value)
