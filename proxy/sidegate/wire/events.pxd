"""C types of the codec interface and of the most frequent events; the other events are dataclasses."""


cdef class Values:
    pass


cdef class RequestHead(Values):
    cdef public int stream_id
    cdef public str method
    cdef public bytes target
    cdef public list headers
    cdef public str http_version
    cdef public object content_length
    cdef public bint expect_continue
    cdef public bint end_stream
    cdef public str protocol

    cdef announce_body(self, content_length, bint expect_continue, bint end_stream)
    cdef announce_protocol(self, str protocol)


cdef class ResponseHead(Values):
    cdef public int stream_id
    cdef public int status
    cdef public list headers
    cdef public bint end_stream


cdef class Body(Values):
    cdef public int stream_id
    cdef public bytes data


cdef class End(Values):
    cdef public int stream_id
    cdef public list trailers


cdef class Codec:
    cdef readonly bint more

    cpdef list receive(self, bytes data, double now)
    cpdef list receive_eof(self)
    cpdef send_head(self, int stream_id, int status, list headers, bint end_stream)
    cpdef close_after(self, int stream_id, list headers)
    cpdef add_hop_fields(self, int stream_id, list fields, list headers)
    cpdef accept(self, int stream_id, list headers)
    cpdef send_data(self, int stream_id, bytes data, bint end_stream)
    cpdef bint sendfile(self, int stream_id, Py_ssize_t size)
    cpdef send_trailers(self, int stream_id, list trailers)
    cpdef send_informational(self, int stream_id, int status, list headers)
    cpdef reset(self, int stream_id, int code)
    cpdef bint release(self, int stream_id)
    cpdef acknowledge(self, int stream_id, Py_ssize_t size)
    cpdef Py_ssize_t pending(self, int stream_id)
    cpdef bytes take_output(self)
    cpdef bint read_paused(self)
    cpdef goaway(self, bint final)
    cpdef bint goaway_noticed(self)
    cpdef next_deadline(self)
    cpdef list on_deadline(self, double now)
