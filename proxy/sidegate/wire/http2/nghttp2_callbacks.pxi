# The functions that nghttp2 calls. Included by nghttp2.pyx.
#
# No exception passes through C: the engine keeps it, and nghttp2 is told to stop.

cdef int _on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd, void *user) noexcept:
    return 0


cdef int _on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.begin_frame(hd)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                    uint8_t flags, void *user) noexcept:
    if (<Nghttp2Engine>user).block.repeats(name, value):
        return 0
    engine = <Nghttp2Engine>user
    try:
        return engine.collect(name, value, flags)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.frame_received(frame)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.frame_invalid(frame, code)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t size,
                   void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        engine.events.append((DATA, stream_id, _bytes(<const char *>data, size)))
        return 0
    except BaseException as error:
        return engine.keep(error)


cdef int _on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.stream_closed(stream_id)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.frame_sent(frame)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int code, void *user) noexcept:
    # nghttp2 will not send a header block larger than LARGEST_BLOCK; without this the peer would wait forever.
    engine = <Nghttp2Engine>user
    try:
        if frame.hd.type == NGHTTP2_HEADERS:
            engine.reset(frame.hd.stream_id, INTERNAL_ERROR)
        return 0
    except BaseException as error:
        return engine.keep(error)


cdef ssize_t _on_read(nghttp2_session *session, int32_t stream_id, uint8_t *buffer, size_t length, uint32_t *flags,
                      nghttp2_data_source *source, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.read(stream_id, length, flags, <Outgoing>source.ptr)
    except BaseException as error:
        return engine.keep(error)


cdef int _on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t length,
                       nghttp2_data_source *source, void *user) noexcept:
    engine = <Nghttp2Engine>user
    try:
        return engine.send_chunk(header, length, <Outgoing>source.ptr)
    except BaseException as error:
        return engine.keep(error)
