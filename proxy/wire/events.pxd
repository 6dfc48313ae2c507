"""C types of the event that every request begins with; the other events are dataclasses."""


cdef class RequestHead:
    cdef public int stream_id
    cdef public str method
    cdef public bytes target
    cdef public list headers
    cdef public str http_version
    cdef public object content_length
    cdef public bint expect_continue
    cdef public bint end_stream
