# Creation of engines and their sessions. Included by nghttp2.pyx.

def create(settings, client=False):
    """Create an engine in the server's role or the ``client``'s; ``settings``: an ``EngineSettings``."""
    return Nghttp2Client(settings) if client else Nghttp2Engine(settings)


def library_version():
    """The version of the libnghttp2 that is loaded."""
    return nghttp2_version(0).version_str.decode()


cdef int _open_session(nghttp2_session **session, void *user, settings, bint client, size_t block) except -999:
    """Open a session with the settings that its peer will acknowledge; ``block``: the largest header block it sends."""
    cdef nghttp2_session_callbacks *callbacks
    cdef nghttp2_option *option
    cdef nghttp2_settings_entry entries[3]
    cdef int failed, frame_type
    if nghttp2_session_callbacks_new(&callbacks) != 0:
        return -1
    if nghttp2_option_new(&option) != 0:
        nghttp2_session_callbacks_del(callbacks)
        return -1
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, _on_begin_frame)
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, _on_header)
    nghttp2_session_callbacks_set_on_invalid_header_callback2(callbacks, _on_header)
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, _on_frame_recv)
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, _on_invalid_frame)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, _on_chunk)
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, _on_stream_close)
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, _on_frame_sent)
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, _on_frame_not_sent)
    nghttp2_session_callbacks_set_send_data_callback(callbacks, _on_send_data)
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, _on_extension)
    for frame_type in range(NGHTTP2_CONTINUATION + 1, 256):
        # Frames of unknown types are ignored (RFC 9113 4.1), but counted; nghttp2 would not report them.
        nghttp2_option_set_user_recv_extension_type(option, frame_type)
    nghttp2_option_set_no_auto_window_update(option, 1)
    nghttp2_option_set_no_http_messaging(option, 1)
    nghttp2_option_set_no_closed_streams(option, 1)
    nghttp2_option_set_max_outbound_ack(option, 1 << 20)
    nghttp2_option_set_max_send_header_block_length(option, block)
    nghttp2_option_set_max_deflate_dynamic_table_size(option, settings.header_table)
    nghttp2_option_set_peer_max_concurrent_streams(option, _engine.WINDOW_MAX)
    # The codec counts CONTINUATION frames. nghttp2 counts reads of their 9-byte headers (byte by byte, 9 for each) and
    # bounds what the codec does not see: blocks of streams that were reset.
    sidegate_leave_counting_to_us(option, 9 * (<size_t>settings.continuation_frames + 2))
    new = nghttp2_session_client_new3 if client else nghttp2_session_server_new3
    failed = new(session, callbacks, user, option, &_memory)
    nghttp2_option_del(option)
    nghttp2_session_callbacks_del(callbacks)
    # Not as announced: nghttp2 would answer one stream too many with a connection error, where RFC 9113 5.1.2 requires
    # that the stream is refused.
    entries[0] = [NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.stream_window]
    entries[1] = [NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, _engine.WINDOW_MAX]
    entries[2] = [NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, settings.header_table]
    return failed or nghttp2_submit_settings(session[0], NGHTTP2_FLAG_NONE, entries, 3)


cdef tuple _settings(const nghttp2_frame *frame):
    """The content of a SETTINGS frame."""
    cdef list pairs = []
    cdef size_t i
    for i in range(frame.settings.niv):
        pairs.append((frame.settings.iv[i].settings_id, frame.settings.iv[i].value))
    return tuple(pairs)


# The memory of a session. It holds a buffer of 16 KiB for the frames that nghttp2 writes, of which most connections use
# the first few hundred bytes. A TLS handshake leaves a hole of this size in the heap, whose pages it has written, and
# malloc chooses it. The pages are given back to the system, so that those that nghttp2 does not write take no memory.

cdef size_t _page = sysconf(_SC_PAGESIZE)

cdef void *_allocate(size_t size, void *_user) noexcept:
    cdef void *block = malloc(size)
    cdef size_t begin, end
    if block != NULL and size > 2 * _page:
        begin = (<size_t>block + _page - 1) // _page * _page
        end = (<size_t>block + size) // _page * _page
        madvise(<void *>begin, end - begin, MADV_DONTNEED)  # a failure costs memory only
    return block


cdef void *_allocate_zeroed(size_t count, size_t size, void *_user) noexcept:
    return calloc(count, size)


cdef void *_reallocate(void *block, size_t size, void *user) noexcept:
    return _allocate(size, user) if block == NULL else realloc(block, size)


cdef void _release(void *block, void *_user) noexcept:
    free(block)


cdef nghttp2_mem _memory
_memory.mem_user_data = NULL
_memory.malloc = _allocate
_memory.free = _release
_memory.calloc = _allocate_zeroed
_memory.realloc = _reallocate
