"""C types of the client's codec. Its engine may be either one, so it stays a Python object."""

cimport cython

from sidegate.wire.client_codec cimport ClientCodec
from sidegate.wire.events cimport Body, End, ResponseHead
from sidegate.wire.http2.response cimport ResponseValidator

cdef int _HEAD
cdef int _DATA
cdef int _END
cdef int _CLOSED
cdef int _WINDOW


cdef class ResponseStream:
    cdef bint bodiless
    cdef bint tunnel
    cdef int informational
    cdef bint begun
    cdef bint ended
    cdef object missing
    cdef Py_ssize_t unread


cdef class Http2ClientCodec(ClientCodec):
    cdef object _engine
    cdef ResponseValidator _validator
    cdef Py_ssize_t _most_continuations
    cdef dict _streams
    cdef set _open
    cdef Py_ssize_t _controls
    cdef Py_ssize_t _left
    cdef Py_ssize_t _continuations
    cdef bint _parted
    cdef bint _dead

    @cython.locals(found=list, frame=tuple)
    cpdef list receive(self, bytes data)
    @cython.locals(kind=int)
    cdef _on_frame(self, tuple frame, list found)
    @cython.locals(pseudo=tuple, fields=tuple, size=Py_ssize_t, end=bint, status=int, stream=ResponseStream)
    cdef _on_head(self, tuple frame, list found)
    cdef _on_informational(self, ResponseStream stream, int status, bint end)
    @cython.locals(data=bytes, size=Py_ssize_t, stream=ResponseStream)
    cdef _on_data(self, tuple frame, list found)
    @cython.locals(stream=ResponseStream)
    cdef _on_end(self, stream_id, list trailers, list found)
    @cython.locals(stream=ResponseStream)
    cdef _on_closed(self, stream_id)
    cdef _break(self, stream_id, code, list found)
    cdef _violate(self, str reason, str detail, code, list found)
    cpdef list receive_eof(self)
    cpdef list connection_lost(self)
    cpdef int request(self, list headers, bint end_stream)
    cpdef send_data(self, int stream_id, bytes data, bint end_stream)
    cpdef send_trailers(self, int stream_id, list trailers)
    cpdef bint reset(self, int stream_id, int code)
    @cython.locals(stream=ResponseStream)
    cpdef acknowledge(self, stream_id, Py_ssize_t size)
    @cython.locals(stream=ResponseStream)
    cdef _forget(self, stream_id)
    cpdef bint read_paused(self)
    cpdef Py_ssize_t pending(self, int stream_id)
    @cython.locals(output=bytes)
    cpdef bytes take_output(self)
    cpdef bint ping(self, bytes data)
    cpdef goaway(self)
