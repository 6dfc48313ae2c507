"""C types of the HTTP/1.1 codec."""

cimport cython

from sidegate.wire.events cimport Codec, RequestHead
from sidegate.wire.http1.head cimport HeadReader
from sidegate.wire.http1.response cimport ResponseWriter

cdef int _HEAD
cdef int _LENGTH
cdef int _CHUNKED
cdef int _HELD
cdef int _ASKED
cdef int _TUNNEL
cdef int _DEAF


cdef class Http1Codec(Codec):
    cdef object _limits
    cdef object _policy
    cdef HeadReader _reader
    cdef object _chunks
    cdef ResponseWriter _writer
    cdef int _reading
    cdef bytes _buffer
    cdef object _left
    cdef object _deadline
    cdef int _stream
    cdef list _headers
    cdef bint _expecting
    cdef Py_ssize_t _unacknowledged
    cdef object _drain
    cdef bint _last
    cdef bint _winding_down
    cdef bint _final
    cdef bint _eof
    cdef bint _closed

    cpdef list receive(self, bytes data, double now)
    cpdef list receive_eof(self)
    @cython.locals(data=bytes)
    cpdef _advance(self, list events)
    @cython.locals(head=RequestHead)
    cpdef _read_head(self, list events)
    @cython.locals(data=bytes)
    cpdef _read_length(self, list events)
    cpdef _read_chunked(self, list events)
    cpdef _take_body(self, bytes data, list events)
    cpdef _take_end(self, list trailers, list events)
    cpdef _turn(self)
    cpdef _shut(self)
    cpdef send_informational(self, int stream_id, int status, list headers)
    cpdef send_head(self, int stream_id, int status, list headers, bint end_stream)
    cpdef close_after(self, int stream_id, list headers)
    cpdef add_hop_fields(self, int stream_id, list fields, list headers)
    cdef bint _carries_trailers(self)
    cpdef accept(self, int stream_id, list headers)
    @cython.locals(writer=ResponseWriter)
    cpdef send_data(self, int stream_id, bytes data, bint end_stream)
    cpdef bint sendfile(self, int stream_id, Py_ssize_t size)
    cpdef send_trailers(self, int stream_id, list trailers)
    @cython.locals(writer=ResponseWriter)
    cpdef _end(self, list trailers)
    cpdef reset(self, int stream_id, int code)
    cpdef bint release(self, int stream_id)
    cpdef acknowledge(self, int stream_id, Py_ssize_t size)
    cpdef Py_ssize_t pending(self, int stream_id)
    @cython.locals(writer=ResponseWriter, data=bytes)
    cpdef bytes take_output(self)
    cpdef bint read_paused(self)
    cpdef goaway(self, bint final)
    cpdef bint goaway_noticed(self)
    cpdef next_deadline(self)
    cpdef list on_deadline(self, double now)
