# The heads of the frames in the input. Included by nghttp2.pyx.
#
# nghttp2 ignores DATA for streams that have ended and calls nothing. So the engine reads the heads of frames itself, and
# gives nghttp2 the input up to the head of each DATA frame before it looks whether the stream is open.

cdef enum:
    HEAD_SIZE = 9
    PREFACE_SIZE = 24
    LARGEST_PAYLOAD = 16384
    FLAG_END_HEADERS = 0x4

cdef struct FrameHeads:
    uint8_t head[HEAD_SIZE]
    ssize_t taken  # bytes of ``head``
    ssize_t left  # bytes that precede the next head: of a payload, or of the preface
    bint in_block  # the last frame has left a header block open: only CONTINUATION may follow


cdef ssize_t _next_data(FrameHeads *heads, const uint8_t *data, ssize_t *at, ssize_t size) noexcept:
    """Go on from ``at`` to behind the next head of a DATA frame. Returns where that begins; ``size`` if there is none.

    Frames that are too large or within a header block are not looked for: nghttp2 ends the connection for them.
    """
    cdef ssize_t begin, count
    cdef uint8_t *head = heads.head
    while at[0] < size:
        begin = at[0]
        if heads.left:
            count = min(heads.left, size - begin)
            heads.left -= count
            at[0] += count
            continue
        count = min(HEAD_SIZE - heads.taken, size - begin)
        memcpy(head + heads.taken, data + begin, count)
        heads.taken += count
        at[0] += count
        if heads.taken < HEAD_SIZE:
            break
        heads.taken = 0
        heads.left = head[0] << 16 | head[1] << 8 | head[2]
        if head[3] == NGHTTP2_DATA:
            if not heads.in_block and heads.left <= LARGEST_PAYLOAD:
                return begin
        elif head[3] == NGHTTP2_HEADERS or head[3] == NGHTTP2_CONTINUATION:
            heads.in_block = not head[4] & FLAG_END_HEADERS
    return size


cdef inline int32_t _stream_of(FrameHeads *heads) noexcept:
    """The stream of the head that was read last."""
    cdef uint8_t *head = heads.head
    return (head[5] & 0x7F) << 24 | head[6] << 16 | head[7] << 8 | head[8]
