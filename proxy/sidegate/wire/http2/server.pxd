"""C types of the server's codec. Its engine may be either one, so it stays a Python object."""

cimport cython

from sidegate.wire.events cimport Codec, RequestHead
from sidegate.wire.http2.floods cimport FloodCounters
from sidegate.wire.http2.head cimport HeadValidator
from sidegate.wire.http2.streams cimport Streams, RequestStream

cdef int _HEAD
cdef int _DATA
cdef int _END
cdef int _CLOSED
cdef int _WINDOW


cdef class Http2Codec(Codec):
    cdef object _engine
    cdef Streams _streams
    cdef HeadValidator _validator
    cdef FloodCounters _floods
    cdef object _hop_policy
    cdef bint _serves_front
    cdef object _limits
    cdef double _now
    cdef object _last
    cdef Py_ssize_t _left
    cdef object _final
    cdef bint _draining
    cdef bint _noticed
    cdef bint _dead
    cdef Py_ssize_t _block
    cdef object _block_deadline
    cdef object _preface_deadline

    @cython.locals(found=list, frame=tuple, block=Py_ssize_t)
    cpdef list receive(self, bytes data, double now)
    @cython.locals(kind=int)
    cdef _on_frame(self, tuple frame, list found)
    @cython.locals(pseudo=tuple, fields=tuple, method=str, headers=list, size=Py_ssize_t, end=bint, streams=Streams, head=RequestHead)
    cdef _on_head(self, tuple frame, list found)
    cdef _reject(self, stream_id, refused, tuple pseudo, bint end, list found)
    @cython.locals(data=bytes, size=Py_ssize_t, upload=RequestStream)
    cdef _on_data(self, tuple frame, list found)
    @cython.locals(upload=RequestStream)
    cdef _end_request(self, stream_id, list trailers, list found)
    cdef _break(self, stream_id, list found)
    cdef _on_window(self, list found)
    cdef _count_reset(self, list found)
    cdef _violate(self, str reason, str detail, code, list found)
    @cython.locals(streams=Streams)
    cpdef send_head(self, int stream_id, int status, list headers, bint end_stream)
    cpdef close_after(self, int stream_id, list headers)
    cpdef add_hop_fields(self, int stream_id, list fields, list headers)
    @cython.locals(upload=RequestStream)
    cpdef accept(self, int stream_id, list headers)
    cpdef send_informational(self, int stream_id, int status, list headers)
    cpdef send_data(self, int stream_id, bytes data, bint end_stream)
    cpdef bint sendfile(self, int stream_id, Py_ssize_t size)
    cpdef send_trailers(self, int stream_id, list trailers)
    cpdef reset(self, int stream_id, int code)
    cpdef bint release(self, int stream_id)
    cpdef acknowledge(self, int stream_id, Py_ssize_t size)
    cpdef Py_ssize_t pending(self, int stream_id)
    cpdef bytes take_output(self)
    cpdef bint read_paused(self)
    cpdef goaway(self, bint final)
    cpdef bint goaway_noticed(self)
