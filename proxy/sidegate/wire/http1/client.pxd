"""C types of the client's codec."""

cimport cython

from sidegate.wire.client_codec cimport ClientCodec
from sidegate.wire.http1.request cimport RequestWriter


cdef class Http1ClientCodec(ClientCodec):
    cdef object _policy
    cdef object _reader
    cdef object _chunks
    cdef RequestWriter _writer
    cdef Py_ssize_t _window
    cdef int _reading
    cdef bytes _buffer
    cdef object _left
    cdef int _stream
    cdef bint _head_only
    cdef bint _asked
    cdef int _informational
    cdef Py_ssize_t _unread

    cdef bint _is_open(self)
    cpdef bint read_paused(self)
    cpdef list receive(self, bytes data)
    cdef bint _advance(self, list found) except -1
    cdef bint _read_head(self, list found) except -1
    cdef _take_informational(self, int status, list fields, list found)
    cdef _begin_body(self, int status, list fields, list found)
    @cython.locals(data=bytes)
    cdef _read_length(self, list found)
    cdef _read_chunked(self, list found)
    cdef _take_body(self, bytes data, list found)
    cdef _take_end(self, list trailers, list found)
    cdef bint _take_unrequested(self, list found) except -1
    cdef _lose_framing(self, refused, list found)
    cdef _die(self)
    cpdef list receive_eof(self)
    cpdef list connection_lost(self)
    cdef bint _is_between_responses(self)
    cpdef int request(self, list headers, bint end_stream)
    @cython.locals(writer=RequestWriter)
    cpdef send_data(self, int stream_id, bytes data, bint end_stream)
    cpdef send_trailers(self, int stream_id, list trailers)
    cdef _end(self, list trailers)
    cpdef bint reset(self, int stream_id, int code)
    cpdef acknowledge(self, stream_id, Py_ssize_t size)
    cpdef Py_ssize_t pending(self, int stream_id)
    cpdef bytes take_output(self)
    cpdef bint ping(self, bytes data)
    cpdef goaway(self)
