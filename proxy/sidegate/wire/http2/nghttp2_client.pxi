# The client's role. Included by nghttp2.pyx.

cdef enum:
    REQUEST_BLOCK = 1 << 24  # nghttp2 would send no larger one; the server that gets the request has its own limits

cdef bytes _request_id = _hop.REQUEST_ID


cdef class Nghttp2Client(Nghttp2Engine):
    """See ``engine.Engine``."""

    cdef int32_t opened  # the last stream

    def __init__(self, settings):
        self.open_session(settings, True, REQUEST_BLOCK)

    def send_request(self, list headers, bint end_stream):
        cdef Outgoing queue = Outgoing.__new__(Outgoing)
        cdef nghttp2_data_provider provider
        cdef nghttp2_nv stack[STACK_FIELDS]
        cdef nghttp2_nv *fields
        cdef size_t count, i
        cdef int32_t stream_id
        if self.dead:
            return 0
        queue.ended = end_stream
        provider.source.ptr = <void *>queue
        provider.read_callback = _on_read
        fields = _fields(stack, headers, None, &count)
        for i in range(count):
            if fields[i].namelen == <size_t>PyBytes_GET_SIZE(_request_id) and headers[i][0] == _request_id:
                fields[i].flags = NGHTTP2_NV_FLAG_NO_INDEX
        stream_id = nghttp2_submit_request(
            self.session, NULL, fields, count, NULL if end_stream else &provider, <void *>queue)
        if fields != stack:
            free(fields)
        if stream_id < 0:
            return 0
        self.opened = stream_id
        queue.stream_id = stream_id
        self.outgoing[queue.stream_id] = queue
        # Open it at once: before its HEADERS are sent, nghttp2 has no stream that could be reset.
        self.holding = True
        self.drain()
        self.holding = False
        return stream_id if nghttp2_session_get_stream_remote_close(self.session, stream_id) >= 0 else 0

    cdef int begin_frame(self, const nghttp2_frame_hd *hd) except -999:
        if hd.type == NGHTTP2_PUSH_PROMISE:
            return self.refuse(PROTOCOL_ERROR, "PUSH_PROMISE, which nobody here takes")
        return Nghttp2Engine.begin_frame(self, hd)

    cdef int32_t last_stream(self) noexcept:
        return self.opened

    cdef int begin_headers(self, const nghttp2_frame_hd *hd) except -999:
        if hd.stream_id in self.resets:
            self.events.append(_control[NGHTTP2_HEADERS])
            return 0
        if hd.stream_id & 1 and hd.stream_id <= self.opened:
            if nghttp2_session_get_stream_remote_close(self.session, hd.stream_id) != 0:
                return self.refuse(STREAM_CLOSED, "HEADERS after the end of the stream")
        return self.begin_block()

    cdef int frame_received(self, const nghttp2_frame *frame) except -999:
        cdef int kind = frame.hd.type
        if kind == NGHTTP2_HEADERS:
            self.open_block = 0
            self.events.append(self.block.take(HEAD, frame.hd.stream_id, frame.hd.flags & NGHTTP2_FLAG_END_STREAM))
            return 0
        Nghttp2Engine.frame_received(self, frame)
        if kind == NGHTTP2_GOAWAY:
            self.give_up_beyond(frame.goaway.last_stream_id)
        return 0

    cdef int give_up_beyond(self, int32_t last) except -1:
        """Report the streams that nghttp2 closes next; what the server still sends on them is ignored."""
        cdef int32_t stream_id = self.opened
        cdef int32_t oldest = max(last, self.opened - 2 * RESETS_REMEMBERED)
        if oldest > last:
            self.forgotten = max(self.forgotten, oldest)
        while stream_id > oldest:
            if nghttp2_session_get_stream_remote_close(self.session, stream_id) >= 0:
                self.remember_reset(stream_id)
            stream_id -= 2
        return 0
