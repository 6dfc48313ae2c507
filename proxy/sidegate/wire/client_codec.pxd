"""C types of the client codecs' base class."""


cdef class ClientCodec:
    cdef readonly bint ready
    cdef readonly bint draining
    cdef readonly bint hop
    cdef readonly bint threads
    cdef readonly bint connect_protocol
    cdef readonly bint answered
    cdef readonly bint more
    cdef readonly long long max_streams

    cpdef list receive(self, bytes data)
    cpdef list receive_eof(self)
    cpdef list connection_lost(self)
    cpdef int request(self, list headers, bint end_stream)
    cpdef send_data(self, int stream_id, bytes data, bint end_stream)
    cpdef send_trailers(self, int stream_id, list trailers)
    cpdef bint reset(self, int stream_id, int code)
    cpdef acknowledge(self, stream_id, Py_ssize_t size)
    cpdef bint read_paused(self)
    cpdef Py_ssize_t pending(self, int stream_id)
    cpdef bytes take_output(self)
    cpdef bint ping(self, bytes data)
    cpdef goaway(self)
