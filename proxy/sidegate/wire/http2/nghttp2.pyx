# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The nghttp2 engine: it adapts the C library to the interface in ``engine.py``.

The codecs use it; ``h2.py`` is the alternative. It owns one ``nghttp2_session``, the output buffer and the queue of
each stream. It does not check HTTP: nghttp2's own messaging rules are off, because the codec's are stricter and must be
the same for both engines. nghttp2 does framing, HPACK, stream states and flow control.

How it works. ``receive`` runs nghttp2 over the input; C callbacks append frame events to a list. nghttp2 is never
entered recursively: callbacks only submit, and only ``receive`` and ``drain`` run the session. An exception in a
callback is kept, stops nghttp2 (``NGHTTP2_ERR_CALLBACK_FAILURE``) and is raised again in the Python method that was
called.

How it stays cheap. A header field in an HPACK table arrives as the same two reference-counted buffers every time. A
small cache from buffer addresses to Python tuples makes most fields one list append; it holds a reference, so that no
address is used twice. Body bytes are copied once, from the application's bytes into the output.

It raises only ``MemoryError``; every fault of a peer is a frame event.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove
from posix.mman cimport MADV_DONTNEED, madvise
from posix.unistd cimport _SC_PAGESIZE, sysconf

from sidegate.caches import remember
from sidegate.wire import hop as _hop
from sidegate.wire import codes as _codes
from sidegate.wire.http2 import engine as _engine
from sidegate.wire.http2.engine import goaway_frame

cdef int HEAD = _engine.HEAD, DATA = _engine.DATA, TRAILERS = _engine.TRAILERS, END = _engine.END
cdef int CLOSED = _engine.CLOSED, RESET = _engine.RESET, STREAM_ERROR = _engine.STREAM_ERROR, EMPTY = _engine.EMPTY
cdef int GOAWAY = _engine.GOAWAY, FAULT = _engine.FAULT, BOMB = _engine.BOMB
cdef int SETTINGS = _engine.SETTINGS, PONG = _engine.PONG
cdef int RESETS_REMEMBERED = _engine.RESETS_REMEMBERED, FRAMES = _engine.FRAMES
cdef int PROTOCOL_ERROR = _codes.PROTOCOL_ERROR, INTERNAL_ERROR = _codes.INTERNAL_ERROR
cdef int FLOW_CONTROL_ERROR = _codes.FLOW_CONTROL_ERROR, STREAM_CLOSED = _codes.STREAM_CLOSED
cdef int ENHANCE_YOUR_CALM = _codes.ENHANCE_YOUR_CALM

# Frames that are only counted share one tuple.
cdef tuple _window = (_engine.WINDOW,)
cdef tuple _continuation = (_engine.CONTINUATION,)
cdef list _control = [(_engine.CONTROL, frame_type) for frame_type in range(256)]
cdef tuple _more = (_engine.MORE, FRAMES)

cdef enum:
    # nghttp2's own limit is 64 KiB; `fields.py` bounds what an application sends. nghttp2 estimates 12 bytes more a field.
    LARGEST_BLOCK = (1 << 18) + (1 << 16)

include "nghttp2_fields.pxi"
include "nghttp2_output.pxi"
include "nghttp2_session.pxi"
include "nghttp2_frames.pxi"
include "nghttp2_callbacks.pxi"


