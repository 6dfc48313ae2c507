"""C types of what a request says about its connection."""

from sidegate.wire.events cimport RequestHead


cpdef bint is_chunked(fields, str version)
cpdef set connection_options(fields, policy)
cpdef bint is_kept(set options, str version)
cpdef str wanted_protocol(fields, set options, RequestHead head)
