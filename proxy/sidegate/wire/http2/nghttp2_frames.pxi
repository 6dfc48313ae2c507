# The heads of the frames in the input. Included by nghttp2.pyx.
#
# nghttp2 ignores DATA for streams that have ended and calls nothing. So the engine reads the heads of frames itself, and
# gives nghttp2 the input up to the head of each DATA frame before it looks whether the stream is open. It also stops
# after ``FRAMES`` frames.

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
    int frames  # that may still begin; -1: the input goes on with one too many


cdef class Input:
    """The input of one connection. ``kept``: what goes on with more frames than one call handles, else None."""

    cdef FrameHeads heads
    cdef bytes kept
    cdef ssize_t at  # bytes of ``kept`` that were handled

    cdef int keep(self, bytes data, ssize_t at) except -1:
        self.kept = data
        self.at = at
        return 0

    cdef bytes with_kept(self, bytes data, ssize_t *at):
        """What was kept, with ``data`` behind it; ``at`` becomes the number of its bytes that were handled."""
        cdef bytes kept = self.kept
        self.kept = None
        if PyBytes_GET_SIZE(data) == 0:
            at[0] = self.at
            return kept
        return kept[self.at:] + data


cdef ssize_t _next_stop(FrameHeads *heads, const uint8_t *data, ssize_t *at, ssize_t size) noexcept:
    """Go on from ``at`` to behind the next head of a DATA frame. Returns where that begins; ``size`` if there is none.

    If more frames would begin than may, it stops between two frames, and ``heads.frames`` is -1.
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
        if heads.frames == 0 and heads.taken == 0:
            heads.frames = -1
            return begin
        count = min(HEAD_SIZE - heads.taken, size - begin)
        memcpy(head + heads.taken, data + begin, count)
        heads.taken += count
        at[0] += count
        if heads.taken < HEAD_SIZE:
            break
        heads.taken = 0
        heads.frames -= 1
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