cdef class Nghttp2Engine:
    """See ``engine.Engine``."""

    cdef nghttp2_session *session
    cdef Output output
    cdef dict outgoing  # owns what the streams' user data point to
    cdef dict resets  # streams reset by this side, oldest first
    cdef int32_t forgotten  # the highest stream that is no longer in ``resets``
    cdef Input input
    cdef list closed
    cdef list events
    cdef HeaderBlock block
    cdef int blocks
    cdef int32_t highest
    cdef bint receiving
    cdef bint holding  # drain without DATA
    cdef bint telling  # report the content of SETTINGS
    cdef bint dead
    cdef int fault
    cdef str fault_detail
    cdef object error
    cdef readonly int open_block
    cdef readonly long long data_frames

    def __init__(self, settings):
        self.open_session(settings, False, LARGEST_BLOCK)

    cdef int open_session(self, settings, bint client, size_t largest_block) except -1:
        cdef const uint8_t *dropped
        self.output = Output()
        self.outgoing = {}
        self.resets = {}
        self.input = Input()
        self.input.heads.left = 0 if client else PREFACE_SIZE
        self.closed = []
        self.fault = -1
        self.telling = client or settings.hop
        self.block = HeaderBlock(settings.largest_block, settings.most_fields)
        if _open_session(&self.session, <void *>self, settings, client, largest_block) != 0:
            raise MemoryError
        # The peer gets the codec's announcement instead of nghttp2's (and of the preface before it).
        while nghttp2_session_mem_send(self.session, &dropped) > 0:
            pass
        self.write(settings.announcement(client))
        nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, settings.connection_window)
        return 0

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2_session_del(self.session)

    # Input

    def receive(self, bytes data not None):
        cdef int failed
        cdef ssize_t begin = 0
        cdef list events = []
        if self.dead:
            return events
        if self.input.kept is not None:
            data = self.input.with_kept(data, &begin)
        self.events = events
        self.receiving = True
        failed = self.feed(<const uint8_t *>PyBytes_AS_STRING(data), &begin, PyBytes_GET_SIZE(data))
        self.receiving = False
        self.raise_kept()
        if failed < 0:
            if self.fault < 0:
                self.fault = PROTOCOL_ERROR if failed == NGHTTP2_ERR_BAD_CLIENT_MAGIC else ENHANCE_YOUR_CALM
                self.fault_detail = nghttp2_strerror(failed).decode()
            self.write(goaway_frame(self.highest, self.fault))
        else:
            # Only the GOAWAY that nghttp2 sends shows whether it ended the connection.
            self.holding = True
            self.drain()
            self.holding = False
            if failed and self.fault < 0:
                self.refuse(STREAM_CLOSED, "DATA after the end of the stream")
                self.write(goaway_frame(self.highest, STREAM_CLOSED))
        if self.fault >= 0:
            self.dead = True
            events.append((FAULT, self.fault, self.fault_detail))
        elif self.input.heads.frames < 0:
            self.input.keep(data, begin)
            events.append(_more)
        self.events = None
        return events

    cdef int feed(self, const uint8_t *data, ssize_t *begin, ssize_t size) except -999:
        """Give nghttp2 up to ``FRAMES`` frames of the input from ``begin`` on, which moves to what is left.

        Returns nghttp2's error, 1 at DATA for a stream that has ended, else 0.
        """
        cdef ssize_t at = begin[0], end, taken
        cdef FrameHeads *heads = &self.input.heads
        heads.frames = FRAMES
        while True:
            end = _next_stop(heads, data, &at, size)
            taken = nghttp2_session_mem_recv(self.session, data + begin[0], end - begin[0])
            begin[0] = end
            if taken < 0 or end == size or heads.frames < 0:
                return min(taken, 0)
            if self.is_over(_stream_of(heads)):
                return 1

    cdef bint is_over(self, int32_t stream_id) except -1:
        """Whether a stream has ended as the peer knows it: not by a reset of this side that may not have arrived."""
        if not stream_id & 1 or stream_id > self.last_stream() or stream_id <= self.forgotten:
            return False
        return (nghttp2_session_get_stream_remote_close(self.session, stream_id) < 0
                and stream_id not in self.resets)

    cdef int32_t last_stream(self) noexcept:
        return self.highest

    cdef int begin_frame(self, const nghttp2_frame_hd *hd) except -999:
        cdef int kind = hd.type
        if kind == NGHTTP2_HEADERS:
            return self.begin_headers(hd)
        if kind == NGHTTP2_DATA:
            return self.begin_data(hd)
        if kind == NGHTTP2_WINDOW_UPDATE:
            self.events.append(_window)
        elif kind == NGHTTP2_CONTINUATION:
            self.events.append(_continuation)
        elif kind == NGHTTP2_PRIORITY or kind == NGHTTP2_PING:
            self.events.append(_control[kind])
        return 0

    cdef int begin_headers(self, const nghttp2_frame_hd *hd) except -999:
        cdef int remote_closed, kind = NGHTTP2_HEADERS
        if hd.stream_id > self.highest:
            self.highest = hd.stream_id
        elif hd.stream_id & 1:
            remote_closed = nghttp2_session_get_stream_remote_close(self.session, hd.stream_id)
            if hd.stream_id in self.resets:
                self.events.append(_control[kind])
                return 0
            if remote_closed != 0:
                return self.refuse(STREAM_CLOSED, "HEADERS after the end of the stream")
            if not hd.flags & NGHTTP2_FLAG_END_STREAM:
                return self.refuse(PROTOCOL_ERROR, "trailers without END_STREAM")
        return self.begin_block()

    cdef int begin_block(self) except -999:
        self.blocks += 1
        self.open_block = self.blocks
        self.block.begin()
        return 0

    cdef int begin_data(self, const nghttp2_frame_hd *hd) except -999:
        # nghttp2 would only reset the stream.
        if <ssize_t>hd.length > nghttp2_session_get_stream_local_window_size(self.session, hd.stream_id):
            return self.refuse(FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        return 0

    cdef int refuse(self, int code, str detail) except -999:
        self.fault = code
        self.fault_detail = detail
        return NGHTTP2_ERR_CALLBACK_FAILURE

    cdef int collect(self, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags) except -999:
        if self.block.add(name, value, flags):
            return self.refuse(ENHANCE_YOUR_CALM, "header list far beyond the limit")
        return 0

    cdef int frame_received(self, const nghttp2_frame *frame) except -999:
        cdef int kind = frame.hd.type
        cdef int32_t stream_id = frame.hd.stream_id
        cdef bint end = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
        if kind == NGHTTP2_HEADERS:
            self.open_block = 0
            self.events.append(self.block.take(
                HEAD if frame.headers.cat == NGHTTP2_HCAT_REQUEST else TRAILERS, stream_id, end))
        elif kind == NGHTTP2_DATA:
            if end:
                self.events.append((END, stream_id))
            elif frame.hd.length == frame.data.padlen:
                self.events.append((EMPTY, stream_id))
        elif kind == NGHTTP2_RST_STREAM:
            self.events.append((RESET, stream_id, frame.rst_stream.error_code))
        elif kind == NGHTTP2_GOAWAY:
            self.events.append((GOAWAY, frame.goaway.error_code, frame.goaway.last_stream_id))
        elif kind == NGHTTP2_PING:
            if frame.hd.flags & NGHTTP2_FLAG_ACK:
                self.events.append((PONG, frame.ping.opaque_data[:8]))
        elif kind == NGHTTP2_SETTINGS or kind > NGHTTP2_CONTINUATION:
            self.events.append(_control[kind])
            if kind == NGHTTP2_SETTINGS and self.telling and not frame.hd.flags & NGHTTP2_FLAG_ACK:
                self.events.append((SETTINGS, _settings(frame)))
        return 0

    cdef int frame_invalid(self, const nghttp2_frame *frame, int error) except -999:
        # With messaging rules off, this is the only error after which nghttp2 resets a stream and continues.
        if frame.hd.type == NGHTTP2_WINDOW_UPDATE and frame.hd.stream_id and error == NGHTTP2_ERR_FLOW_CONTROL:
            self.remember_reset(frame.hd.stream_id)
            self.events.append((STREAM_ERROR, frame.hd.stream_id, FLOW_CONTROL_ERROR))
        return 0

    cdef int stream_closed(self, int32_t stream_id) except -999:
        cdef Outgoing queue = self.find(stream_id)
        closed = stream_id
        if queue is not None:
            closed = queue.stream_id
            nghttp2_session_set_stream_user_data(self.session, stream_id, NULL)
            del self.outgoing[closed]
            self.output.queued -= queue.size
        if self.receiving:
            self.events.append((CLOSED, closed))
        else:
            self.closed.append(closed)
        return 0

    cdef inline Outgoing find(self, int32_t stream_id):
        """The queue of a stream on which this side has begun a message."""
        cdef void *queue = nghttp2_session_get_stream_user_data(self.session, stream_id)
        return None if queue == NULL else <Outgoing>queue

    # Output

    def send_head(self, stream_id, int status, list headers, bint end_stream):
        cdef Outgoing queue
        cdef nghttp2_data_provider provider
        cdef nghttp2_nv stack[STACK_FIELDS]
        cdef nghttp2_nv *fields
        cdef size_t count
        cdef int32_t number = stream_id
        if self.dead or self.find(number) is not None:
            return
        if nghttp2_session_get_stream_local_close(self.session, number) != 0:
            return
        queue = Outgoing.__new__(Outgoing)
        queue.stream_id = stream_id
        queue.ended = end_stream
        provider.source.ptr = <void *>queue
        provider.read_callback = _on_read
        fields = _fields(stack, headers, _digits(status), &count)
        if nghttp2_submit_response(self.session, number, fields, count, NULL if end_stream else &provider) == 0:
            self.outgoing[stream_id] = queue
            nghttp2_session_set_stream_user_data(self.session, number, <void *>queue)
        if fields != stack:
            free(fields)

    def send_informational(self, int32_t stream_id, int status, list headers):
        cdef nghttp2_nv stack[STACK_FIELDS]
        cdef nghttp2_nv *fields
        cdef size_t count
        if self.dead or self.find(stream_id) is not None:
            return
        fields = _fields(stack, headers, _digits(status), &count)
        nghttp2_submit_headers(self.session, NGHTTP2_FLAG_NONE, stream_id, NULL, fields, count, NULL)
        if fields != stack:
            free(fields)

    def send_data(self, int32_t stream_id, bytes data not None, bint end_stream):
        cdef Outgoing queue = self.find(stream_id)
        if queue is None or queue.ended or self.dead:
            return
        queue.add(data)
        self.output.queued += PyBytes_GET_SIZE(data)
        queue.ended = end_stream
        self.resume(stream_id, queue)

    def send_trailers(self, int32_t stream_id, list trailers):
        cdef Outgoing queue = self.find(stream_id)
        if queue is None or queue.ended or self.dead:
            return
        queue.trailers = trailers
        queue.ended = True
        self.resume(stream_id, queue)

    cdef void resume(self, int32_t stream_id, Outgoing queue):
        if queue.deferred:
            queue.deferred = False
            nghttp2_session_resume_data(self.session, stream_id)

    def reset(self, int32_t stream_id, uint32_t code):
        if self.dead or nghttp2_session_get_stream_remote_close(self.session, stream_id) < 0:
            return
        self.remember_reset(stream_id)
        nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, stream_id, code)

    cdef int remember_reset(self, int32_t stream_id) except -1:
        self.resets[stream_id] = None
        if len(self.resets) > RESETS_REMEMBERED:
            oldest = next(iter(self.resets))
            del self.resets[oldest]
            self.forgotten = max(self.forgotten, oldest)
        return 0

    def consume(self, int32_t stream_id, size_t size):
        nghttp2_session_consume(self.session, stream_id, size)

    def consume_connection(self, size_t size):
        nghttp2_session_consume_connection(self.session, size)

    def pending(self, int32_t stream_id):
        cdef Outgoing queue = self.find(stream_id)
        return 0 if queue is None else queue.size

    def local_ended(self, int32_t stream_id):
        return nghttp2_session_get_stream_local_close(self.session, stream_id) == 1

    def terminate(self, int code):
        if not self.dead:
            self.dead = True
            self.write(goaway_frame(self.highest, code))

    def write(self, bytes frame not None):
        self.output.put(PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))

    def take_closed(self):
        cdef list closed = self.closed
        if closed:
            self.closed = []
        return closed

    def take_output(self):
        if not self.dead:
            self.drain()
        return self.output.take()

    cdef int drain(self) except -1:
        cdef const uint8_t *frame
        cdef ssize_t size
        while True:
            size = nghttp2_session_mem_send(self.session, &frame)
            if size <= 0:
                break
            self.output.put(<const char *>frame, size)
        self.raise_kept()
        if size < 0:
            raise MemoryError
        return 0

    cdef int raise_kept(self) except -1:
        if self.error is not None:
            error, self.error = self.error, None
            self.dead = True
            raise error
        return 0

    cdef ssize_t read(self, int32_t stream_id, size_t length, uint32_t *flags, Outgoing queue) except -999:
        cdef nghttp2_nv stack[STACK_FIELDS]
        cdef nghttp2_nv *fields
        cdef size_t count
        if self.holding or self.output.size >= PIECE:
            return NGHTTP2_ERR_PAUSE
        if queue.size == 0 and not queue.ended:
            queue.deferred = True
            return NGHTTP2_ERR_DEFERRED
        flags[0] |= NGHTTP2_DATA_FLAG_NO_COPY
        if <size_t>queue.size > length:
            return length
        if queue.ended:
            flags[0] |= NGHTTP2_DATA_FLAG_EOF
            if queue.trailers:
                flags[0] |= NGHTTP2_DATA_FLAG_NO_END_STREAM
                fields = _fields(stack, queue.trailers, None, &count)
                nghttp2_submit_trailer(self.session, stream_id, fields, count)
                if fields != stack:
                    free(fields)
        return queue.size

    cdef int send_chunk(self, const uint8_t *header, size_t length, Outgoing queue) except -999:
        cdef char *target = self.output.reserve(9 + length)
        memcpy(target, header, 9)
        queue.copy(target + 9, length)
        self.output.size += 9 + length
        self.output.queued -= length
        return 0

    cdef int frame_sent(self, const nghttp2_frame *frame) except -999:
        if frame.hd.type == NGHTTP2_DATA:
            self.data_frames += 1
        elif frame.hd.type == NGHTTP2_GOAWAY:
            self.fault = frame.goaway.error_code
            self.fault_detail = ""
            if frame.goaway.opaque_data_len:
                self.fault_detail = frame.goaway.opaque_data[:frame.goaway.opaque_data_len].decode("latin-1")
        return 0

    cdef int keep(self, error) noexcept:
        self.error = error
        return NGHTTP2_ERR_CALLBACK_FAILURE


include "nghttp2_client.pxi"
