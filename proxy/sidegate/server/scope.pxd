"""C types of the creation of a scope."""

from sidegate.observe.record cimport Record
from sidegate.server.hop cimport take_facts
from sidegate.server.peer cimport Peer
from sidegate.wire.events cimport RequestHead


cdef dict _asgi


cpdef dict request_scope(Peer peer, RequestHead head, Record record)
