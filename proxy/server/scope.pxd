"""C types of making a scope."""

from proxy.observe.record cimport Record
from proxy.server.hop cimport take_facts
from proxy.server.peer cimport Peer
from proxy.wire.events cimport RequestHead
from proxy.wire.target cimport split_target


cdef dict _asgi


cpdef dict request_scope(Peer peer, RequestHead head, Record record)
